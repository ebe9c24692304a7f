package lab_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/internal/lab/demoapp"
)

const sessionIP = "10.96.0.96"

// sessionManifests: a client, and carts whose users are kept by a cookie or, below /header, by a header.
func sessionManifests(replicas int) string {
	return app{name: "client", replicas: 1}.String() + app{name: "second", replicas: 1}.String() + app{name: "carts", replicas: replicas}.String() +
		service("carts", sessionIP, "app: carts", http80, "") + object("gateway.networking.k8s.io/v1", "HTTPRoute", "carts", `
  parentRefs: [{group: "", kind: Service, name: carts, port: 80}]
  rules:
  - name: header
    matches: [{path: {value: /header}}]
    backendRefs: [{name: carts, port: 80}]
    sessionPersistence: {type: Header, sessionName: X-Cart}
  - name: cookie
    backendRefs: [{name: carts, port: 80}]
    sessionPersistence: {sessionName: cart}`)
}

// users are clients with a session each.
type users struct {
	path, kind string
	tokens     []string // a header line
	pods       []string
}

// visit is one call of each user, out of a pod; a user that is given a token takes it. It gives how many came to which pod,
// and how many of those whose pod was among alive moved.
func (u *users) visit(t *testing.T, m *mesh, from string, alive map[string]bool) (moved, renewed int) {
	t.Helper()
	moved, renewed, err := u.tryVisit(t, m, from, alive)
	if err != nil {
		t.Fatal(err)
	}
	return moved, renewed
}

// tryVisit is visit where a call may fail.
func (u *users) tryVisit(t *testing.T, m *mesh, from string, alive map[string]bool) (moved, renewed int, err error) {
	t.Helper()
	c := m.client(t, from, sessionIP+":80")
	for i := range u.tokens {
		var header []string
		if u.tokens[i] != "" {
			header = []string{u.tokens[i]}
		}
		a, err := request(t.Context(), c, http.MethodGet, "http://carts"+u.path, header...)
		if err != nil {
			return 0, 0, fmt.Errorf("user %d: %w", i, err)
		}
		if a.StatusCode != http.StatusOK {
			return 0, 0, fmt.Errorf("user %d: %d %s", i, a.StatusCode, a.body)
		}
		pod := a.Header.Get("X-Demo-Pod")
		if alive[u.pods[i]] && pod != u.pods[i] {
			moved++
		}
		given := "Cookie: " + strings.Split(a.Header.Get("Set-Cookie"), ";")[0]
		if u.kind == "header" {
			given = "X-Cart: " + a.Header.Get("X-Cart")
		}
		if !strings.HasSuffix(given, ": ") {
			u.tokens[i] = given
			renewed++
		}
		u.pods[i] = pod
	}
	return moved, renewed, nil
}

// podsOf is which pods of a Deployment there are.
func podsOf(st *lab.Status, deployment string) map[string]bool {
	out := map[string]bool{}
	for _, name := range podNames(st, deployment) {
		out[name] = true
	}
	return out
}

// TestSessionPersistence: users stay with their pod for as long as it lives, whatever becomes of the others.
func TestSessionPersistence(t *testing.T) {
	t.Parallel()
	const n = 1000
	m := startMesh(t, sessionManifests(10))
	all := map[string]*users{"cookie": {path: "/", kind: "cookie"}, "header": {path: "/header", kind: "header"}}
	for _, u := range all {
		u.tokens, u.pods = make([]string, n), make([]string, n)
	}
	each := func(what, from string, alive map[string]bool, moved, renewed int) {
		t.Helper()
		for kind, u := range all {
			if got, given := u.visit(t, m, from, alive); got != moved || given != renewed {
				t.Errorf("%s, by %s: %d of %d users whose pod lives moved, %d were given a token; want %d and %d", what, kind, got, n, given, moved, renewed)
			}
		}
	}
	alive := podsOf(m.settle(t), "carts-v1")
	each("at first", client, alive, 0, n)
	each("again", client, alive, 0, 0)
	each("through another sidecar", "deploy/second-v1", alive, 0, 0)

	m.write(t, "all.yaml", sessionManifests(12))
	alive = podsOf(m.settle(t), "carts-v1")
	eventually(t, "the new pods to be called", func() bool {
		return len(m.call(t, client, "http://carts/", "--count", "100").Pods) == 12
	})
	each("with two pods more", client, alive, 0, 0)

	gone, err := m.Kill(t.Context(), pod("deploy/carts-v1"))
	if err != nil {
		t.Fatal(err)
	}
	st := m.await(t, "another pod", func(st *lab.Status) bool { return st.Settled && st.Find(pod(gone)) == nil })
	alive = podsOf(st, "carts-v1")
	eventually(t, "the pod to be called no more", func() bool {
		r := m.call(t, client, "http://carts/", "--count", "100")
		return len(r.Pods) == 12 && r.Pods[gone] == 0
	})
	for kind, u := range all {
		lost := 0
		for _, p := range u.pods {
			if p == gone {
				lost++
			}
		}
		moved, renewed := u.visit(t, m, client, alive)
		t.Logf("by %s: %d of %d users lost their pod, %d of the others moved", kind, lost, n, moved)
		if moved != 0 || renewed != lost || lost == 0 {
			t.Errorf("by %s: %d were given a token, want the %d that lost their pod", kind, renewed, lost)
		}
	}
	each("after that", client, alive, 0, 0)

	m.controller(t, "kill") // keys are the same, whoever hands them out
	m.controller(t, "start")
	m.killSidecar(t, client)
	eventually(t, "the new sidecar to have keys", func() bool {
		some := users{path: "/", kind: "cookie", tokens: slices.Clone(all["cookie"].tokens[:20]), pods: slices.Clone(all["cookie"].pods[:20])}
		moved, _, err := some.tryVisit(t, m, client, alive) // refused as long as there is no sidecar
		return err == nil && moved == 0
	})
	each("after the control plane and the sidecar have died", client, alive, 0, 0)
}

// TestGRPCSessionPersistence: users of gRPC stay with their pod too, by what a rule of a GRPCRoute has travel in metadata.
func TestGRPCSessionPersistence(t *testing.T) {
	t.Parallel()
	manifests := func(replicas int) string {
		return app{name: "client", replicas: 1}.String() + app{name: "second", replicas: 1}.String() + app{name: "carts", replicas: replicas}.String() +
			service("carts", sessionIP, "app: carts", "{name: grpc, port: 80, targetPort: web}") + object("gateway.networking.k8s.io/v1", "GRPCRoute", "carts", `
  parentRefs: [{group: "", kind: Service, name: carts, port: 80}]
  rules:
  - name: header
    matches: [{headers: [{name: x-by, value: header}]}]
    backendRefs: [{name: carts, port: 80}]
    sessionPersistence: {type: Header, sessionName: X-Cart}
  - name: cookie
    backendRefs: [{name: carts, port: 80}]
    sessionPersistence: {sessionName: cart}`)
	}
	m := startMesh(t, manifests(3))
	const n = 30
	// visit makes a call of each user; one that is given a token takes it.
	visit := func(from, by string, tokens []string) (pods []string, given int) {
		c := m.client(t, from, sessionIP+":80")
		tr := c.Transport.(*http.Transport)
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetUnencryptedHTTP2(true)
		for i := range tokens {
			header := []string{"Content-Type: application/grpc", "Te: trailers", "X-By: " + by}
			if tokens[i] != "" {
				header = append(header, tokens[i])
			}
			a, err := request(t.Context(), c, http.MethodPost, "http://carts"+demoapp.StreamMethod+"?count=1", header...)
			if err != nil || a.Trailer.Get("Grpc-Status") != "0" || a.ProtoMajor != 2 {
				t.Fatalf("user %d by %s: %v, %s, status %q", i, by, err, a.Proto, a.Trailer.Get("Grpc-Status"))
			}
			token := "X-Cart: " + a.Header.Get("X-Cart")
			if by == "cookie" {
				token = "Cookie: " + strings.Split(a.Header.Get("Set-Cookie"), ";")[0]
			}
			if !strings.HasSuffix(token, ": ") {
				tokens[i] = token
				given++
			}
			pods = append(pods, a.Header.Get("X-Demo-Pod"))
		}
		return pods, given
	}
	all := map[string][]string{"header": make([]string, n), "cookie": make([]string, n)}
	first := map[string][]string{}
	for by, tokens := range all {
		var given int
		if first[by], given = visit(client, by, tokens); given != n {
			t.Errorf("by %s: %d of %d users were given a token", by, given, n)
		}
	}
	stay := func(when, from string) {
		t.Helper()
		for by, tokens := range all {
			if pods, given := visit(from, by, tokens); !slices.Equal(pods, first[by]) || given != 0 {
				t.Errorf("%s, by %s: pods %v, first %v; %d new tokens", when, by, pods, first[by], given)
			}
		}
	}
	stay("again", client)
	stay("through another sidecar", "deploy/second-v1")
	m.write(t, "all.yaml", manifests(5))
	m.settle(t)
	eventually(t, "the new pods to be called", func() bool {
		pods, _ := visit(client, "cookie", make([]string, 60))
		slices.Sort(pods)
		return len(slices.Compact(pods)) == 5
	})
	stay("with two pods more", client)
}
