package compile

import (
	"cmp"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// tracings say what sidecars do about traces.
type tracings struct{ snapshot }

// of gives what the sidecar of a workload does about the requests of its app, and about those to it.
func (m tracings) of(w *model.Workload) (client, server *plan.Tracing) {
	t := &m.g.Tracing
	if t.Off || !meshed(w) {
		return nil, nil
	}
	common := plan.Tracing{
		Origin: "mesh", Service: m.serviceName(w), NodeID: m.nodeID(w), MeshID: m.g.TrustDomain, Sampling: t.Sampling, Tags: t.Tags,
		NoIstioTags: t.NoIstioTags, OTelNames: t.OTelNames, MaxTagLength: cmp.Or(t.MaxTagLength, model.DefaultMaxTagLength),
	}
	m.send(&common, w, t.Provider(t.Default))
	ofClient, ofServer := common, common
	levels := telemetries(m).levels(w)
	m.narrow(&ofClient, w, levels, model.ClientOnly)
	m.narrow(&ofServer, w, levels, model.ServerOnly)
	return &ofClient, &ofServer
}

// narrow has the rules of objects decide about one side, the widest first, each as far as it says something, as Istio's
// Telemetries.Tracing does. One that names a provider that is not there has nothing sent.
func (m tracings) narrow(t *plan.Tracing, w *model.Workload, levels []*model.Telemetry, side model.WorkloadMode) {
	var origins []string
	for _, object := range levels {
		said := false
		for i := range object.Tracing {
			if rule := &object.Tracing[i]; rule.Mode.Covers(side) {
				m.obey(t, w, rule)
				said = true
			}
		}
		if said {
			origins = append(origins, object.Ref.String())
		}
	}
	if len(origins) > 0 {
		t.Origin = strings.Join(origins, ", ")
	}
}

// obey changes what a rule says something of.
func (m tracings) obey(t *plan.Tracing, w *model.Workload, rule *model.TraceRule) {
	if len(rule.Providers) > 0 {
		mesh := &m.g.Tracing
		t.MaxTagLength, t.OTelNames = cmp.Or(mesh.MaxTagLength, model.DefaultMaxTagLength), mesh.OTelNames
		m.send(t, w, mesh.Provider(rule.Providers[0].Name))
	}
	if rule.Sampling != nil {
		t.Sampling = *rule.Sampling
	}
	if rule.Tags != nil {
		t.Tags = rule.Tags
	}
	if rule.NoReport != nil {
		t.NoReport = *rule.NoReport
	}
	if rule.ByRequestID != nil {
		t.SampleAtRandom = !*rule.ByRequestID
	}
	if rule.IstioTags != nil {
		t.NoIstioTags = !*rule.IstioTags
	}
	if rule.NoPropagation != nil {
		t.NoPropagation = *rule.NoPropagation
	}
}

// send has spans sent to a provider; nil for none.
func (m tracings) send(t *plan.Tracing, w *model.Workload, p *model.TraceProvider) {
	if p == nil {
		t.Provider = nil
		return
	}
	own := m.reached(w, p)
	t.Provider = &own
	t.MaxTagLength = cmp.Or(p.MaxTagLength, t.MaxTagLength)
	t.OTelNames = t.OTelNames || p.OTelNames
}

// reached is a collector as a workload's sidecar reaches it.
func (m tracings) reached(w *model.Workload, p *model.TraceProvider) model.TraceProvider {
	own := *p
	own.Host, _ = view{snapshot: m.snapshot, ns: w.Key.Namespace}.resolveHost(p.Host, w.Key.Namespace)
	own.Timeout = cmp.Or(p.Timeout, model.DefaultTraceTimeout)
	return own
}

// nodeID is that of Istio's proxies: "sidecar~<IP>~<pod>.<namespace>~<namespace>.svc.<cluster domain>".
func (m tracings) nodeID(w *model.Workload) string {
	ip := ""
	if len(w.IPs) > 0 {
		ip = w.IPs[0].String()
	}
	return "sidecar~" + ip + "~" + w.Key.Name + "." + w.Key.Namespace + "~" + w.Key.Namespace + ".svc." + m.g.ClusterDomain
}

// serviceName is what spans call a workload (istio pkg/bootstrap, getServiceCluster).
func (m tracings) serviceName(w *model.Workload) string {
	info := workloads{view{snapshot: m.snapshot}}.info(w)
	switch m.g.Tracing.ServiceName {
	case model.TraceCanonicalName:
		return info.CanonicalName
	case model.TraceCanonicalNameAndNamespace:
		return info.CanonicalName + "." + info.Namespace
	case model.TraceAppAndNamespace:
	}
	return strings.TrimSuffix(cmp.Or(w.Labels["app"], info.Name)+"."+info.Namespace, ".")
}
