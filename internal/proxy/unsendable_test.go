package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/route"
)

// What a rule makes of a message may be no message. Its client is told so, whichever version of HTTP either side speaks.
func TestRuleThatMakesWhatCannotBeSent(t *testing.T) {
	const origin = "VirtualService myapp/users http[0]"
	rules := []struct {
		name string
		rule plan.Route
		why  string
	}{
		{"path_with_fragment", plan.Route{Rewrite: &model.Rewrite{HasPath: true, Path: "/x#y"}}, "fragment"},
		{"path_with_blank", plan.Route{Rewrite: &model.Rewrite{HasPath: true, Path: "/x y"}}, "blank"},
		{"path_of_a_pattern", plan.Route{Rewrite: &model.Rewrite{Regex: "^/(.*)", Substitution: `\1`}}, "does not begin with /"},
		{"authority", plan.Route{Rewrite: &model.Rewrite{Authority: "a/b"}}, "authority"},
		{"request_header", plan.Route{Headers: model.HeaderOps{Request: model.HeaderChange{Set: []model.HeaderValue{{Name: "x-a", Value: "a\x1bb"}}}}}, "x-a"},
		{"response_header", plan.Route{Headers: model.HeaderOps{Response: model.HeaderChange{Set: []model.HeaderValue{{Name: "x-a", Value: "a\r\nb: c"}}}}}, "x-a"},
		{"header_of_a_backend", plan.Route{Backends: []plan.WeightedBackend{{
			Weight: 1, Headers: model.HeaderOps{Request: model.HeaderChange{Add: []model.HeaderValue{{Name: "x a", Value: "b"}}}},
		}}}, "x a"},
		{"direct_response", plan.Route{
			Direct:  &model.DirectResponse{Status: 200},
			Headers: model.HeaderOps{Response: model.HeaderChange{Set: []model.HeaderValue{{Name: "x-a", Value: "a\x01"}}}},
		}, "x-a"},
		{"redirect", plan.Route{Redirect: &model.Redirect{Code: 301, HasPath: true, Path: "/a\r\nX: y"}}, "control character"},
	}
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		both := new(http.Protocols)
		both.SetHTTP1(true)
		both.SetUnencryptedHTTP2(true)
		l, err := net.Listen("tcp", app(users).String())
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Protocols: both, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })}
		done := make(chan error)
		go func() { done <- srv.Serve(l) }()
		t.Cleanup(func() { srv.Close(); <-done })
		for _, tt := range rules {
			rule := tt.rule
			rule.Origin = origin
			if rule.Backends == nil && rule.Direct == nil && rule.Redirect == nil {
				rule.Backends = []plan.WeightedBackend{{Weight: 1}}
			}
			orders.apply(with(service(model.HTTP, e), func(d *plan.Destination) { d.Routes = []plan.Route{rule} })...)
			addr := m.entrance(orders, usersAddr())
			for version, c := range map[string]*http.Client{"http1": m.dialled(addr), "http2": m.h2cClient(addr)} {
				for _, body := range []string{"", strings.Repeat("x", 2*scratch)} {
					resp, got := fetch(t, c, "POST", "/a", body)
					if resp.StatusCode != 500 || !strings.Contains(got, tt.why) || !strings.Contains(got, "a rule makes a message that cannot be sent") {
						t.Errorf("%s, %s: %d %q, want 500 that names %q", tt.name, version, resp.StatusCode, got, tt.why)
					}
				}
			}
		}
	})
}

// FuzzRules: what a rule without a Fault makes of a request can be sent, in both versions.
func FuzzRules(f *testing.F) {
	f.Add("a.b:80", "/x", "X-A", " b\t", "/a?b")
	f.Add("a/b", "/x#y", "x a", "b\r\n", "/")
	f.Add("[::1]", "x\xff", "x", "\x7f", "/a")
	f.Add("", "*", "content-length", "7", "/a")
	f.Fuzz(func(t *testing.T, authority, path, name, value, target string) {
		if !httpx.IsTarget([]byte(target)) || target[0] != '/' {
			return
		}
		routes := []plan.Route{{
			Rewrite: &model.Rewrite{Authority: authority, HasPath: true, Path: path, ReplacePrefix: len(value)%2 == 0},
			Headers: model.HeaderOps{Request: model.HeaderChange{Set: []model.HeaderValue{{Name: name, Value: value}}}},
		}}
		table, err := route.Compile(routes)
		if err != nil {
			t.Fatal(err)
		}
		var req httpx.Request
		req.Method, req.Authority, req.Path = []byte("GET"), []byte("users"), []byte(target)
		route := table.Match(&req, route.Caller{}, 80)
		if route.Fault() != "" {
			return
		}
		route.ApplyRequest(&req, nil, nil)
		conn, far := net.Pipe()
		defer conn.Close()
		defer far.Close()
		x, err := h1.NewClient(conn, h1.Options{}).Exchange()
		if err != nil {
			t.Fatal(err)
		}
		var refused *h1.Error
		if err := x.Send(&req); errors.As(err, &refused) && !bytes.HasPrefix(req.Path, []byte("*")) {
			t.Fatalf("a rule without a fault makes %q %q %q of a request: %v", req.Authority, req.Path, value, err)
		}
	})
}
