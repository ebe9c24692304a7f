package route

import (
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
)

// naive says what a match means, without a thought for speed.
func naive(m *model.HTTPMatch, src Caller, req *httpx.Request, port uint16) bool {
	target, _, _ := strings.Cut(string(req.Path), "#")
	path, query, _ := strings.Cut(target, "?")
	if m.Port != 0 && m.Port != port || m.SourceNamespace != "" && m.SourceNamespace != src.Namespace {
		return false
	}
	for k, v := range m.SourceLabels {
		if got, ok := src.Labels[k]; !ok || got != v {
			return false
		}
	}
	for _, part := range []struct {
		m *model.StringMatch
		v string
	}{{m.URI, path}, {m.Scheme, string(req.Scheme)}, {m.Method, string(req.Method)}, {m.Authority, string(req.Authority)}} {
		if part.m != nil && !naiveString(part.m, part.v) {
			return false
		}
	}
	for i := range m.Headers {
		if !naiveHeader(&m.Headers[i], req) {
			return false
		}
	}
	for i := range m.Query {
		if naiveQuery(&m.Query[i], query) == m.Query[i].Invert {
			return false
		}
	}
	return true
}

func naiveString(m *model.StringMatch, v string) bool {
	want := m.Value
	if m.IgnoreCase {
		v, want = strings.ToLower(v), strings.ToLower(want)
	}
	switch m.Kind {
	case model.Exact:
		return v == want
	case model.Prefix:
		return strings.HasPrefix(v, want)
	case model.PathPrefix:
		want = strings.TrimRight(want, "/")
		return v == want || strings.HasPrefix(v, want+"/")
	case model.Regex:
		return regexp.MustCompile("^(?:" + want + ")$").MatchString(v)
	case model.Present:
	}
	return true
}

func naiveHeader(m *model.NamedMatch, req *httpx.Request) bool {
	var values []string
	for i := range req.Fields.Len() {
		if name, value := req.Fields.At(i); strings.EqualFold(string(name), m.Name) {
			values = append(values, string(value))
		}
	}
	if len(values) == 0 && (m.Match.Kind == model.Present || !m.Invert) {
		return m.Invert
	}
	return naiveString(&m.Match, strings.Join(values, ",")) != m.Invert
}

func naiveQuery(m *model.NamedMatch, query string) bool {
	decode := func(s string) string {
		if out, err := url.QueryUnescape(s); err == nil {
			return out
		}
		return s
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if pair != "" && (name == m.Name || decode(name) == m.Name) {
			return naiveString(&m.Match, value) || naiveString(&m.Match, decode(value))
		}
	}
	return false
}

// FuzzMatch compares the compiled matcher with the naive one on rules and requests grown from a seed.
func FuzzMatch(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(seed, "")
	}
	f.Add(uint64(7), "/a/b?x=%61&x=b")
	f.Fuzz(func(t *testing.T, seed uint64, path string) {
		g := grower{rand.New(rand.NewPCG(seed, 1))}
		src := Caller{Namespace: g.pick("", "a", "b"), Labels: map[string]string{"app": g.pick("a", "b")}}
		routes := make([]plan.Route, 1+g.IntN(5))
		for i := range routes {
			for range g.IntN(3) {
				routes[i].Matches = append(routes[i].Matches, g.match())
			}
		}
		table, err := Compile(routes)
		if err != nil {
			t.Fatalf("Compile: %v", err)
		}
		for range 8 {
			req := g.request()
			if path != "" && !malformed(path) {
				req.Path = []byte(path)
			}
			before := req.Fields.Size()
			want := -1
			for i := range routes {
				if len(routes[i].Matches) == 0 || anyNaive(routes[i].Matches, src, req) {
					want = i
					break
				}
			}
			for _, indexed := range []*index{nil, newIndex(table.entries)} {
				table.index = indexed
				got := -1
				if r := table.Match(req, src, 80); r != nil {
					for i := range routes {
						if r.Plan == &routes[i] {
							got = i
						}
					}
				}
				if got != want {
					t.Fatalf("indexed %t: Match(%s %s%s) = route %d, want %d of %+v", indexed != nil, req.Method, req.Authority, req.Path, got, want, routes)
				}
			}
			if after := req.Fields.Size(); after != before {
				t.Fatalf("Match left the fields with %d bytes, want %d", after, before)
			}
		}
	})
}

// malformed reports whether the naive decoder, which gives up, and ours, which keeps what it cannot read, differ.
func malformed(s string) bool {
	_, err := url.QueryUnescape(s)
	return err != nil || strings.ContainsAny(s, "\n")
}

func anyNaive(matches []model.HTTPMatch, src Caller, req *httpx.Request) bool {
	for i := range matches {
		if naive(&matches[i], src, req, 80) {
			return true
		}
	}
	return false
}

// grower makes small values that often meet each other.
type grower struct{ *rand.Rand }

func (g grower) pick(from ...string) string { return from[g.IntN(len(from))] }

func (g grower) text() string { return g.pick("", "a", "b", "ab", "A", "a,b", "a b") }

func (g grower) path() string {
	return g.pick("/", "/a", "/a/", "/a/b", "/ab", "/A", "/b", "") + g.pick("", "", "?a=b", "?a=a%20b&b", "?a=a+b", "?b=1&a=b&a=a", "?=&&a", "#a?b")
}

func (g grower) stringMatch(values ...string) *model.StringMatch {
	if g.IntN(3) == 0 {
		return nil
	}
	m := &model.StringMatch{Kind: model.MatchKind(1 + g.IntN(5)), Value: g.pick(values...)}
	switch m.Kind {
	case model.Regex:
		m.Value = g.pick("a", "a.*", ".*", "[ab]+", "/a/?b?", "", "(?i)a")
	case model.Exact, model.Prefix:
		m.IgnoreCase = g.IntN(2) == 0
	case model.PathPrefix, model.Present:
	}
	return m
}

func (g grower) match() model.HTTPMatch {
	m := model.HTTPMatch{
		URI: g.stringMatch("/", "/a", "/a/", "/a/b", ""), Method: g.stringMatch("GET", "P"), Scheme: g.stringMatch("http"),
		Authority: g.stringMatch("a", "a:80"), Port: uint16(80 * g.IntN(2)),
	}
	if g.IntN(4) == 0 {
		m.SourceNamespace = g.pick("a", "b")
		m.SourceLabels = map[string]string{g.pick("app", "none"): g.pick("a", "")}
	}
	for range g.IntN(3) {
		if v := g.stringMatch("", "a", "ab", "a,b"); v != nil {
			m.Headers = append(m.Headers, model.NamedMatch{Name: g.pick("x", "Y"), Match: *v, Invert: g.IntN(2) == 0})
		}
		if v := g.stringMatch("", "a", "b", "a b"); v != nil {
			m.Query = append(m.Query, model.NamedMatch{Name: g.pick("a", "b"), Match: *v, Invert: g.IntN(2) == 0})
		}
	}
	return m
}

func (g grower) request() *httpx.Request {
	req := newRequest(g.pick("GET", "POST"), g.pick("a", "a:80", "A"), g.path())
	for range g.IntN(4) {
		req.Fields.AddString(g.pick("x", "X", "y", "z"), g.text())
	}
	return req
}
