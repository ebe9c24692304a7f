package compile_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/route"
)

// FuzzServerNames gives three TLSRoutes of one Service arbitrary names, "," between those of one and ";" between routes, the oldest
// first, and compares where a connection goes with the precedence in its own words. Whatever is said of a name once is not said
// twice: other proxies refuse matches that overlap.
func FuzzServerNames(f *testing.F) {
	f.Add("a.com,*.com;*.a.com,a.com;b.a.com", "b.a.com")
	f.Add("*.c.b.a,a;*.a;*.b.a,a", "x.b.a")
	f.Add("a;;b", "")
	f.Add(";a;*.a", "b.a")
	form := regexp.MustCompile(`^(\*\.)?[a-z]{1,3}(\.[a-z]{1,3}){0,3}$`)
	f.Fuzz(func(t *testing.T, names, asked string) {
		routes := strings.SplitN(names, ";", 4)
		if len(names) > 200 || len(routes) > 3 || asked != "" && (!form.MatchString(asked) || asked[0] == '*') {
			return
		}
		var manifests strings.Builder
		manifests.WriteString("{apiVersion: v1, kind: Service, metadata: {name: users, namespace: myapp}, spec: {clusterIP: 10.96.0.1, ports: [{name: tls, port: 443}]}}\n")
		want, best := "", -1
		for i, list := range routes {
			hostnames := slices.DeleteFunc(strings.Split(list, ","), func(n string) bool { return !form.MatchString(n) })
			fmt.Fprintf(&manifests, `---
{apiVersion: gateway.networking.k8s.io/v1alpha2, kind: TLSRoute, metadata: {name: r%d, namespace: myapp, creationTimestamp: "2026-01-0%dT00:00:00Z"},
 spec: {parentRefs: [{group: "", kind: Service, name: users}], hostnames: ["%s"], rules: [{backendRefs: [{name: users, port: 443}]}]}}
`, i, i+1, strings.Join(hostnames, `", "`))
			if len(hostnames) == 0 {
				hostnames = []string{""}
			}
			for _, n := range hostnames {
				if rank := precedence(n, asked); rank > best {
					want, best = fmt.Sprintf("TLSRoute myapp/r%d rules[0]", i), rank
				}
			}
		}
		text := strings.ReplaceAll(manifests.String(), `hostnames: [""], `, "")
		d := newMesh(t, text).destination(parseCall(t, []string{"TCP users:443"}))
		if d == nil {
			t.Fatalf("no destination in\n%s", text)
		}
		got := ""
		if r := route.CompileTCP(d.TCP).Match(route.Connection{To: netip.MustParseAddrPort("10.96.0.1:443"), ServerName: asked}, route.Caller{}); r != nil {
			got = r.Plan.Origin
		}
		if got != want {
			t.Errorf("%q goes to %q, want %q of\n%s", asked, got, want, text)
		}
		saidOnce(t, d.TCP)
	})
}

// precedence ranks a name that covers the one asked for: the name itself, then the longer wildcard, then what asks for nothing; -1
// where it does not cover it.
func precedence(name, asked string) int {
	switch {
	case name == "":
		return 0
	case asked != "" && name == asked:
		return 1000
	case asked != "" && model.Hostname(name).Covers(model.Hostname(asked)):
		return len(name)
	}
	return -1
}

func saidOnce(t *testing.T, routes []plan.TCPRoute) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range routes {
		for _, m := range r.Matches {
			for _, name := range m.SNI {
				if seen[name] {
					t.Errorf("%s is said twice: %+v", name, routes)
				}
				seen[name] = true
			}
		}
	}
}
