package incluster

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func namespacePath(name string) string { return "/api/v1/namespaces/" + name }

func configMapPath(namespace string) string {
	return namespacePath(namespace) + "/configmaps/" + RootCertConfigMap
}

func namespace(name string) object {
	return object{"metadata": object{"name": name}, "status": object{"phase": "Active"}}
}

func configMap(data object) object {
	return object{"data": data}
}

// rootIn gives the roots that a namespace has got, "" without a ConfigMap.
func rootIn(a *api, namespace string) string {
	o := a.get(configMapPath(namespace))
	if o == nil {
		return ""
	}
	data, _ := o["data"].(object)
	root, _ := data[RootCertKey].(string)
	return root
}

func runRootCerts(tb testing.TB, a *api, l *logs, roots string) *RootCerts {
	tb.Helper()
	r, err := NewRootCerts(RootCertsOptions{Client: a.client(), Roots: []byte(roots), Logger: l.logger()})
	if err != nil {
		tb.Fatal(err)
	}
	background(tb, r.Run)
	return r
}

func TestRootCerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		for _, ns := range []string{"kube-system", "kube-public", "kube-node-lease", "old", "right"} {
			a.put(namespacePath(ns), namespace(ns))
		}
		gone := namespace("going")
		gone["metadata"].(object)["deletionTimestamp"] = "2026-01-02T03:04:05Z"
		a.put(namespacePath("going"), gone)
		a.put(configMapPath("old"), configMap(object{RootCertKey: "former", "theirs": "stays"}))
		a.put(configMapPath("right"), configMap(object{RootCertKey: "one"}))
		a.put(namespacePath("old")+"/configmaps/other", configMap(object{RootCertKey: "not ours"}))
		r := runRootCerts(t, a, l, "one")
		check := func(want map[string]string) {
			t.Helper()
			for ns, root := range want {
				if got := rootIn(a, ns); got != root {
					t.Errorf("%s has %q, want %q", ns, got, root)
				}
			}
		}

		time.Sleep(time.Second)
		check(map[string]string{"kube-system": "one", "old": "one", "right": "one", "kube-public": "", "kube-node-lease": "", "going": ""})
		if n := a.count("patch", configMapPath("right")); n != 0 {
			t.Errorf("%d writes to the ConfigMap that was right", n)
		}
		if got := a.get(configMapPath("old"))["data"].(object)["theirs"]; got != "stays" {
			t.Errorf("what others have added is %v", got)
		}

		a.put(namespacePath("new"), namespace("new"))
		time.Sleep(time.Second)
		check(map[string]string{"new": "one"})

		a.delete(configMapPath("new"))
		a.put(configMapPath("old"), configMap(object{RootCertKey: "forged"}))
		time.Sleep(2 * time.Second)
		check(map[string]string{"new": "one", "old": "one"})

		r.SetRoots([]byte("two"))
		time.Sleep(time.Second)
		check(map[string]string{"kube-system": "two", "old": "two", "right": "two", "new": "two"})

		deleted := namespace("new")
		deleted["metadata"].(object)["deletionTimestamp"] = "2026-01-02T03:04:05Z"
		a.put(namespacePath("new"), deleted)
		a.delete(configMapPath("new"))
		time.Sleep(time.Minute)
		check(map[string]string{"new": ""})
		a.delete(namespacePath("new"))
		time.Sleep(short)
		r.repairs.mu.Lock()
		_, remembered := r.repairs.objects["new"]
		r.repairs.mu.Unlock()
		if remembered {
			t.Error("the namespace that is gone is still remembered")
		}
		if lines := l.lines(); len(lines) != 0 {
			t.Errorf("logged %q", lines)
		}
	})
}

func TestRootCertsInManyNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		for i := range 300 {
			a.put(namespacePath(fmt.Sprint("ns", i)), namespace(fmt.Sprint("ns", i)))
		}
		a.refuse(forbid("patch", "/configmaps/"+RootCertConfigMap))
		runRootCerts(t, a, l, "one")
		time.Sleep(time.Minute)
		if lines := l.with("cannot write to the API server", "resources: [configmaps], resourceNames: [fairlead-ca-root-cert], verbs: [patch]"); len(lines) != 1 || len(l.lines()) != 1 {
			t.Errorf("want one line for all namespaces, got %d: %q", len(l.lines()), l.lines()[0])
		}
		a.refuse(nil)
		time.Sleep(lastRepair + 10*time.Second)
		for i := range 300 {
			if ns := fmt.Sprint("ns", i); rootIn(a, ns) != "one" {
				t.Errorf("%s has no ConfigMap", ns)
			}
		}
	})
}

func TestRootCertsDoNotFight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		a.put(namespacePath("a"), namespace("a"))
		runRootCerts(t, a, l, "one")
		background(t, func(ctx context.Context) { // another writer that wants it otherwise
			for sleep(ctx, 500*time.Millisecond) {
				a.put(configMapPath("a"), configMap(object{RootCertKey: "theirs"}))
			}
		})
		time.Sleep(10 * time.Minute)
		if n := a.count("patch", configMapPath("a")); n < 10 || n > 20 {
			t.Errorf("%d writes in 10 minutes, want about one per minute", n)
		}
	})
}

func TestRootCertsAfterTheAPIServerWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		a.put(namespacePath("a"), namespace("a"))
		a.refuse(away)
		runRootCerts(t, a, l, "one")
		time.Sleep(5 * time.Minute)
		if lines := l.with("cannot follow objects", "API server not reached: connection refused"); len(lines) != 2 || len(l.lines()) != 2 {
			t.Errorf("want one line for each kind, got %q", l.lines())
		}
		a.refuse(nil)
		time.Sleep(maxPause + time.Second)
		if got := rootIn(a, "a"); got != "one" {
			t.Errorf("a has %q", got)
		}
	})
}

func TestFollowListsAnewWhenItsVersionIsTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, l := newAPI(t), &logs{}
		a.put(namespacePath("a"), namespace("a"))
		a.refuse(func(verb, path string) *status {
			if verb == "watch" && strings.HasSuffix(path, "/namespaces") {
				return &status{http.StatusGone, "Expired", "too old resource version"}
			}
			return nil
		})
		runRootCerts(t, a, l, "one")
		time.Sleep(short)
		a.put(namespacePath("b"), namespace("b")) // only a list can tell
		time.Sleep(2 * maxPause)
		if got := rootIn(a, "b"); got != "one" {
			t.Errorf("b has %q", got)
		}
		if n := a.count("list", "/api/v1/namespaces"); n > 20 {
			t.Errorf("%d lists in a minute", n)
		}
	})
}

func TestRootCertsNeedTheirOptions(t *testing.T) {
	_, err := NewRootCerts(RootCertsOptions{})
	wantError(t, err, "required")
}

// TestRootCertsForToolsOfIstio: one namespace has one more ConfigMap, of the name that these tools ask for, unless an istiod
// keeps it, whatever the roots become.
func TestRootCertsForToolsOfIstio(t *testing.T) {
	const path = "/configmaps/" + IstioRootCertConfigMap
	roots := func(a *api, namespace string) any {
		if o := a.get(namespacePath(namespace) + path); o != nil {
			return o["data"].(object)[RootCertKey]
		}
		return nil
	}
	for _, tt := range []struct {
		name  string
		there object
		want  [2]any // at first, and after the roots have changed
	}{
		{"none is there", nil, [2]any{"one", "two"}},
		{"one of an earlier run is there", configMap(object{RootCertKey: "former"}), [2]any{"one", "two"}},
		{
			"an istiod keeps it",
			object{"metadata": object{"labels": object{"istio.io/config": "true"}}, "data": object{RootCertKey: "theirs"}},
			[2]any{"theirs", "theirs"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, l := newAPI(t), &logs{}
				a.put(namespacePath("system"), namespace("system"))
				a.put(namespacePath("other"), namespace("other"))
				if tt.there != nil {
					a.put(namespacePath("system")+path, tt.there)
				}
				r, err := NewRootCerts(RootCertsOptions{
					Client: a.client(), Name: IstioRootCertConfigMap, Namespace: "system", Roots: []byte("one"), Logger: l.logger(),
				})
				if err != nil {
					t.Fatal(err)
				}
				background(t, r.Run)
				time.Sleep(time.Second)
				if got := roots(a, "system"); got != tt.want[0] {
					t.Errorf("at first %v, want %v", got, tt.want[0])
				}
				r.SetRoots([]byte("two"))
				time.Sleep(2 * time.Second)
				if got := roots(a, "system"); got != tt.want[1] {
					t.Errorf("after the roots have changed %v, want %v", got, tt.want[1])
				}
				if got := roots(a, "other"); got != nil {
					t.Errorf("another namespace has %v", got)
				}
				if rootIn(a, "system") != "" {
					t.Error("the ConfigMap of the other name was written")
				}
				if lines := l.lines(); len(lines) != 0 {
					t.Errorf("logged %q", lines)
				}
			})
		})
	}
}
