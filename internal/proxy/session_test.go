package proxy

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

const sealName = "seal/users-service.myapp.svc.cluster.local"

// sealed is a seal of keys that are made up of bytes.
func sealed(keys ...byte) *plan.Seal {
	s := &plan.Seal{Name: sealName}
	for _, b := range keys {
		s.Keys = append(s.Keys, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)))
	}
	return s
}

// keeping is a service whose only route keeps sessions.
func keeping(s plan.Session, es ...plan.Endpoint) []plan.Resource {
	return with(service(model.HTTP, es...), func(d *plan.Destination) {
		d.Seal, d.Routes[0].Session = sealName, &s
		d.Routes[0].Retry = model.Retry{Attempts: 2, On: []string{"connect-failure"}}
	})
}

// visit is one call of a client with a token, "" for none. It gives who answered and the token that it was given, if any.
func visit(t *testing.T, c *http.Client, s *plan.Session, token string) (app, given, set string) {
	t.Helper()
	req, err := http.NewRequest("GET", usersURL+"/carts/1", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case token == "":
	case s.By == model.SessionByHeader:
		req.Header.Set(s.Name, token)
	default:
		req.AddCookie(&http.Cookie{Name: s.Name, Value: token})
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s, %v", resp.StatusCode, body, err)
	}
	if s.By == model.SessionByHeader {
		return string(body), resp.Header.Get(s.Name), ""
	}
	for _, cookie := range resp.Cookies() {
		if cookie.Name == s.Name {
			return string(body), cookie.Value, cookie.Raw
		}
	}
	return string(body), "", ""
}

func TestSessions(t *testing.T) {
	for _, s := range []plan.Session{
		{By: model.SessionByCookie, Name: "cart", Paths: []string{"/", "/carts"}, Scope: "HTTPRoute shop/carts first"},
		{By: model.SessionByHeader, Name: "x-cart", Scope: "HTTPRoute shop/carts first"},
	} {
		t.Run(s.By.String(), func(t *testing.T) {
			m := newMesh(t)
			orders, carts := m.sidecar("orders"), m.sidecar("carts")
			var es []plan.Endpoint
			for i := range 4 {
				e := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
				e.Workload = plan.WorkloadInfo{Namespace: "myapp", Pod: fmt.Sprint("users-", i)}
				m.plainApp(e.Addr, says(e.Addr.String()))
				es = append(es, e)
			}
			a, b := m.client(orders), m.client(carts)
			for _, side := range []*sidecar{orders, carts} {
				side.apply(append(keeping(s, es...), sealed(1))...)
			}
			// keeps wants a client to stay where its token leads, and to be given no other.
			keeps := func(t *testing.T, c *http.Client, token, app string) {
				t.Helper()
				for range 12 {
					if got, given, _ := visit(t, c, &s, token); got != app || given != "" {
						t.Fatalf("a client of %s came to %s and was given %q", app, got, given)
					}
				}
			}
			// moves wants a client to be given a token anew, by which it stays.
			moves := func(t *testing.T, c *http.Client, token, from string) (app, given string) {
				t.Helper()
				app, given, set := visit(t, c, &s, token)
				if app == from || given == "" || given == token {
					t.Fatalf("a client of %s came to %s and was given %q", from, app, given)
				}
				if s.By == model.SessionByCookie && !strings.HasSuffix(set, "; Path=/carts; HttpOnly; SameSite=Strict") {
					t.Errorf("Set-Cookie: %s", set)
				}
				keeps(t, c, given, app)
				return app, given
			}
			app, token := moves(t, a, "", "")
			keeps(t, b, token, app) // whichever sidecar the client calls through
			at := 0
			for i := range es {
				if es[i].Addr.String() == app {
					at = i
				}
			}
			t.Run("a_forged_token_is_none", func(t *testing.T) {
				forged := []byte(token)
				for i := range forged[:8] { // of the address and what is about it
					forged[60+i] = 'A' + (forged[60+i]+1)%26
				}
				moves(t, a, string(forged), "")
				moves(t, a, "MTAuMC4wLjE6ODA4MA==", "") // as Envoy writes an address
			})
			t.Run("a_token_of_another_route_is_none", func(t *testing.T) {
				foreign := s
				foreign.Scope += "x"
				orders.apply(append(keeping(foreign, es...), sealed(1))...)
				if _, given, _ := visit(t, a, &s, token); given == "" {
					t.Error("taken")
				}
				orders.apply(keeping(s, es...)...)
			})
			t.Run("keys_change", func(t *testing.T) {
				orders.apply(sealed(2, 1))
				got, renewed, _ := visit(t, a, &s, token)
				if got != app || renewed == "" || renewed == token {
					t.Fatalf("with a new key a client of %s came to %s and was given %q", app, got, renewed)
				}
				keeps(t, a, renewed, app)
				orders.apply(sealed(3, 2))
				if _, given, _ := visit(t, a, &s, token); given == "" {
					t.Error("a token of a key that is no more was taken")
				}
				orders.apply(sealed(1))
			})
			t.Run("draining_keeps_its_own", func(t *testing.T) {
				going := append([]plan.Endpoint(nil), es...)
				going[at].Health = plan.Draining
				orders.apply(keeping(s, going...)...)
				keeps(t, a, token, app)
				for range 12 {
					if got, _, _ := visit(t, a, &s, ""); got == app {
						t.Fatal("a new client came to an endpoint that drains")
					}
				}
			})
			t.Run("gone", func(t *testing.T) {
				rest := append(append([]plan.Endpoint(nil), es[:at]...), es[at+1:]...)
				orders.apply(keeping(s, rest...)...)
				moves(t, a, token, app)
			})
			t.Run("another_pod_at_the_address", func(t *testing.T) {
				next := append([]plan.Endpoint(nil), es...)
				next[at].Workload.Pod = "users-9"
				orders.apply(keeping(s, next...)...)
				if _, given, _ := visit(t, a, &s, token); given == "" {
					t.Error("the successor got the session of its predecessor")
				}
			})
			t.Run("without_keys_nothing_is_kept", func(t *testing.T) {
				other := m.sidecar("other")
				other.apply(keeping(s, es...)...)
				if _, given, _ := visit(t, m.client(other), &s, ""); given != "" {
					t.Errorf("given %q", given)
				}
			})
		})
	}
}

// A session ends with its time, and a permanent cookie tells the client when.
func TestSessionTimeout(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	e := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
	m.plainApp(e.Addr, says("ok"))
	c := m.client(orders)
	s := plan.Session{By: model.SessionByCookie, Name: "cart", Timeout: time.Hour, Permanent: true, Paths: []string{"/"}, Scope: "x"}
	orders.apply(append(keeping(s, e), sealed(1))...)
	_, token, set := visit(t, c, &s, "")
	if !strings.Contains(set, "; Max-Age=3600; Path=/; ") {
		t.Errorf("Set-Cookie: %s", set)
	}
	if _, given, _ := visit(t, c, &s, token); given != "" {
		t.Error("given another within its time")
	}
	short := s
	short.Timeout = time.Nanosecond
	orders.apply(keeping(short, e)...)
	if _, given, _ := visit(t, c, &s, token); given == "" {
		t.Error("its time is over, and it was taken")
	}
}

// A session is kept across the backends of a route, whatever they weigh (GEP-1619, "Traffic Splitting").
func TestSessionOfASplit(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	before, after := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080)), plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
	m.plainApp(before.Addr, says("old"))
	m.plainApp(after.Addr, says("new"))
	c := m.client(orders)
	s := plan.Session{By: model.SessionByHeader, Name: "x-cart", Scope: "x"}
	split := func(oldWeight, newWeight uint32) []plan.Resource {
		rs := keeping(s, before)
		second := &plan.EndpointShard{Name: "eps/new.myapp.svc.cluster.local:8080/s1", Endpoints: []plan.Endpoint{after}}
		with(rs, func(d *plan.Destination) {
			b := d.Backends[0]
			b.Name, b.Shards = "outbound|8080||new.myapp.svc.cluster.local", []string{second.Name}
			d.Backends = append(d.Backends, b)
			d.Routes[0].Backends = []plan.WeightedBackend{{Backend: 0, Weight: oldWeight}, {Backend: 1, Weight: newWeight}}
		})
		return append(rs, second, sealed(1))
	}
	orders.apply(split(1, 0)...)
	_, token, _ := visit(t, c, &s, "")
	orders.apply(split(0, 1)...)
	for range 10 {
		if app, given, _ := visit(t, c, &s, token); app != "old" || given != "" {
			t.Fatalf("a client of the old came to %s and was given %q", app, given)
		}
		if app, _, _ := visit(t, c, &s, ""); app != "new" {
			t.Fatalf("a new client came to %s", app)
		}
	}
}
