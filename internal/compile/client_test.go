package compile_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// privateWorld is a mesh in which everything called secret belongs to namespace victim alone.
const privateWorld = `
service shop.victim ip=10.96.0.1 port=http:80>8080:HTTP
service secret-bank.victim ip=10.96.0.2 port=http:80>8080:HTTP export=.
service secret-db.victim headless port=tcp:3306:TCP export=.
service open-db.victim headless port=tcp:3307:TCP
slice shop-1.victim of=shop port=http:8080 ep=10.1.0.1/teller
slice secret-bank-1.victim of=secret-bank port=http:8081 ep=10.1.0.1/teller
slice secret-db-1.victim of=secret-db port=tcp:3306 ep=10.1.0.1/teller
slice secret-db-2.victim of=secret-db port=tcp:3306 ep=192.0.2.7
slice open-db-1.victim of=open-db port=tcp:3307 ep=10.1.0.1/teller
pod teller.victim ip=10.1.0.1 meshed
pod clerk.victim ip=10.1.0.2 meshed
pod py.thief ip=10.1.0.3 meshed
entry secret.example.com ns=victim resolution=STATIC port=http:80:HTTP ip=198.51.100.1 endpoint=192.0.2.1 export=.
entry *.secret.example.com ns=victim resolution=STATIC port=http:80:HTTP ip=198.51.100.2 endpoint=192.0.2.1 export=victim
entry secret.internal ns=victim resolution=STATIC port=http:80:HTTP select=app:x export=.
vs secret-routes.victim host=shop.victim.svc.cluster.local export=.
  http -> shop.victim.svc.cluster.local:80
vs secret-name.victim host=secret.virtual export=.
  http -> shop.victim.svc.cluster.local:80
dr secret-rule.victim host=shop.victim.svc.cluster.local export=. subset=secret:version=v1
dr secret-db-rule.victim host=open-db.victim.svc.cluster.local export=. lb=RANDOM
`

// privateNames lists names of every form that lead to something private, and to their neighbours.
func privateNames() []string {
	names := []string{
		"mesh", "trust", "ip/10.1.0.1", "ip/10.1.0.2", "in/victim/teller", "in/victim/clerk", "in/thief/py", "in/victim/", "in/victim", "in//teller",
		"pod/10.1.0.1:8080", "pod/10.1.0.1:8081", "pod/10.1.0.1:3306", "pod/10.1.0.1:3307", "pod/192.0.2.7:3306", "eps/10.1.0.1:3306/pod", "eps/192.0.2.7:3306/pod",
		"eps/shop.victim.svc.cluster.local:80/slice/shop-1", "eps/secret-bank.victim.svc.cluster.local:80/slice/secret-bank-1",
		"eps/secret-db.victim.svc.cluster.local:3306/slice/secret-db-1", "eps/secret.example.com:80/static/victim", "eps/secret.internal:80/workloads/victim",
		"ip/10.96.0.1:80", "ip/10.96.0.2:80", "ip/198.51.100.1:80", "ip/198.51.100.2:80", "ip/240.240.0.1:80",
		"ip/10.1.0.1:8080", "ip/10.1.0.1:8081", "ip/10.1.0.1:3306", "ip/10.1.0.1:3307", "ip/192.0.2.7:3306", "ip/[::ffff:10.1.0.1]:3306",
	}
	hosts := []string{
		"shop.victim.svc.cluster.local", "secret-bank.victim.svc.cluster.local", "secret-db.victim.svc.cluster.local", "secret-bank.victim", "secret-bank",
		"teller.secret-db.victim.svc.cluster.local", "open-db.victim.svc.cluster.local", "secret.example.com", "a.secret.example.com", "*.secret.example.com",
		"secret.internal", "secret.virtual",
	}
	for _, h := range hosts {
		names = append(names, "dns/"+h)
		for _, port := range []string{":80", ":3306", ":3307"} {
			names = append(names, "host/"+h+port, "dst/victim/"+h+port, "dst/thief/"+h+port)
		}
	}
	for _, n := range slices.Clone(names) {
		for _, variant := range []string{"?ns=victim", "?ns=", "?ns=thief", "?ns=thief?ns=victim", "?ns=victim?ns=thief", "#2?ns=victim"} {
			names = append(names, n+variant)
		}
	}
	return names
}

// told gives everything that a client is sent for a name, as text.
func told(snap store.Snapshot, c compile.Client, name string) string {
	if !c.MayRead(name) {
		return ""
	}
	canonical, ok := compile.Resolve(store.NewReader(snap), global(), c, name)
	if !ok {
		return ""
	}
	res := compile.Compile(store.NewReader(snap), global(), canonical)
	if res == nil {
		return ""
	}
	out := []string{canonical + " " + mustJSON(res)}
	if d, ok := res.(*plan.Destination); ok {
		for i := range d.Backends {
			for _, shard := range d.Backends[i].Shards {
				out = append(out, shard+" "+mustJSON(compile.Compile(store.NewReader(snap), global(), shard)))
			}
		}
	}
	return strings.Join(out, "\n")
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// secretIn reports whether an answer tells more than the question. The name of one's own question comes back in it.
func secretIn(answer, name string) bool {
	for _, own := range []string{strings.TrimPrefix(name, "dns/"), strings.TrimPrefix(name, "host/")} {
		answer = strings.ReplaceAll(answer, own, "")
	}
	return strings.Contains(answer, "secret")
}

func TestPrivateConfigurationIsForItsNamespace(t *testing.T) {
	snap := snapshot(t, privateWorld)
	seen := 0
	for _, name := range privateNames() {
		for _, thief := range []compile.Client{{Namespace: "thief", Pod: "py"}, {Namespace: "thief"}, {Namespace: "thief", Pod: "teller"}, {}} {
			if answer := told(snap, thief, name); secretIn(answer, name) {
				t.Errorf("%s tells %+v: %s", name, thief, answer)
			}
		}
		if strings.Contains(told(snap, compile.Client{Namespace: "victim", Pod: "teller"}, name), "secret") {
			seen++
		}
	}
	if seen < 20 { // or else the test looks at nothing
		t.Errorf("the owner sees what is private under %d names, want more than 20", seen)
	}
}

// TestClientMayRead goes through the forms of names (package plan) and who asks.
func TestClientMayRead(t *testing.T) {
	own, sibling := compile.Client{Namespace: "victim", Pod: "teller"}, compile.Client{Namespace: "victim", Pod: "clerk"}
	unbound, other := compile.Client{Namespace: "victim"}, compile.Client{Namespace: "thief", Pod: "teller"}
	type want struct{ own, sibling, unbound, other bool }
	everybody, namespace, pod, nobody := want{true, true, true, true}, want{true, true, true, false}, want{true, false, false, false}, want{}
	for _, test := range []struct {
		name string
		want want
	}{
		{"mesh", everybody},
		{"trust", everybody},
		{"ip/10.1.0.1", everybody},
		{"ip/10.1.0.1:80", everybody},
		{"host/bank.victim:80", everybody},
		{"dns/bank.victim.svc.cluster.local", everybody},
		{"dst/victim/bank.victim.svc.cluster.local:80", everybody},
		{"dst/victim/bank.victim.svc.cluster.local:80?ns=victim", namespace},
		{"dst/other/bank.other.svc.cluster.local:80?ns=victim", namespace},
		{"dst/victim/bank.victim.svc.cluster.local:80?ns=", nobody},
		{"dst/victim/bank.victim.svc.cluster.local:80?ns=victim?ns=thief", nobody},
		{"pod/10.1.0.1:80", everybody},
		{"pod/10.1.0.1:80?ns=victim", namespace},
		{"eps/bank.victim.svc.cluster.local:80/slice/bank-1", nobody},
		{"eps/bank.victim.svc.cluster.local:80/slice/bank-1?ns=victim", nobody},
		{"eps/10.1.0.1:80/pod", nobody},
		{"in/victim/teller", pod},
		{"in/victim/", nobody},
		{"in/victim", nobody},
		{"in/victim/teller/", nobody},
	} {
		got := want{own.MayRead(test.name), sibling.MayRead(test.name), unbound.MayRead(test.name), other.MayRead(test.name)}
		if got != test.want {
			t.Errorf("MayRead(%q) = %+v, want %+v", test.name, got, test.want)
		}
	}
}

// FuzzMayRead looks for a name, however it is spelled, under which a stranger is told what is private.
func FuzzMayRead(f *testing.F) {
	for _, n := range privateNames() {
		f.Add(n)
	}
	snap := snapshot(f, privateWorld)
	f.Fuzz(func(t *testing.T, name string) {
		if answer := told(snap, compile.Client{Namespace: "thief", Pod: "py"}, name); secretIn(answer, name) {
			t.Errorf("%q tells a stranger: %s", name, answer)
		}
	})
}
