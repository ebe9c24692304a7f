package compile

import (
	"cmp"
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

// byPrecision orders the rules of Gateway API routes by their matches, one match each: an exact path before a regular
// expression before a prefix, the longer path first, then a match on the method, then the number of headers, then
// of query parameters. Ties keep the order they came in: the older object, then its name, then the order written
// (HTTPRouteRule.matches of the Gateway API reference; where it leaves regular expressions open, they go between).
func byPrecision(rules []rule) []rule {
	out := make([]rule, 0, len(rules))
	for _, r := range rules {
		if len(r.matches) == 0 {
			out = append(out, r)
			continue
		}
		for i := range r.matches {
			one := r
			one.matches = r.matches[i : i+1 : i+1]
			out = append(out, one)
		}
	}
	slices.SortStableFunc(out, morePrecise)
	return out
}

// match gives the only match, an empty one where the rule holds always.
func (r rule) match() *model.HTTPMatch {
	if len(r.matches) == 0 {
		return &model.HTTPMatch{}
	}
	return &r.matches[0]
}

func morePrecise(x, y rule) int {
	a, b := x.match(), y.match()
	return cmp.Or(
		cmp.Compare(y.pathRank(), x.pathRank()),
		cmp.Compare(pathLength(b.URI), pathLength(a.URI)),
		cmp.Compare(methodRank(b), methodRank(a)),
		cmp.Compare(len(b.Headers), len(a.Headers)),
		cmp.Compare(len(b.Query), len(a.Query)),
	)
}

// pathRank orders the kinds of matches on the path. In a GRPCRoute a prefix is a service: it names more characters "in
// a matching service" than a pattern does, which is there for methods of any service or of services that it describes
// (GRPCRouteRule.matches; of two matches that name the service of a call, the one with a method is exact).
func (r rule) pathRank() int {
	m := r.match().URI
	if m == nil || anyPath(m) {
		return 0
	}
	switch m.Kind {
	case model.Exact:
		return 3
	case model.Regex:
		if r.set.Ref.Kind == kindGRPCRoute {
			return 1
		}
		return 2
	case model.Prefix, model.PathPrefix:
		if r.set.Ref.Kind == kindGRPCRoute {
			return 2
		}
		return 1
	case model.Present:
	}
	return 0
}

func pathLength(m *model.StringMatch) int {
	if m == nil || anyPath(m) {
		return 0
	}
	return len(m.Value)
}

func methodRank(m *model.HTTPMatch) int {
	if m.Method == nil {
		return 0
	}
	return 1
}
