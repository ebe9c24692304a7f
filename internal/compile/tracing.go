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
	return &ofClient, &ofServer
}

// send has spans sent to a provider; nil for none.
func (m tracings) send(t *plan.Tracing, w *model.Workload, p *model.TraceProvider) {
	if p == nil {
		t.Provider = nil
		return
	}
	own := *p
	own.Host, _ = view{snapshot: m.snapshot, ns: w.Key.Namespace}.resolveHost(p.Host, w.Key.Namespace)
	own.Timeout = cmp.Or(p.Timeout, model.DefaultTraceTimeout)
	t.Provider = &own
	t.MaxTagLength = cmp.Or(p.MaxTagLength, t.MaxTagLength)
	t.OTelNames = t.OTelNames || p.OTelNames
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
