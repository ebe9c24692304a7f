package controlplane

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/mirror"
	"fairlead.dev/fairlead/internal/mirror/gateways"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/store"
)

// mirrors makes what internal/mirror decides: anew whenever the model is checked, and when a gateway dies or is alive again.
type mirrors struct {
	engine  *engine
	options mirror.Options
	prober  *gateways.Prober
	// off says why nothing that is decided is brought about; empty where it is.
	off     string
	probes  *prometheus.CounterVec
	latency *prometheus.HistogramVec
	// make brings about what was decided about a snapshot. It belongs to the goroutine of the checks, and must not block.
	make func(look *store.Reader, d mirror.Decision)
	// decided is the newest decision, of that goroutine.
	decided mirror.Decision
}

func newMirrors(p *ControlPlane) *mirrors {
	m := &mirrors{engine: p.engine, options: mirror.Options{
		Namespace: p.o.namespace(), Own: p.o.ClusterID, Domain: p.o.ClusterDomain, Missing: mirror.IgnoreMissing, Headless: p.o.MirrorsHeadless,
	}}
	switch {
	case p.o.Kube == nil:
	case p.o.Mirrors == MirrorsNamespaces:
		m.options.Missing = mirror.CreateMissing
	default:
		m.options.Missing = mirror.SkipMissing
	}
	if p.o.Kube != nil && (p.o.Mirrors == NoMirrors || p.o.Mirrors == "") {
		m.off = "no mirrors are written: install the mesh with mirrors.enabled"
	}
	f := p.metrics.make
	m.probes = f.NewCounterVec(counterOpts("gateway_probes", "Questions to gateways of linked clusters whether they are alive."), []string{"target_cluster_name", "probe_successful"})
	m.latency = f.NewHistogramVec(prometheus.HistogramOpts{ //nolint:promlinter // Linkerd's name
		Name: "gateway_probe_latency_ms", Help: "How long gateways of linked clusters take to say that they are alive.",
		Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000},
	}, []string{"target_cluster_name"})
	m.prober = gateways.New(gateways.Options{Changed: p.engine.decideAnew, Probed: m.probed, Logger: p.o.Logger})
	m.make = (&ownMirrors{sink: p.engine.inbox.receiveMore, made: map[model.Key]string{}}).make
	return m
}

// probed counts a probe.
func (m *mirrors) probed(cluster string, took time.Duration, err error) {
	m.probes.WithLabelValues(cluster, strconv.FormatBool(err == nil)).Inc()
	if err == nil {
		m.latency.WithLabelValues(cluster).Observe(float64(took) / float64(time.Millisecond))
	}
}

// decide decides about a snapshot, and has that made. It gives what is wrong with Links.
func (m *mirrors) decide(look *store.Reader) []model.Problem {
	o := m.options
	o.Alive = m.prober.Alive()
	m.decided = mirror.Decide(look, o)
	var targets []gateways.Target
	for _, l := range m.decided.Links {
		for _, g := range l.Gateways {
			targets = append(targets, gateways.Target{Cluster: l.Cluster, Address: g, Port: l.Port, Probe: l.Probe})
		}
	}
	m.prober.Want(targets)
	m.make(look, m.decided)
	if m.off != "" {
		for _, l := range m.decided.Links {
			m.decided.Problems = append(m.decided.Problems, model.Problem{Ref: l.Ref, Severity: model.Warning, Message: m.off})
		}
	}
	return m.decided.Problems
}

// decideAnew has the model be checked, and with it decided what mirrors there are.
func (e *engine) decideAnew() {
	e.inbox.deliver(func() { e.checks.pace.note(time.Now()) })
}

// page lists the linked clusters, for who looks.
func (m *mirrors) page() []admin.LinkedCluster {
	r := store.NewReader(m.engine.store.Snapshot())
	services := map[string]int{}
	for _, s := range store.List[model.Service](r) {
		if s.MadeHere && s.Mirror != nil && s.Mirror.Cluster != "" && !slices.ContainsFunc(s.Mirror.Sources, func(m model.MirrorSource) bool { return m.Pod != "" }) {
			services[s.Mirror.Cluster]++
		}
	}
	states := m.prober.States()
	out := []admin.LinkedCluster{}
	for _, l := range mirror.Links(r) {
		if l.Ref.Namespace != m.options.Namespace || slices.ContainsFunc(out, func(c admin.LinkedCluster) bool { return c.ClusterName == l.Cluster }) {
			continue
		}
		c := admin.LinkedCluster{ClusterName: l.Cluster, Link: l.Ref.Key.String(), NumberOfServices: services[l.Cluster], Gateways: []admin.LinkedGateway{}}
		for _, s := range states {
			if s.Cluster != l.Cluster {
				continue
			}
			ms := float64(s.Latency) / float64(time.Millisecond)
			c.Gateways = append(c.Gateways, admin.LinkedGateway{Address: s.Address, Alive: s.Alive, LatencyMS: ms, Cause: s.Cause})
		}
		c.Sum()
		for _, problem := range m.engine.problems.list() {
			if problem.Ref == l.Ref && problem.Severity == model.Warning {
				c.Unmirrored = append(c.Unmirrored, saidAndFix(problem))
			}
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b admin.LinkedCluster) int { return cmp.Compare(a.ClusterName, b.ClusterName) })
	return out
}

// saidAndFix is what is wrong with a Link in a line that names no object: it has that of the other cluster already.
func saidAndFix(p model.Problem) string {
	if p.Fix == "" {
		return p.Message
	}
	return p.Message + " (" + p.Fix + ")"
}

// aliveGateways describes gateway_alive: Linkerd's.
func (m *mirrors) aliveGateways(add func(cluster string, alive float64)) {
	alive := map[string]float64{}
	for _, s := range m.prober.States() {
		if s.Alive {
			alive[s.Cluster] = 1
		} else {
			alive[s.Cluster] += 0
		}
	}
	for cluster, v := range alive {
		add(cluster, v)
	}
}

// ownMirrors are mirrors where there is no API server: objects that this control plane alone knows. A Service of the manifests
// that has the name of one takes its place, and keeps it.
type ownMirrors struct {
	sink func(source.Change)
	made map[model.Key]string // what was made, printed
}

func (m *ownMirrors) make(look *store.Reader, d mirror.Decision) {
	var change source.Change
	wanted := make(map[model.Key]bool, len(d.Services))
	for i := range d.Services {
		s := &d.Services[i]
		wanted[s.Key] = true
		text := fmt.Sprintf("%+v", *s)
		if m.made[s.Key] == text && hasMirror(look, s.Key) {
			continue
		}
		m.made[s.Key] = text
		change.Upserts = append(change.Upserts, source.Object{Ref: serviceRef(s.Key), Value: mirrorService(s)})
		stale := sliceRefs(s.Key)
		for _, slice := range mirrorSlices(s) {
			ref := model.Ref{Kind: "EndpointSlice", Key: model.Key{Namespace: slice.Namespace, Name: slice.Name}}
			change.Upserts = append(change.Upserts, source.Object{Ref: ref, Value: slice})
			stale = slices.DeleteFunc(stale, func(r model.Ref) bool { return r == ref })
		}
		change.Deletes = append(change.Deletes, stale...)
	}
	for _, k := range d.Gone {
		change.Deletes = append(append(change.Deletes, serviceRef(k)), sliceRefs(k)...)
	}
	for k := range m.made {
		if !wanted[k] {
			delete(m.made, k)
			change.Deletes = append(change.Deletes, sliceRefs(k)...)
		}
	}
	if len(change.Upserts)+len(change.Deletes) > 0 {
		m.sink(change)
	}
}

// hasMirror reports whether there is a mirror of a name that was made here.
func hasMirror(look *store.Reader, k model.Key) bool {
	return slices.ContainsFunc(look.ServicesByKey(k), func(s *model.Service) bool { return s.MadeHere })
}

func serviceRef(k model.Key) model.Ref { return model.Ref{Kind: "Service", Key: k} }

// sliceRefs are the EndpointSlices that a mirror may have. Their names are such as no controller of Kubernetes gives.
func sliceRefs(k model.Key) (out []model.Ref) {
	for _, name := range mirror.SliceNames(k.Name) {
		out = append(out, model.Ref{Kind: "EndpointSlice", Key: model.Key{Namespace: k.Namespace, Name: name}})
	}
	return out
}

// run probes gateways until ctx ends.
func (m *mirrors) run(ctx context.Context) error {
	m.prober.Run(ctx)
	return nil
}
