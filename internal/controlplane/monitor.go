package controlplane

import (
	"net/http"
	"net/http/pprof"
	"slices"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/observe"
)

// monitor is the plain HTTP side.
func (p *ControlPlane) monitor() http.Handler {
	known := endpointPage{p.engine, p.o.ClusterDomain}
	pages := admin.Controller{
		Metrics: &admin.Metrics{Write: p.writeMetrics}, Version: p.o.Version, ClusterID: p.o.ClusterID, Ready: p.unready,
		Proxies: p.Proxies, Problems: p.problemPage, Endpoints: known.sent, EndpointsOf: known.of, Departures: p.departures,
		Probes: p.engine.probes, Clusters: p.clusters.page, Links: p.mirrors.page,
		Observation: (&observe.API{
			Hub: p.hub, Authorize: p.backing.mayObserve(), Ready: p.unready,
			Views: map[string]http.Handler{
				observe.ViewEdges: edgesView{p.engine, p.history, placesOf(p), p.o.TrustDomain}, observe.ViewChanges: p.feed,
				observe.ViewSeries: seriesView{edgesView{p.engine, p.history, placesOf(p), p.o.TrustDomain}},
				observe.ViewConfig: configView{p, new(serviceView)}, observe.ViewProblems: problemsView{p}, observe.ViewObjects: objectsView{p},
			},
		}).Handler(),
	}
	if p.o.Pprof {
		pages.Profiles = profiles()
	}
	return pages.Handler()
}

// profiles are Go's own pages.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// sidecars are those of all connected clients that are proxies of Fairlead's own kind, by ID. What runs beside another one is listed as that one, by the
// standard xDS that it speaks.
func sidecars(all []discovery.ClientStatus) []discovery.ClientStatus {
	return slices.DeleteFunc(all, func(s discovery.ClientStatus) bool { return s.Node.Companion })
}

// Proxies lists the connected proxies by ID.
func (p *ControlPlane) Proxies() []admin.Proxy {
	list := []admin.Proxy{}
	for _, s := range sidecars(p.server.Status()) {
		v := admin.Proxy{
			ID: s.ID, Namespace: s.Client.Namespace, ServiceAccount: s.Client.ServiceAccount, Version: s.Node.Version,
			ConnectedSince: s.Since, State: admin.Stale, Names: s.Names, Resources: s.Held, Sent: s.Sent, Acked: s.Acked,
		}
		if s.Acked > 0 {
			v.AckedAt = &s.AckedAt
		}
		for _, r := range s.Refusals {
			v.Refused = append(v.Refused, admin.Refusal{Resource: r.Name, Version: r.Version, Reason: r.Reason, At: r.At})
		}
		for _, r := range s.Partial {
			v.LeftOut = append(v.LeftOut, admin.Refusal{Resource: r.Name, Version: r.Version, Reason: r.Reason, At: r.At})
		}
		switch {
		case len(v.Refused) > 0:
			v.State = admin.Refusing
		case !p.engine.knows(s.Client):
			v.State = admin.Unknown
		case s.Synced:
			v.State = admin.Synced
		}
		list = append(list, v)
	}
	return append(list, p.standard.proxies()...)
}

// Problems lists everything that is wrong at present, what proxies refused included.
func (p *ControlPlane) Problems() []model.Problem {
	list := p.problems()
	for _, s := range sidecars(p.server.Status()) {
		if !p.engine.knows(s.Client) {
			list = append(list, unknownPod(s.Client))
		}
		for _, r := range s.Refusals {
			list = append(list, model.Problem{
				Ref:      model.Ref{Kind: "Proxy", Key: model.Key{Namespace: s.Client.Namespace, Name: s.Client.Pod}},
				Severity: model.Warning, Field: r.Name, Message: "refused: " + r.Reason,
				Fix: "the proxy keeps the previous version; look at the object that the resource comes from",
			})
		}
	}
	list = append(list, p.standard.problems()...)
	return list
}

// problemPage is Problems as a page has them.
func (p *ControlPlane) problemPage() []admin.Problem {
	list := []admin.Problem{}
	for _, x := range p.Problems() {
		list = append(list, admin.Problem{
			Severity: x.Severity.String(), Kind: x.Ref.Kind, Object: x.Ref.Key.String(), Field: x.Field,
			Message: x.Message, Fix: x.Fix, Position: x.Pos.String(), Text: x.String(),
		})
	}
	return list
}
