package compile

import (
	"cmp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// view is the model as the callers of one namespace see it. The empty namespace stands for every namespace that has
// no configuration of its own: it sees what is exported to all.
type view struct {
	snapshot

	ns string
	// net is the network in whose terms addresses are meant, empty for the control plane's own.
	net string
	// selected names the selection that the callers go by, empty for those that no rule selects.
	selected string
	// all sees everything, what is exported to all namespaces first: for answers that are one for all callers.
	all bool
}

// as gives the same model through other eyes.
func (v view) as(namespace string) view {
	v.ns, v.selected = namespace, ""
	return v
}

// in takes addresses for those of a network.
func (v view) in(network string) view {
	v.net = network
	return v
}

// visible reports whether an object of namespace owner that is exported so can be seen (Istio's exportTo: "." is
// the owner's namespace, "*" all namespaces, "~" none; an empty list means all).
func (v view) visible(exportTo []string, owner string) bool {
	if len(exportTo) == 0 || v.all {
		return true
	}
	for _, e := range exportTo {
		switch {
		case e == "*":
			return true
		case e == "." && owner == v.ns && v.ns != "":
			return true
		case e == v.ns && v.ns != "":
			return true
		}
	}
	return false
}

// levels lists h and the wildcards that cover it, most specific first, which is the longest: wildcards inside a label only where
// something is for them, others as many as h has labels.
func (v view) levels(h model.Hostname) []model.Hostname {
	out := []model.Hostname{h}
	rest := strings.TrimPrefix(string(h), "*.")
	for {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			break
		}
		rest = rest[i+1:]
		out = append(out, model.Hostname("*."+rest))
	}
	if h != "*" {
		out = append(out, "*")
	}
	plain := len(out)
	for _, index := range []store.Table{store.ServicesOfPartial, store.RouteSetsOfPartial, store.PoliciesOfPartial} {
		for _, p := range store.PartialWildcards(v.r, index) {
			if p.Covers(h) && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	if len(out) > plain {
		slices.SortFunc(out[1:], func(a, b model.Hostname) int { return cmp.Compare(len(b), len(a)) }) // no two of one length cover h
	}
	return out
}

// servicesAt lists the visible services that define exactly h, the one that counts first: a Kubernetes Service
// before ServiceEntries, then those of the viewing namespace, then the oldest, then by name.
func (v view) servicesAt(h model.Hostname) []*model.Service {
	return v.sees(v.r.ServicesByHost(h))
}

// sees keeps the services that the viewing namespace sees, the one that counts first.
func (v view) sees(found []*model.Service) []*model.Service {
	return v.sorted(slices.DeleteFunc(found, func(s *model.Service) bool {
		return !v.visible(s.ExportTo, s.Key.Namespace)
	}))
}

func (v view) sorted(found []*model.Service) []*model.Service {
	slices.SortFunc(found, v.compareServices)
	return found
}

func (v view) compareServices(a, b *model.Service) int {
	return cmp.Or(
		cmp.Compare(serviceRank(a), serviceRank(b)),
		cmp.Compare(v.hiddenRank(a), v.hiddenRank(b)),
		cmp.Compare(v.distance(a), v.distance(b)),
		olderService(a, b),
	)
}

func olderService(a, b *model.Service) int {
	return cmp.Or(
		a.CreatedAt.Compare(b.CreatedAt),
		a.Key.Compare(b.Key),
		cmp.Compare(a.Origin.Kind, b.Origin.Kind),
		cmp.Compare(a.Host, b.Host),
	)
}

func serviceRank(s *model.Service) int {
	if isKubernetes(s) {
		return 0
	}
	return 1
}

// hiddenRank is higher for what only some namespaces see.
func (v view) hiddenRank(s *model.Service) int {
	if common := (view{}); v.all && !common.visible(s.ExportTo, s.Key.Namespace) {
		return 1
	}
	return 0
}

func (v view) distance(s *model.Service) int {
	if s.Key.Namespace == v.ns {
		return 0
	}
	return 1
}

// isKubernetes reports whether s is a Kubernetes Service rather than a host of a ServiceEntry.
func isKubernetes(s *model.Service) bool {
	return s.Resolution == model.ResolveSlices || s.ExternalName != "" || s.Origin.Kind == kindService
}

// services lists the visible services behind h: those that define it, else those with the longest wildcard.
func (v view) services(h model.Hostname) []*model.Service {
	for _, level := range v.levels(h) {
		if found := v.servicesAt(level); len(found) > 0 {
			return found
		}
	}
	return nil
}

// findIn gives the service and port behind a target among the visible services of one namespace, or nil.
func (v view) findIn(namespace string, t plan.HostPort) (*model.Service, *model.ServicePort) {
	for _, level := range v.levels(t.Host) {
		found := slices.DeleteFunc(v.servicesAt(level), func(s *model.Service) bool { return s.Key.Namespace != namespace })
		if len(found) > 0 {
			return withPort(found, t.Port)
		}
	}
	return nil, nil
}

func withPort(services []*model.Service, port uint16) (*model.Service, *model.ServicePort) {
	for _, s := range services {
		if p := portOf(s, port); p != nil {
			return s, p
		}
	}
	return nil, nil
}

// portOf gives the TCP port of s, or nil. The sidecar carries no UDP.
func portOf(s *model.Service, port uint16) *model.ServicePort {
	for i := range s.Ports {
		if s.Ports[i].Port == port && s.Ports[i].Protocol != model.UDP {
			return &s.Ports[i]
		}
	}
	return nil
}

// onlyPort gives the TCP port of s where it has just one, or nil.
func onlyPort(s *model.Service) *model.ServicePort {
	var only *model.ServicePort
	for i := range s.Ports {
		if s.Ports[i].Protocol == model.UDP {
			continue
		}
		if only != nil {
			return nil
		}
		only = &s.Ports[i]
	}
	return only
}

// resolveHost gives the full name that a host written in an object of the given namespace stands for, and the
// visible services behind it.
func (v view) resolveHost(written model.Hostname, namespace string) (model.Hostname, []*model.Service) {
	candidates := model.HostCandidates(string(written), namespace, v.g.ClusterDomain)
	for _, h := range candidates {
		if found := v.servicesAt(h); len(found) > 0 {
			return h, found
		}
	}
	for _, h := range candidates {
		if found := v.services(h); len(found) > 0 {
			return h, found
		}
	}
	return candidates[0], nil
}

// candidates lists what a name may stand for that an app of the viewing namespace uses. A ServiceEntry's host may be
// a name without a dot, taken as it is.
func (v view) candidates(written string) []model.Hostname {
	out := model.HostCandidates(written, v.ns, v.g.ClusterDomain)
	if h := model.CanonicalHost(written); !slices.Contains(out, h) {
		out = append(out, h)
	}
	return out
}

// olderRouteSet orders objects for precedence: the oldest first, then by namespace and name (Gateway API's rule).
func olderRouteSet(a, b *model.RouteSet) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), a.Ref.Compare(b.Ref.Key), cmp.Compare(a.Ref.Kind, b.Ref.Kind))
}

func olderPolicy(a, b *model.DestinationPolicy) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), a.Ref.Compare(b.Ref.Key))
}
