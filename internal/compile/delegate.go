package compile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// delegation is a rule of a VirtualService in whose place stand the rules of another one, which has no hosts. What both say
// is merged as Istio does it (pilot/pkg/model, mergeVirtualServicesIfNeeded): a request must meet a match of each, and what
// the delegate's rule does not say, the rule that delegates says.
type delegation struct {
	view

	root *model.RouteSet
	rule *model.HTTPRule
}

// delegate finds the other VirtualService; why says what is wrong where there is none.
func (d delegation) delegate() (set *model.RouteSet, why string) {
	key := *d.rule.Delegate
	set = store.Get[model.RouteSet](d.r, model.Ref{Kind: kindVirtualService, Key: key})
	switch {
	case set == nil:
		return nil, fmt.Sprintf("VirtualService %s is not there: the rule is left out", key)
	case len(set.Hosts) > 0:
		return nil, fmt.Sprintf("VirtualService %s has hosts, and a delegate has none: the rule is left out", key)
	case !d.as(d.root.Ref.Namespace).visible(set.ExportTo, key.Namespace):
		return nil, fmt.Sprintf("VirtualService %s is not exported to namespace %s: the rule is left out", key, d.root.Ref.Namespace)
	}
	return set, ""
}

// merged gives the rules that come of a delegate's, in its order, but for those that no request can meet.
func (d delegation) merged(set *model.RouteSet) []*model.HTTPRule {
	var out []*model.HTTPRule
	for i := range set.HTTP {
		if r, ok := d.merge(&set.HTTP[i]); ok && r.Delegate == nil {
			out = append(out, r)
		}
	}
	return out
}

// merge gives what comes of one rule of the delegate. ok is false where its matches conflict with those of the rule that
// delegates.
func (d delegation) merge(leaf *model.HTTPRule) (_ *model.HTTPRule, ok bool) {
	out, root := *leaf, d.rule
	if out.Matches, ok = mergeMatches(root.Matches, leaf.Matches); !ok {
		return nil, false
	}
	out.Name = joinNames(root.Name, leaf.Name)
	if out.Rewrite == nil && out.Redirect == nil && out.Direct == nil {
		out.Rewrite = root.Rewrite
	}
	if out.Timeout == 0 {
		out.Timeout = root.Timeout
	}
	if out.Retry == nil {
		out.Retry = root.Retry
	}
	if out.Fault == nil {
		out.Fault = root.Fault
	}
	if out.Mirrors == nil {
		out.Mirrors = root.Mirrors
	}
	if out.CORS == nil {
		out.CORS = root.CORS
	}
	if out.Headers.Empty() {
		out.Headers = root.Headers
	}
	return &out, true
}

func joinNames(root, leaf string) string {
	if root == "" || leaf == "" {
		return root + leaf
	}
	return root + "-" + leaf
}

// mergeMatches gives the pairs of matches that can hold together. Each of the delegate's has to have one.
func mergeMatches(root, leaf []model.HTTPMatch) (out []model.HTTPMatch, ok bool) {
	switch {
	case len(root) == 0:
		return leaf, true
	case len(leaf) == 0:
		return root, true
	}
	for i := range leaf {
		found := false
		for j := range root {
			if m, ok := mergeMatch(&root[j], &leaf[i]); ok {
				out, found = append(out, m), true
			}
		}
		if !found {
			return nil, false
		}
	}
	return out, true
}

// mergeMatch gives the narrower of both in each part; ok is false where the delegate's is not the narrower one.
func mergeMatch(root, leaf *model.HTTPMatch) (out model.HTTPMatch, ok bool) {
	out = *leaf
	out.Name = joinNames(root.Name, leaf.Name)
	for _, part := range []struct {
		root *model.StringMatch
		leaf **model.StringMatch
	}{{root.URI, &out.URI}, {root.Scheme, &out.Scheme}, {root.Method, &out.Method}, {root.Authority, &out.Authority}} {
		switch {
		case part.root == nil:
		case *part.leaf == nil:
			*part.leaf = part.root
		case !narrows(part.root, *part.leaf):
			return out, false
		}
	}
	var headers, query bool
	out.Headers, headers = mergeNamed(root.Headers, leaf.Headers)
	out.Query, query = mergeNamed(root.Query, leaf.Query)
	switch {
	case !headers, !query,
		root.Port != 0 && leaf.Port != 0 && root.Port != leaf.Port,
		root.SourceNamespace != "" && leaf.SourceNamespace != "" && leaf.SourceNamespace != root.SourceNamespace:
		return out, false
	}
	out.StatPrefix = cmp.Or(leaf.StatPrefix, root.StatPrefix)
	if out.Port == 0 {
		out.Port = root.Port
	}
	if out.SourceNamespace == "" {
		out.SourceNamespace = root.SourceNamespace
	}
	out.SourceLabels = maps.Clone(root.SourceLabels)
	for name, value := range leaf.SourceLabels {
		if other, said := root.SourceLabels[name]; said && other != value {
			return out, false
		}
		if out.SourceLabels == nil {
			out.SourceLabels = map[string]string{}
		}
		out.SourceLabels[name] = value
	}
	return out, true
}

// mergeNamed adds to the delegate's conditions those of the other rule on other names.
func mergeNamed(root, leaf []model.NamedMatch) (out []model.NamedMatch, ok bool) {
	out = slices.Clone(leaf)
	for i := range root {
		r := &root[i]
		at := slices.IndexFunc(leaf, func(m model.NamedMatch) bool { return strings.EqualFold(m.Name, r.Name) && m.Invert == r.Invert })
		switch {
		case at < 0:
			out = append(out, *r)
		case !narrows(&r.Match, &leaf[at].Match):
			return nil, false
		}
	}
	return out, true
}

// narrows reports whether what leaf matches is seen to be among what root matches. Nothing is seen of patterns, as in Istio.
func narrows(root, leaf *model.StringMatch) bool {
	if root.IgnoreCase != leaf.IgnoreCase {
		return false
	}
	under := func() bool {
		if root.IgnoreCase {
			return len(leaf.Value) >= len(root.Value) && strings.EqualFold(leaf.Value[:len(root.Value)], root.Value)
		}
		return strings.HasPrefix(leaf.Value, root.Value)
	}
	switch root.Kind {
	case model.Exact:
		return leaf.Kind == model.Exact && len(leaf.Value) == len(root.Value) && under()
	case model.Prefix:
		return (leaf.Kind == model.Exact || leaf.Kind == model.Prefix) && under()
	case model.PathPrefix, model.Regex, model.Present:
	}
	return false
}

// delegates reports rules that delegate in vain, rules of delegates that no request can meet, and delegates that nobody
// refers to.
func (c *checker) delegates(sets []*model.RouteSet) {
	used := map[model.Ref]bool{}
	for _, rs := range sets {
		for i := range rs.HTTP {
			h := &rs.HTTP[i]
			if h.Delegate == nil {
				continue
			}
			d := delegation{view: c.view, root: rs, rule: h}
			set, why := d.delegate()
			if set == nil {
				c.report(rs.Ref, &missing{field: h.Field + ".delegate", message: why}, "")
				continue
			}
			used[set.Ref] = true
			for j := range set.HTTP {
				if _, ok := d.merge(&set.HTTP[j]); !ok {
					c.warn(set.Ref, set.HTTP[j].Field+".match", fmt.Sprintf("conflicts with the match of %s %s, which delegates to it: the rule is left out there", rs.Ref, h.Field),
						"match on less than the rule that delegates does")
				}
			}
		}
	}
	for _, rs := range sets {
		if isDelegate(rs) && !used[rs.Ref] {
			c.warn(rs.Ref, "spec.hosts", "no hosts, so it is for other objects to delegate to, and none does: it has no effect", "name the hosts that the rules apply to, or delegate to it")
		}
	}
}

// isDelegate reports whether a set routes for others alone.
func isDelegate(rs *model.RouteSet) bool {
	return rs.Ref.Kind == kindVirtualService && len(rs.Hosts) == 0 && len(rs.HTTP) > 0
}
