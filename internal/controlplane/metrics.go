package controlplane

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/procstat"
)

// metrics counts what happened. It is safe for concurrent use.
type metrics struct {
	mu         sync.Mutex
	pushes     map[string]uint64 // resources sent, by kind; guarded by mu, as the rest
	removals   uint64
	refused    uint64 // resources that proxies refused
	denied     uint64 // names that proxies may not read
	converged  histogram
	drained    histogram // of pods whose sidecars said how their drain ended
	forced     uint64    // those among them whose time was up
	signed     uint64
	signErrors uint64
	badTokens  uint64
	injections map[string]uint64 // by outcome
	validated  map[bool]uint64   // by whether the object passed
}

// histogram is Prometheus' kind: counts[i] holds what is at most bounds[i], the last one everything else.
type histogram struct {
	bounds []float64
	counts []uint64
	sum    float64
}

func newMetrics() *metrics {
	// Seconds. An endpoint change is meant to be everywhere within 50 ms.
	bounds := []float64{0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 3, 5, 10, 20, 30}
	drainBounds := []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300}
	return &metrics{
		pushes:     make(map[string]uint64),
		injections: make(map[string]uint64),
		validated:  make(map[bool]uint64),
		converged:  histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)},
		drained:    histogram{bounds: drainBounds, counts: make([]uint64, len(drainBounds)+1)},
	}
}

func (h *histogram) observe(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i]++
	h.sum += v
}

// trace gives the hooks that count what the discovery server does.
func (m *metrics) trace() discovery.Trace {
	return discovery.Trace{
		Received: func(_ discovery.ClientIdentity, r *discovery.Request) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, nack := range r.Nacks {
				m.refused += uint64(len(nack.Errors))
			}
		},
		Denied: func(discovery.ClientIdentity, string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.denied++
		},
		Sent: func(_ discovery.ClientIdentity, r *discovery.Response) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for i := range r.Resources {
				m.pushes[plan.KindOf(r.Resources[i].Name).String()]++
			}
			m.removals += uint64(len(r.Removed))
		},
		Departed: func(_ discovery.ClientIdentity, how discovery.Ending, took time.Duration) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.drained.observe(took.Seconds())
			if how == discovery.EndedForced {
				m.forced++
			}
		},
		Converged: func(d time.Duration) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.converged.observe(d.Seconds())
		},
	}
}

func (m *metrics) countSigned(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.signed++
	if err != nil {
		m.signErrors++
	}
}

func (m *metrics) countBadToken() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.badTokens++
}

func (m *metrics) countInjection(outcome string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.injections[outcome]++
}

func (m *metrics) countValidation(passed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.validated[passed]++
}

// gauge is a value looked up at each scrape.
type gauge struct {
	name, help string
	value      float64
}

// writeMetrics gives everything in Prometheus' text format. The page is complete before the first byte of it is sent: a
// client that reads slowly must not hold the lock that every stream takes to count.
func (p *ControlPlane) writeMetrics(w io.Writer) error {
	var page bytes.Buffer
	p.metrics.write(&page, p.gauges())
	const refused = "fairlead_probe_results_refused_total"
	header(&page, refused, "Results of health checks that sidecars were not told to make.", "counter")
	fmt.Fprintf(&page, "%s %d\n", refused, p.engine.probing.counts.refused.Load())
	_, err := page.WriteTo(w)
	return err
}

// write gives everything in Prometheus' text format. It holds the lock, so w must not block.
func (m *metrics) write(w *bytes.Buffer, gauges []gauge) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range gauges {
		header(w, g.name, g.help, "gauge")
		fmt.Fprintf(w, "%s %s\n", g.name, number(g.value))
	}
	header(w, "pilot_xds_pushes", "Resources sent to proxies, by kind.", "counter")
	for _, kind := range slices.Sorted(maps.Keys(m.pushes)) {
		fmt.Fprintf(w, "pilot_xds_pushes{type=%q} %d\n", kind, m.pushes[kind])
	}
	for _, c := range []struct {
		name, help string
		value      uint64
	}{
		{"fairlead_xds_removals_total", "Resources that proxies were told to drop.", m.removals},
		{"pilot_total_xds_rejects", "Resources that proxies refused.", m.refused},
		{"fairlead_xds_denied_names_total", "Names that proxies asked for and may not read.", m.denied},
		{"citadel_server_csr_count", "Certificate requests.", m.signed},
		{"citadel_server_csr_sign_err_count", "Certificate requests that were refused.", m.signErrors},
		{"citadel_server_success_cert_issuance_count", "Certificates issued.", m.signed - m.signErrors},
		{"citadel_server_authentication_failure_count", "Calls whose token was refused.", m.badTokens},
		{"sidecar_injection_requests_total", "Pods that the injector was asked about.", m.injections["success"] + m.injections["skip"] + m.injections["failure"]},
		{"sidecar_injection_success_total", "Pods that got a sidecar.", m.injections["success"]},
		{"sidecar_injection_skip_total", "Pods that were left as they are.", m.injections["skip"]},
		{"sidecar_injection_failure_total", "Pods that were refused.", m.injections["failure"]},
		{"fairlead_drains_forced_total", "Pods whose drain was not over when their time was up.", m.forced},
		{"galley_validation_passed", "Objects that were admitted.", m.validated[true]},
		{"galley_validation_failed", "Objects that were refused.", m.validated[false]},
	} {
		header(w, c.name, c.help, "counter")
		fmt.Fprintf(w, "%s %d\n", c.name, c.value)
	}
	for _, f := range procstat.Read() {
		header(w, f.Name, f.Help, f.Kind())
		fmt.Fprintf(w, "%s %s\n", f.Name, number(f.Value))
	}
	m.converged.write(w, "pilot_proxy_convergence_time", "Seconds from a change to a proxy's word that it is in force.")
	m.drained.write(w, "fairlead_drain_duration_seconds", "Seconds from a pod's being told to end to the end of its sidecar.")
}

func (h *histogram) write(w io.Writer, name, help string) {
	header(w, name, help, "histogram")
	total := uint64(0)
	for i, n := range h.counts {
		total += n
		le := "+Inf"
		if i < len(h.bounds) {
			le = number(h.bounds[i])
		}
		fmt.Fprintf(w, "%s_bucket{le=%q} %d\n", name, le, total)
	}
	fmt.Fprintf(w, "%s_sum %s\n%s_count %d\n", name, number(h.sum), name, total)
}

func header(w io.Writer, name, help, kind string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// gauges looks at the present state.
func (p *ControlPlane) gauges() []gauge {
	var connected, stale, unknown, outdated int
	for _, s := range p.server.Status() {
		connected++
		if !s.Synced {
			stale++
		}
		if !p.engine.knows(s.Client) {
			unknown++
		}
		if len(s.Partial) > 0 {
			outdated++
		}
	}
	return append(append(p.engine.objects.gauges(), p.engine.probing.gauges()...),
		gauge{"pilot_xds", "Connected proxies.", float64(connected)},
		gauge{"fairlead_xds_stale_proxies", "Connected proxies that have not confirmed everything sent to them.", float64(stale)},
		gauge{"fairlead_xds_unknown_proxies", "Connected proxies whose own pod is not known.", float64(unknown)},
		gauge{"fairlead_xds_outdated_proxies", "Connected proxies that leave out a part of a resource which they are too old to know.", float64(outdated)},
		gauge{"fairlead_pods_failing_checks", "Pods whose sidecars are connected here and say that a health check fails.", float64(p.engine.health.failing.Load())},
		gauge{"pilot_total_rejected_configs", "Objects that are not in force as written.", float64(p.engine.problems.rejected())},
		gauge{"fairlead_config_problems", "Problems in the configuration.", float64(len(p.engine.problems.list()))},
	)
}

// gauges count the objects of the kinds that are counted.
func (b *objectBook) gauges() []gauge {
	var all []gauge
	for _, k := range config.Kinds() {
		if k.Gauge == "" {
			continue
		}
		i := slices.IndexFunc(all, func(g gauge) bool { return g.name == k.Gauge })
		if i < 0 {
			i = len(all)
			all = append(all, gauge{name: k.Gauge, help: "Objects, of kind"})
		} else {
			all[i].help += " or"
		}
		all[i].help += " " + k.Name
		all[i].value += float64(b.count(k.Name))
	}
	for i := range all {
		all[i].help += "."
	}
	return all
}
