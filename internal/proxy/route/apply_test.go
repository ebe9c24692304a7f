package route

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
)

func lines(f *httpx.Fields) []string {
	var out []string
	for i := range f.Len() {
		name, value := f.At(i)
		out = append(out, string(name)+": "+string(value))
	}
	return out
}

func TestApplyRequestPath(t *testing.T) {
	t.Parallel()
	replace := func(with string) *model.Rewrite {
		return &model.Rewrite{Path: with, HasPath: true, ReplacePrefix: true}
	}
	whole := func(with string) *model.Rewrite { return &model.Rewrite{Path: with, HasPath: true} }
	pattern := func(match, with string) *model.Rewrite { return &model.Rewrite{Regex: match, Substitution: with} }
	tests := []struct {
		name       string
		match      *model.StringMatch
		rewrite    *model.Rewrite
		path, want string
	}{
		{"a prefix is replaced as text", prefix("/api"), replace("/"), "/api/user?x=1", "//user?x=1"},
		{"a prefix with its slash", prefix("/api/"), replace("/"), "/api/user", "/user"},
		{"a prefix in any case", &model.StringMatch{Kind: model.Prefix, Value: "/API", IgnoreCase: true}, replace("/v1"), "/api/u", "/v1/u"},
		{"an exact path is replaced whole", exact("/api"), replace("/v1"), "/api?x=1", "/v1?x=1"},
		{"a path found by pattern is replaced whole", regex("/a.*"), replace("/v1"), "/api/user", "/v1"},
		{"without a path the root is replaced", nil, replace("/v1/"), "/api", "/v1/api"},
		{"the whole path", prefix("/a"), whole("/b"), "/a/c?x=1", "/b?x=1"},
		{"by pattern, everywhere", nil, pattern("/x", "/y"), "/x/a/x?x=/x", "/y/a/y?x=/x"},
		{"by pattern, with groups", nil, pattern("^/service/([^/]+)(/.*)$", `\2/at/\1`), "/service/foo/v1", "/v1/at/foo"},
		{"by pattern, a dollar is a dollar", nil, pattern("^/a$", `/$1\\`), "/a", `/$1\`},
		{"segments /foo by /xyz", segments("/foo"), replace("/xyz"), "/foo/bar", "/xyz/bar"},
		{"segments /foo by /xyz/", segments("/foo"), replace("/xyz/"), "/foo/bar", "/xyz/bar"},
		{"segments /foo/ by /xyz", segments("/foo/"), replace("/xyz"), "/foo/bar", "/xyz/bar"},
		{"segments /foo/ by /xyz/", segments("/foo/"), replace("/xyz/"), "/foo/bar", "/xyz/bar"},
		{"segments /foo itself", segments("/foo"), replace("/xyz"), "/foo", "/xyz"},
		{"segments /foo with a slash", segments("/foo"), replace("/xyz"), "/foo/", "/xyz/"},
		{"segments by nothing", segments("/foo"), replace(""), "/foo/bar", "/bar"},
		{"segments by nothing, nothing left", segments("/foo"), replace(""), "/foo", "/"},
		{"segments by nothing, a slash left", segments("/foo"), replace(""), "/foo/", "/"},
		{"segments by the root", segments("/foo"), replace("/"), "/foo?a=b", "/?a=b"},
		{"segments by the root, a slash left", segments("/foo"), replace("/"), "/foo/", "/"},
		{"the root's segments", segments("/"), replace("/v1"), "/foo", "/v1/foo"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			table := mustCompile(t, plan.Route{
				Matches: []model.HTTPMatch{{URI: tt.match}}, Rewrite: tt.rewrite, Backends: []plan.WeightedBackend{{}},
			})
			req := newRequest("GET", "users", tt.path)
			r := table.Match(req, Caller{}, 80)
			if r == nil {
				t.Fatalf("Match(%s) = nil", tt.path)
			}
			r.ApplyRequest(req, r.Pick(0), nil)
			if got := string(req.Path); got != tt.want {
				t.Errorf("path = %q, want %q", got, tt.want)
			}
			if got := string(req.Fields.Get(originalPath)); got != tt.path {
				t.Errorf("%s = %q, want %q", originalPath, got, tt.path)
			}
		})
	}
}

func TestApplyHeaders(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, plan.Route{
		Headers: model.HeaderOps{
			Request: model.HeaderChange{
				Set:    []model.HeaderValue{{Name: "A", Value: "route"}, {Name: "b", Value: "route"}, {Name: "Content-Length", Value: "0"}},
				Add:    []model.HeaderValue{{Name: "c", Value: "route"}, {Name: "host", Value: "evil"}, {Name: ":path", Value: "/evil"}},
				Remove: []string{"b", "d", "transfer-encoding", ""},
			},
			Response: model.HeaderChange{Remove: []string{"server"}},
		},
		Backends: []plan.WeightedBackend{{
			Headers: model.HeaderOps{
				Request:  model.HeaderChange{Set: []model.HeaderValue{{Name: "a", Value: "backend"}}},
				Response: model.HeaderChange{Add: []model.HeaderValue{{Name: "via", Value: "backend"}}},
			},
			Rewrite: &model.Rewrite{Authority: "backend.example"},
		}},
	})
	req := newRequest("GET", "users", "/", "a: 1", "A: 2", "b: 1", "c: 1", "d: 1")
	r := table.Match(req, Caller{}, 80)
	r.ApplyRequest(req, r.Pick(0), nil)
	want := []string{"a: backend", "c: 1", "b: route", "c: route"}
	if diff := cmp.Diff(want, lines(&req.Fields)); diff != "" {
		t.Errorf("request headers (-want +got):\n%s", diff)
	}
	if got := string(req.Authority); got != "backend.example" {
		t.Errorf("authority = %q, want the backend's", got)
	}
	var resp httpx.Response
	resp.Fields.AddString("Server", "app")
	r.ApplyResponse(&resp, r.Pick(0), nil)
	if diff := cmp.Diff([]string{"via: backend"}, lines(&resp.Fields)); diff != "" {
		t.Errorf("response headers (-want +got):\n%s", diff)
	}
}

func TestApplyRequestRoutePrevails(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, plan.Route{
		Rewrite:  &model.Rewrite{Authority: "route"},
		Backends: []plan.WeightedBackend{{Rewrite: &model.Rewrite{Authority: "backend", Path: "/b", HasPath: true}}},
	})
	req := newRequest("GET", "users", "/a?x")
	r := table.Match(req, Caller{}, 80)
	r.ApplyRequest(req, r.Pick(0), nil)
	if got := string(req.Authority) + string(req.Path); got != "route/b?x" {
		t.Errorf("request goes to %q, want route/b?x", got)
	}
	alone := newRequest("GET", "users", "/a")
	r.ApplyRequest(alone, nil, nil)
	r.ApplyResponse(&httpx.Response{}, nil, nil)
	if got := string(alone.Authority) + string(alone.Path); got != "route/a" {
		t.Errorf("request goes to %q, want route/a", got)
	}
}

func TestLocalRedirect(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, authority, path string
		match                 *model.StringMatch
		redirect              model.Redirect
		want                  string
	}{
		{"the scheme changes, a standard port goes", "a:80", "/x?y", nil, model.Redirect{Scheme: "https"}, "https://a/x?y"},
		{"the scheme changes, another port stays", "a:8080", "/", nil, model.Redirect{Scheme: "https"}, "https://a:8080/"},
		{"the host changes, the port goes with it", "a:8080", "/x", nil, model.Redirect{Authority: "b"}, "http://b/x"},
		{"the path changes, the query stays", "a", "/x?y", nil, model.Redirect{Path: "/z", HasPath: true}, "http://a/z?y"},
		{"a new query replaces the old", "a", "/x?y", nil, model.Redirect{Path: "/z?q", HasPath: true}, "http://a/z?q"},
		{"a prefix changes", "a", "/x/u?y", prefix("/x"), model.Redirect{Path: "/z", HasPath: true, ReplacePrefix: true}, "http://a/z/u?y"},
		{"segments change", "a", "/x/u", segments("/x"), model.Redirect{Path: "/", HasPath: true, ReplacePrefix: true}, "http://a/u"},
		{"the port is written", "a:8080", "/", nil, model.Redirect{Port: 9000}, "http://a:9000/"},
		{"a written standard port is left out", "a:8080", "/", nil, model.Redirect{Port: 443, Scheme: "https"}, "https://a/"},
		{"the port follows the scheme", "a:8080", "/", nil, model.Redirect{PortMode: model.PortFromProtocolDefault}, "http://a/"},
		{"the port is the one called", "a", "/", nil, model.Redirect{PortMode: model.PortFromRequest}, "http://a:8080/"},
		{"the port is the one called, which is standard", "a:80", "/", nil, model.Redirect{PortMode: model.PortFromRequest}, "http://a/"},
		{"the port is always named", "a:80", "/", nil, model.Redirect{PortMode: model.PortFromRequestAlways}, "http://a:80/"},
		{"the port is always named, of another host", "a", "/", nil, model.Redirect{PortMode: model.PortFromRequestAlways, Authority: "b"}, "http://b:8080/"},
		{"IPv6 keeps its brackets", "[fd00::1]:8080", "/", nil, model.Redirect{Port: 9000}, "http://[fd00::1]:9000/"},
		{"IPv6 without port", "[fd00::1]", "/", nil, model.Redirect{Port: 9000}, "http://[fd00::1]:9000/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.redirect.Code = 302
			table := mustCompile(t, plan.Route{
				Matches: []model.HTTPMatch{{URI: tt.match}}, Redirect: &tt.redirect,
				Headers: model.HeaderOps{Response: model.HeaderChange{Set: []model.HeaderValue{{Name: "x", Value: "1"}}}},
			})
			req := newRequest("GET", tt.authority, tt.path)
			var resp httpx.Response
			called := uint16(8080)
			if strings.HasSuffix(tt.authority, ":80") {
				called = 80
			}
			r := table.Match(req, Caller{}, called)
			if !r.Local(req, &resp, called, nil) || r.LocalBody() != nil {
				t.Fatalf("Local = false or with body, want a redirect")
			}
			want := []string{"location: " + tt.want, "x: 1"}
			if diff := cmp.Diff(want, lines(&resp.Fields)); diff != "" || resp.Status != 302 {
				t.Errorf("status %d, headers (-want +got):\n%s", resp.Status, diff)
			}
		})
	}
}

func TestLocalRedirectFromHTTPS(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, plan.Route{Redirect: &model.Redirect{Scheme: "http", Code: 301}})
	req := newRequest("GET", "a:443", "/")
	req.Scheme = []byte("https")
	if got := string(table.Match(req, Caller{}, 443).AppendLocation(nil, req, 443)); got != "http://a/" {
		t.Errorf("location = %q, want http://a/", got)
	}
}

func TestLocalDirect(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, plan.Route{Direct: &model.DirectResponse{Status: 418, Body: []byte("teapot")}})
	req := newRequest("GET", "a", "/")
	var resp httpx.Response
	r := table.Match(req, Caller{}, 80)
	if !r.Local(req, &resp, 80, nil) {
		t.Fatal("Local = false, want true")
	}
	if resp.Status != 418 || resp.ContentLength != 6 || string(r.LocalBody()) != "teapot" {
		t.Errorf("answer = %d, %d bytes, %q", resp.Status, resp.ContentLength, r.LocalBody())
	}
	backend := mustCompile(t, plan.Route{Backends: []plan.WeightedBackend{{}}}).Match(req, Caller{}, 80)
	if backend.Local(req, &resp, 80, nil) || backend.LocalBody() != nil {
		t.Error("Local = true for a route with backends")
	}
}
