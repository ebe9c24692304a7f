package lab_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
)

const hashedIP = "10.96.0.94"

// stickyManifests: two clients and a server whose users are told apart by a header, or by a cookie.
func stickyManifests(replicas int, key string) string {
	return app{name: "client", replicas: 1}.String() + app{name: "second", replicas: 1}.String() +
		app{name: "server", replicas: replicas}.String() + service("hashed", hashedIP, "app: server", http80, "") + `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hashed, namespace: shop}
spec:
  host: hashed
  trafficPolicy: {loadBalancer: {consistentHash: {` + key + `}}}
---`
}

func TestStickyUsers(t *testing.T) {
	t.Parallel()
	m := startMesh(t, stickyManifests(3, "httpHeaderName: x-user"))
	podOf := func(from, user string, header ...string) string {
		a := m.do(t, from, http.MethodGet, hashedIP+":80", "/", append(header, "x-user: "+user)...)
		if a.StatusCode != http.StatusOK {
			t.Fatalf("%s of %s: %d %s", user, from, a.StatusCode, a.body)
		}
		return a.Header.Get("X-Demo-Pod")
	}
	const users = 100
	owners := map[string]string{}
	t.Run("a_user_has_one_pod_whoever_calls", func(t *testing.T) {
		pods := map[string]bool{}
		for i := range users {
			user := fmt.Sprint("user-", i)
			owners[user] = podOf(client, user)
			pods[owners[user]] = true
			if other := podOf("deploy/second-v1", user); other != owners[user] {
				t.Fatalf("%s came to %q and, from another client, to %q", user, owners[user], other)
			}
		}
		if len(pods) != 3 {
			t.Errorf("%d users came to %d pods of 3", users, len(pods))
		}
	})
	t.Run("most_stay_when_a_pod_comes", func(t *testing.T) {
		m.write(t, "all.yaml", stickyManifests(4, "httpHeaderName: x-user"))
		m.settle(t)
		eventually(t, "the new pod to be called", func() bool {
			pods := map[string]bool{}
			for user := range owners {
				pods[podOf(client, user)] = true
			}
			return len(pods) == 4
		})
		stayed := 0
		for user, owner := range owners {
			if podOf(client, user) == owner {
				stayed++
			}
		}
		if stayed < users*65/100 { // 75 of 100, with a standard deviation of 4
			t.Errorf("%d of %d stayed", stayed, users)
		}
	})
	t.Run("a_browser_gets_a_cookie", func(t *testing.T) {
		m.write(t, "all.yaml", stickyManifests(4, "httpCookie: {name: shop, ttl: 1h, path: /}, maglev: {tableSize: 1031}"))
		var set string
		eventually(t, "a cookie to be issued", func() bool {
			a := m.do(t, client, http.MethodGet, hashedIP+":80", "/")
			set = a.Header.Get("Set-Cookie")
			return set != ""
		})
		pair, rest, _ := strings.Cut(set, "; ")
		if rest != "Max-Age=3600; Path=/; HttpOnly" {
			t.Errorf("Set-Cookie: %s", set)
		}
		first := podOf(client, "any", "Cookie: "+pair)
		for i := range 20 {
			if again := podOf(client, fmt.Sprint("any-", i), "Cookie: "+pair); again != first {
				t.Fatalf("with %s to %q and to %q", pair, first, again)
			}
		}
	})
	t.Run("the_sidecar_tells", func(t *testing.T) {
		for _, c := range m.dump(t, client).Clusters {
			if strings.HasPrefix(c.FQDN, "hashed.") && c.LoadBalancer != "MAGLEV" {
				t.Errorf("cluster %s: load balancer %s", c.Name, c.LoadBalancer)
			}
		}
	})
}

// One user with many calls at a time fills one pod, unless loads are bounded; a user with one call at a time stays.
func TestHotUserIsSpread(t *testing.T) {
	t.Parallel()
	manifests := func(annotations string) string {
		return app{name: "client", replicas: 1}.String() + app{name: "server", replicas: 3, args: "--latency, 100ms"}.String() +
			service("hashed", hashedIP, "app: server", http80) + `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: hashed, namespace: shop, annotations: {` + annotations + `}}
spec:
  host: hashed
  trafficPolicy: {loadBalancer: {consistentHash: {httpQueryParameterName: user}}}
---`
	}
	m := startMesh(t, manifests(""))
	hot := func() map[string]int {
		r := m.call(t, client, "http://hashed/?user=1", "--count", "120", "--concurrency", "12")
		if r.OK != 120 {
			t.Fatalf("not all calls succeeded: %+v", r)
		}
		return r.Pods
	}
	if pods := hot(); len(pods) != 1 {
		t.Errorf("without a bound: %v", pods)
	}
	m.write(t, "all.yaml", manifests(`fairlead.dev/hash-balance-factor: "100"`))
	m.settle(t)
	eventually(t, "the bound to be in force", func() bool {
		for _, c := range m.dump(t, client).Clusters {
			if strings.HasPrefix(c.FQDN, "hashed.") && c.HashBalance == 100 {
				return true
			}
		}
		return false
	})
	pods := hot()
	for pod, n := range pods {
		if n > 120*5/12+30 { // ceil(12 / 3) + 1 of 12 at a time, and more where another pod stands still for some rounds of the ten
			t.Errorf("%s answered %d of 120 calls", pod, n)
		}
	}
	if len(pods) != 3 {
		t.Errorf("with a bound of 100 %%: %v", pods)
	}
	if r := m.call(t, client, "http://hashed/?user=1", "--count", "20"); len(r.Pods) != 1 {
		t.Errorf("one call at a time: %v", r.Pods)
	}
}

// Users of a StatefulSet keep their pod when it is replaced: its successor has its name.
func TestUsersOfAStatefulSetStay(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+object("apps/v1", "StatefulSet", "db", `
  serviceName: db
  replicas: 3
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - name: app
        image: fairlead.dev/demo-app
        args: [--name, db]
        ports: [{name: web, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 1}`)+
		service("hashed", hashedIP, "app: db", http80)+
		object("networking.istio.io/v1", "DestinationRule", "hashed", "  host: hashed\n  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}"))
	const users = 60
	podOf := func(i int) string {
		return m.do(t, client, http.MethodGet, hashedIP+":80", "/", fmt.Sprint("x-user: user-", i)).Header.Get("X-Demo-Pod")
	}
	before := make([]string, users)
	for i := range before {
		before[i] = podOf(i)
	}
	was := m.find(t, "db-1").IPs[0]
	if _, err := m.Kill(t.Context(), pod("db-1")); err != nil {
		t.Fatal(err)
	}
	m.await(t, "the pod's successor", func(st *lab.Status) bool {
		p := st.Find(pod("db-1"))
		return st.Settled && p != nil && p.Ready && p.IPs[0] != was
	})
	eventually(t, "the successor to be called", func() bool {
		for i, want := range before {
			if want == "db-1" {
				return podOf(i) == want
			}
		}
		return true
	})
	for i, want := range before {
		if got := podOf(i); got != want {
			t.Errorf("user %d came to %s, and then to %s", i, want, got)
		}
	}
}
