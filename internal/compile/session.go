package compile

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// session says how the calls of a rule are kept together: as the rule says, else as the first of its Services that does.
func (b *backends) session(r rule) *plan.Session {
	if s := r.http.Session; s != nil {
		scope := r.set.Ref.String() + " " + cmp.Or(r.http.Name, r.http.Field)
		return sessionOf(s, scope, r.matches)
	}
	for i := range r.http.Backends {
		ref := b.lookUp(r.set, &r.http.Backends[i], b.called)
		if ref.missing == nil && ref.service.Session != nil {
			return serviceSession(ref.service, r.matches)
		}
	}
	return nil
}

// serviceSession is what the labels of a Service say of calls that match.
func serviceSession(s *model.Service, matches []model.HTTPMatch) *plan.Session {
	if s.Session == nil {
		return nil
	}
	return sessionOf(s.Session, s.Origin.String(), matches)
}

func sessionOf(s *model.SessionPersistence, scope string, matches []model.HTTPMatch) *plan.Session {
	out := &plan.Session{By: s.By, Name: s.Name, Timeout: s.Timeout, Permanent: s.Permanent, Scope: scope}
	if out.Name == "" { // GEP-1619, "Name": one is made up then
		sum := fnv.New32a()
		sum.Write([]byte(scope))
		out.Name = fmt.Sprintf("fairlead-session-%08x", sum.Sum32())
	}
	switch {
	case s.By != model.SessionByCookie:
	case s.Path != "":
		out.Paths = []string{s.Path}
	default:
		out.Paths = cookiePaths(matches)
	}
	return out
}

// idle are the backends of weight 0: they keep the sessions that they have (GEP-1619, "Traffic Splitting").
func (b *backends) idle(rs *model.RouteSet, list []model.WeightedBackend) []plan.WeightedBackend {
	var out []plan.WeightedBackend
	for i := range list {
		if w := &list[i]; w.Weight == 0 && !b.excluded(rs, w, b.called) {
			out = append(out, plan.WeightedBackend{Backend: b.add(rs, w), Headers: w.Headers, Rewrite: w.Rewrite})
		}
	}
	return out
}

// cookiePaths are the paths of the cookies of a rule, each once: of a pattern as much as is none.
func cookiePaths(matches []model.HTTPMatch) []string {
	paths := []string{}
	for i := range matches {
		if path := cookiePath(matches[i].URI); !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		return []string{"/"}
	}
	return paths
}

func cookiePath(m *model.StringMatch) string {
	if m == nil || m.IgnoreCase { // paths of cookies are compared with their case (RFC 6265 §5.1.4)
		return "/"
	}
	path := m.Value
	switch m.Kind {
	case model.Exact, model.PathPrefix:
	case model.Prefix, model.Regex: // of both, only what stands before a slash is sure to be a part of the path
		if m.Kind == model.Regex {
			path = literalPrefix(path)
		}
		path = path[:strings.LastIndexByte(path, '/')+1]
	case model.Present:
		path = "/"
	}
	if path = strings.TrimRight(path, "/"); path == "" || path[0] != '/' || strings.ContainsAny(path, ";,\x7f") {
		return "/"
	}
	return path
}

// literalPrefix is what a pattern begins with that is none.
func literalPrefix(pattern string) string {
	re, err := regexp.Compile(strings.TrimPrefix(pattern, "^")) //nolint:forbidigo // it was accepted as one when it was read
	if err != nil {
		return ""
	}
	prefix, _ := re.LiteralPrefix()
	return prefix
}

// sealOf names the seal that a destination needs, "" for none.
func sealOf(d *plan.Destination) string {
	if !slices.ContainsFunc(d.Routes, func(r plan.Route) bool { return r.Session != nil }) {
		return ""
	}
	return plan.Name{Kind: plan.NameSeal, Host: d.Host}.String()
}
