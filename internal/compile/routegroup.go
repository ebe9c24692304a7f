package compile

import (
	"fmt"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// described gives a rule with the matches of the groups that it is narrowed to: "if multiple HTTP route groups are specified, all
// routes will be merged into a single group" (SMI Traffic Split). ok is false where none of them is there: then no request is
// described.
func (v routing) described(h *model.HTTPRule) (_ *model.HTTPRule, ok bool) {
	if len(h.Groups) == 0 {
		return h, true
	}
	out := *h
	for _, g := range h.Groups {
		if group := routeGroup(v.r, g.Key); group != nil {
			out.Matches = append(out.Matches, group.Matches...)
		}
	}
	return &out, len(out.Matches) > 0
}

func routeGroup(r *store.Reader, k model.Key) *model.RouteGroup {
	return store.Get[model.RouteGroup](r, model.Ref{Kind: kindHTTPRouteGroup, Key: k})
}

// withRoot adds to the rules of TrafficSplits that describe their requests where the others go: "routing will be handled by the
// Kubernetes service with the same name as spec.service".
func withRoot(rules []rule, rs *model.RouteSet) []rule {
	if dialectOf(rs) != dialectSMI || slices.ContainsFunc(rules, rule.catchAll) {
		return rules
	}
	return append(rules, rule{set: rs, http: &model.HTTPRule{
		Field: "spec.service", Backends: []model.WeightedBackend{{Field: "spec", Host: rs.Hosts[0], Weight: 1}},
	}})
}

// missingRouteGroups reports groups of requests that are referred to and are not there.
func missingRouteGroups(c *checker, sets []*model.RouteSet) {
	for _, rs := range sets {
		for i := range rs.HTTP {
			for _, g := range rs.HTTP[i].Groups {
				if routeGroup(c.r, g.Key) == nil {
					c.report(rs.Ref, &missing{
						field: g.Field + ".name", message: fmt.Sprintf("HTTPRouteGroup %s is not there: it describes no requests", g.Key),
					}, similarRouteGroup(c.r, g.Key))
				}
			}
		}
	}
}

// similarRouteGroup suggests a group whose name looks like the one that is not there.
func similarRouteGroup(r *store.Reader, wanted model.Key) string {
	var names []string
	for _, g := range store.List[model.RouteGroup](r) {
		if g.Ref.Namespace == wanted.Namespace {
			names = append(names, g.Ref.Name)
		}
	}
	return suggest(wanted.Name, names)
}
