package controlplane

import (
	"bytes"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/common/expfmt"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/inject"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/remote"
	"fairlead.dev/fairlead/internal/xds"
)

// metrics counts what happened. It is safe for concurrent use.
type metrics struct {
	registry *prometheus.Registry
	make     promauto.Factory // registers what it makes

	pushes    *prometheus.CounterVec   // resources sent, by kind
	pushTimes *prometheus.HistogramVec // of messages, by protocol or type
	pushSizes *prometheus.HistogramVec // the same
	removals  prometheus.Counter
	refused   prometheus.Counter // resources that proxies refused
	denied    prometheus.Counter // names that proxies may not read
	converged prometheus.Histogram
	drained   prometheus.Histogram // of pods whose sidecars said how their drain ended
	forced    prometheus.Counter   // those among them whose time was up

	signed, signErrors, issued, badTokens   prometheus.Counter
	asked, injected, leftAlone, notInjected prometheus.Counter // pods that the injector was asked about
	admitted, rejected                      prometheus.Counter // objects that admission was asked about
}

// newMetrics makes them, all at zero. The version is that of the control plane.
func newMetrics(version string) *metrics {
	registry := prometheus.NewRegistry()
	m := &metrics{registry: registry, make: promauto.With(registry)}
	live := collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)}
	m.registry.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(live)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.countDiscovery()
	f := m.make
	m.signed = f.NewCounter(counterOpts("citadel_server_csr_count", "Certificate requests."))
	m.signErrors = f.NewCounter(counterOpts("citadel_server_csr_sign_err_count", "Certificate requests that were refused."))
	m.issued = f.NewCounter(counterOpts("citadel_server_success_cert_issuance_count", "Certificates issued."))
	m.badTokens = f.NewCounter(counterOpts("citadel_server_authentication_failure_count", "Calls whose token was refused."))
	m.asked = f.NewCounter(counterOpts("sidecar_injection_requests_total", "Pods that the injector was asked about."))
	m.injected = f.NewCounter(counterOpts("sidecar_injection_success_total", "Pods that got a sidecar."))
	m.leftAlone = f.NewCounter(counterOpts("sidecar_injection_skip_total", "Pods that were left as they are."))
	m.notInjected = f.NewCounter(counterOpts("sidecar_injection_failure_total", "Pods that were refused."))
	m.admitted = f.NewCounter(counterOpts("galley_validation_passed", "Objects that were admitted."))
	m.rejected = f.NewCounter(counterOpts("galley_validation_failed", "Objects that were refused."))
	f.NewGaugeVec(prometheus.GaugeOpts{Name: "istio_build", Help: "1, of this version."}, []string{"component", "tag"}).
		WithLabelValues("pilot", version).Set(1)
	return m
}

// countDiscovery makes what trace counts.
func (m *metrics) countDiscovery() {
	f := m.make
	m.pushes = f.NewCounterVec(counterOpts("pilot_xds_pushes", "Resources sent to proxies, by kind."), []string{"type"})
	m.pushTimes = f.NewHistogramVec(prometheus.HistogramOpts{
		Name: "pilot_xds_push_time", Help: "Seconds that writing a message to a proxy took.",
		Buckets: []float64{0.0001, 0.001, 0.01, 0.1, 1, 3, 5, 10, 20, 30},
	}, []string{"type"})
	m.pushSizes = f.NewHistogramVec(prometheus.HistogramOpts{
		Name: "pilot_xds_config_size_bytes", Help: "Bytes of a message to a proxy.",
		Buckets: []float64{1, 1000, 10_000, 100_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000},
	}, []string{"type"})
	m.removals = f.NewCounter(counterOpts("fairlead_xds_removals_total", "Resources that proxies were told to drop."))
	m.refused = f.NewCounter(counterOpts("pilot_total_xds_rejects", "Resources that proxies refused."))
	m.denied = f.NewCounter(counterOpts("fairlead_xds_denied_names_total", "Names that proxies asked for and may not read."))
	// An endpoint change is meant to be everywhere within 50 ms.
	m.converged = f.NewHistogram(prometheus.HistogramOpts{
		Name: "pilot_proxy_convergence_time", Help: "Seconds from a change to a proxy's word that it is in force.",
		Buckets: []float64{0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 3, 5, 10, 20, 30},
	})
	m.drained = f.NewHistogram(prometheus.HistogramOpts{
		Name: "fairlead_drain_duration_seconds", Help: "Seconds from a pod's being told to end to the end of its sidecar.",
		Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300},
	})
	m.forced = f.NewCounter(counterOpts("fairlead_drains_forced_total", "Pods whose drain was not over when their time was up."))
}

func counterOpts(name, help string) prometheus.CounterOpts {
	return prometheus.CounterOpts{Name: name, Help: help}
}

// trace gives the hooks that count what the discovery server does.
func (m *metrics) trace() discovery.Trace {
	return discovery.Trace{
		Received: func(_ discovery.ClientIdentity, r *discovery.Request) {
			for _, nack := range r.Nacks {
				m.refused.Add(float64(len(nack.Errors)))
			}
		},
		Denied: func(discovery.ClientIdentity, string) { m.denied.Inc() },
		Sent: func(_ discovery.ClientIdentity, r *discovery.Response, bytes int, took time.Duration) {
			for i := range r.Resources {
				m.pushes.WithLabelValues(plan.KindOf(r.Resources[i].Name).String()).Inc()
			}
			m.removals.Add(float64(len(r.Removed)))
			m.observePush("fairlead", bytes, took)
		},
		Departed: func(_ discovery.ClientIdentity, how discovery.Ending, took time.Duration) {
			m.drained.Observe(took.Seconds())
			if how == discovery.EndedForced {
				m.forced.Inc()
			}
		},
		Converged: func(d time.Duration) { m.converged.Observe(d.Seconds()) },
	}
}

// sentStandard counts a message to a standard xDS client.
func (m *metrics) sentStandard(t xds.Type, resources, bytes int, took time.Duration) {
	name := strings.ToLower(t.String())
	m.pushes.WithLabelValues(name).Add(float64(resources))
	m.observePush(name, bytes, took)
}

func (m *metrics) observePush(what string, bytes int, took time.Duration) {
	m.pushTimes.WithLabelValues(what).Observe(took.Seconds())
	m.pushSizes.WithLabelValues(what).Observe(float64(bytes))
}

func (m *metrics) countSigned(err error) {
	m.signed.Inc()
	if err != nil {
		m.signErrors.Inc()
	} else {
		m.issued.Inc()
	}
}

func (m *metrics) countInjection(o inject.Outcome) {
	m.asked.Inc()
	switch o {
	case inject.Success:
		m.injected.Inc()
	case inject.Skip:
		m.leftAlone.Inc()
	case inject.Failure:
		m.notInjected.Inc()
	}
}

// writeMetrics gives everything in Prometheus' text format. The page is complete before the first byte of it is sent: a
// client that reads slowly holds nothing up.
func (p *ControlPlane) writeMetrics(w io.Writer) error {
	families, err := p.metrics.registry.Gather()
	if err != nil {
		return err
	}
	var page bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&page, family); err != nil {
			return err
		}
	}
	_, err = page.WriteTo(w)
	return err
}

// gauge is a value looked up at each scrape.
type gauge struct {
	name, help string
	value      float64
}

// present is a prometheus.Collector of what is the case at the moment of a scrape.
type present struct{ p *ControlPlane }

// Describe implements prometheus.Collector. What there is depends on the table of kinds.
func (present) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c present) Collect(to chan<- prometheus.Metric) {
	for _, g := range c.p.gauges() {
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(g.name, g.help, nil, nil), prometheus.GaugeValue, g.value)
	}
	c.clusters(to)
	to <- prometheus.MustNewConstMetric(prometheus.NewDesc("fairlead_probe_results_refused_total",
		"Results of health checks that sidecars were not told to make.", nil, nil),
		prometheus.CounterValue, float64(c.p.engine.probing.counts.refused.Load()))
}

// clusters says how it stands with the other clusters.
func (c present) clusters(to chan<- prometheus.Metric) {
	gauge := func(name, help, label, of string, value float64) {
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, []string{label}, nil), prometheus.GaugeValue, value, of)
	}
	followed := make(map[string]bool)
	for _, s := range c.p.clusters.set.Statuses(time.Now()) {
		if s.State == remote.Refused {
			continue
		}
		followed[s.Name] = true
		synced := 0.0
		if s.State == remote.Synced {
			synced = 1
		}
		gauge("fairlead_remote_cluster_synced", "1 where what is known of another cluster is up to date.", "cluster", s.Name, synced)
		gauge("fairlead_remote_cluster_age_seconds", "How old what is known of another cluster may be.", "cluster", s.Name, s.Age.Seconds())
	}
	c.p.mirrors.aliveGateways(func(cluster string, alive float64) {
		gauge("gateway_alive", "1 where a gateway of a linked cluster is alive.", "target_cluster_name", cluster, alive)
	})
	const help = "Clusters that are followed."
	gauge("istiod_managed_clusters", help, "cluster_type", "local", 1)
	gauge("istiod_managed_clusters", help, "cluster_type", "remote", float64(len(followed)))
}

// gauges looks at the present state.
func (p *ControlPlane) gauges() []gauge {
	var connected, stale, unknown, outdated int
	for _, s := range sidecars(p.server.Status()) {
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
	return append(append(append(p.engine.objects.gauges(), p.engine.probing.gauges()...), p.authority.gauges()...),
		gauge{"pilot_xds", "Connected proxies.", float64(connected)},
		gauge{"fairlead_xds_stale_proxies", "Connected proxies that have not confirmed everything sent to them.", float64(stale)},
		gauge{"fairlead_xds_unknown_proxies", "Connected proxies whose own pod is not known.", float64(unknown)},
		gauge{"fairlead_xds_outdated_proxies", "Connected proxies that leave out a part of a resource which they are too old to know.", float64(outdated)},
		gauge{"fairlead_pods_failing_checks", "Pods whose sidecars are connected here and say that a health check fails.", float64(p.engine.health.failing.Load())},
		gauge{"pilot_total_rejected_configs", "Objects that are not in force as written.", float64(p.engine.problems.rejected())},
		gauge{"fairlead_config_problems", "Problems in the configuration.", float64(len(p.engine.problems.list()))},
	)
}

// gauges are when the CA's certificates end; none where there is no CA yet.
func (a *authority) gauges() []gauge {
	ca := a.current()
	if ca == nil {
		return nil
	}
	signer, root := ca.Expiry()
	return []gauge{
		{"citadel_server_cert_chain_expiry_timestamp", "When the certificate that signs workloads' ends, in seconds since 1970.", float64(signer.Unix())},
		{"citadel_server_root_cert_expiry_timestamp", "When the root of that certificate ends, in seconds since 1970.", float64(root.Unix())},
	}
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
