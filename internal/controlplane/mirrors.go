package controlplane

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

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
	m := &mirrors{engine: p.engine, options: mirror.Options{Namespace: p.o.namespace(), Own: p.o.ClusterID, Domain: p.o.ClusterDomain, Missing: mirror.IgnoreMissing}}
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
		if s.MadeHere && s.Mirror != nil && s.Mirror.Cluster != "" {
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
		if s.ByGateway {
			change.Upserts = append(change.Upserts, source.Object{Ref: sliceRef(s.Key), Value: mirrorSlice(s)})
		} else {
			change.Deletes = append(change.Deletes, sliceRef(s.Key))
		}
	}
	for _, k := range d.Gone {
		change.Deletes = append(change.Deletes, serviceRef(k), sliceRef(k))
	}
	for k := range m.made {
		if !wanted[k] {
			delete(m.made, k)
			change.Deletes = append(change.Deletes, sliceRef(k))
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

// sliceRef is the EndpointSlice with the gateways of a mirror. Its name is one that no controller of Kubernetes gives.
func sliceRef(k model.Key) model.Ref {
	return model.Ref{Kind: "EndpointSlice", Key: model.Key{Namespace: k.Namespace, Name: mirror.SliceName(k.Name)}}
}

// mirrorService is a mirror as an object.
func mirrorService(s *mirror.Service) *corev1.Service {
	out := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: s.Key.Name, Namespace: s.Key.Namespace, Labels: s.Labels, Annotations: s.Annotations},
	}
	for _, p := range s.Ports {
		protocol, app := p.Wire()
		port := corev1.ServicePort{Name: p.Name, Port: int32(p.Port), Protocol: corev1.Protocol(protocol), TargetPort: intstr.FromInt32(int32(p.Port))}
		if app != "" {
			port.AppProtocol = &app
		}
		out.Spec.Ports = append(out.Spec.Ports, port)
	}
	return out
}

// mirrorSlice has the gateways of a mirror, at the same port for all ports of the Service, as with Linkerd.
func mirrorSlice(s *mirror.Service) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{Name: mirror.SliceName(s.Key.Name), Namespace: s.Key.Namespace, Labels: map[string]string{
			discoveryv1.LabelServiceName: s.Key.Name, discoveryv1.LabelManagedBy: model.ManagedBy,
			model.MirroredLabel: "true", model.MirrorClusterLabel: s.Cluster, model.ManagedByLabel: model.ManagedBy,
		}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{},
	}
	port := int32(model.DefaultGatewayPort)
	ready := true
	for _, g := range s.Gateways {
		if !g.Addr().Is4() {
			continue // one slice has one family
		}
		port = int32(g.Port())
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Addresses: []string{g.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
	tcp := corev1.ProtocolTCP
	for _, p := range s.Ports {
		name := p.Name
		if p.Protocol != model.UDP {
			out.Ports = append(out.Ports, discoveryv1.EndpointPort{Name: &name, Port: &port, Protocol: &tcp})
		}
	}
	return out
}

// run probes gateways until ctx ends.
func (m *mirrors) run(ctx context.Context) error {
	m.prober.Run(ctx)
	return nil
}
