package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// askedBy tells which app answers a user.
func askedBy(t *testing.T, c *http.Client, user string) string {
	t.Helper()
	req, err := http.NewRequest("GET", usersURL+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.Header.Set("X-User", user)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d, %v", resp.StatusCode, err)
	}
	return string(body)
}

// Users keep their endpoint, whichever sidecar they call through; one whose endpoint is gone is served by another.
func TestConsistentHash(t *testing.T) {
	m := newMesh(t)
	var es []plan.Endpoint
	apps := map[string]bool{}
	for range 4 {
		e := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
		m.plainApp(e.Addr, says(e.Addr.String()))
		es = append(es, e)
		apps[e.Addr.String()] = false
	}
	hashed := func(h model.HashPolicy, es ...plan.Endpoint) []plan.Resource {
		return backendOf(service(model.HTTP, es...), func(b *plan.Backend) { b.LB, b.Hash = model.Maglev, h })
	}
	orders, carts := m.sidecar("orders"), m.sidecar("carts")
	a, b := m.client(orders), m.client(carts)
	t.Run("header", func(t *testing.T) {
		byHeader := model.HashPolicy{By: model.HashByHeader, Name: "x-user"}
		orders.apply(hashed(byHeader, es...)...)
		carts.apply(hashed(byHeader, es[3], es[1], es[0], es[2])...)
		owners := map[string]string{}
		for i := range 60 {
			user := fmt.Sprint("user-", i)
			owners[user] = askedBy(t, a, user)
			apps[owners[user]] = true
			if other := askedBy(t, b, user); other != owners[user] || askedBy(t, a, user) != other {
				t.Fatalf("%s came to %s and to %s", user, owners[user], other)
			}
		}
		for app, called := range apps {
			if !called {
				t.Errorf("no user came to %s", app)
			}
		}
		orders.apply(hashed(byHeader, es[1:]...)...)
		moved := 0
		for user, owner := range owners {
			if now := askedBy(t, a, user); now != owner && owner != es[0].Addr.String() {
				moved++
			}
		}
		if moved > 6 {
			t.Errorf("%d users of 60 moved although their endpoint is still there", moved)
		}
	})
	t.Run("cookie", func(t *testing.T) {
		orders.apply(hashed(model.HashPolicy{By: model.HashByCookie, Name: "user", Issue: true, Path: "/"}, es...)...)
		for range 10 {
			browser := *a
			browser.Jar, _ = cookiejar.New(nil)
			first := askedBy(t, &browser, "")
			for range 5 {
				if again := askedBy(t, &browser, ""); again != first {
					t.Fatalf("a browser came to %s and to %s", first, again)
				}
			}
		}
	})
}

// Of a thousand users of ten pods those keep theirs whose pod is still there, when one of them goes; its successor, which has
// another address, takes as many from all of them, for a table cannot know whose successor it is. A ring moves nobody else;
// Maglev's table moves a few more (the paper's section 5.3). How even the shares are, is package lb's to test.
func TestUsersOfARolledPod(t *testing.T) {
	const users = 1000
	m := newMesh(t)
	var es []plan.Endpoint
	for range 11 {
		e := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
		m.plainApp(e.Addr, says(e.Addr.String()))
		es = append(es, e)
	}
	orders := m.sidecar("orders")
	c := m.client(orders)
	ask := func(t *testing.T, user int, by model.HashBy) string {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, usersURL+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if value := fmt.Sprint("user-", user); by == model.HashByHeader {
			req.Header.Set("X-User", value)
		} else {
			req.AddCookie(&http.Cookie{Name: "x-user", Value: value})
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d, %v", resp.StatusCode, err)
		}
		return string(body)
	}
	for _, kind := range []model.LBKind{model.RingHash, model.Maglev} {
		for _, by := range []model.HashBy{model.HashByHeader, model.HashByCookie} {
			t.Run(fmt.Sprint(kind, "/", by), func(t *testing.T) {
				others := 0 // users that may move although neither their pod went nor the newcomer took them
				if kind == model.Maglev {
					others = users * 5 / 100
				}
				of := func(es []plan.Endpoint) []plan.Resource {
					return backendOf(service(model.HTTP, es...), func(b *plan.Backend) { b.LB, b.Hash = kind, model.HashPolicy{By: by, Name: "x-user"} })
				}
				asked := func(es []plan.Endpoint) (pods [users]string) {
					orders.apply(of(es)...)
					for user := range users {
						pods[user] = ask(t, user, by)
					}
					return pods
				}
				gone, successor := es[0].Addr.String(), es[10].Addr.String()
				ten, nine, again := asked(es[:10]), asked(es[1:10]), asked(es[1:])
				lost, moved, taken, drifted := 0, 0, 0, 0
				for user := range users {
					switch {
					case ten[user] == gone:
						lost++
					case nine[user] != ten[user]:
						moved++
					}
					switch {
					case again[user] == successor:
						taken++
					case again[user] != nine[user]:
						drifted++
					}
				}
				t.Logf("of %d users %d lose their pod and %d others move; its successor takes %d, and %d others move", users, lost, moved, taken, drifted)
				if lost == 0 || moved > others {
					t.Errorf("of a pod that goes: %d users lose it and %d others move, want at most %d", lost, moved, others)
				}
				if taken == 0 || taken > users/5 || drifted > others {
					t.Errorf("of a pod that comes: it takes %d of %d users and %d others move, want at most %d", taken, users, drifted, others)
				}
			})
		}
	}
}
