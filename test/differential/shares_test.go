//go:build envoy

package differential_test

import (
	"fmt"
	"math"
	"net/http"
	"testing"

	"fairlead.dev/fairlead/internal/compile/compiletest"
)

// share is a host of whose requests a part ends in one way, by chance.
type share struct {
	name string
	// rule is what the host's VirtualService does, or the rule of its HTTPRoute where gateway is set.
	rule    func(host string) string
	gateway bool
	// part is how many end so, of one; ends says of which that is so.
	part float64
	ends func(o outcome) bool
}

// byVersion are shares of the first version.
func byVersion(first, second int) func(host string) string {
	return func(host string) string {
		to := "{destination: {host: " + host + ", subset: %s}, weight: %d}"
		return "route: [" + fmt.Sprintf(to, "v1", first) + ", " + fmt.Sprintf(to, "v2", second) + "]"
	}
}

func isFirst(o outcome) bool { return o.backend() == "v1" }

func shares() []share {
	toFirst := func(more string) func(host string) string {
		return func(host string) string { return "route: [{destination: {host: " + host + ", subset: v1}}], " + more }
	}
	out := []share{
		{name: "fault", rule: toFirst("fault: {abort: {httpStatus: 418, percentage: {value: 30}}}"), part: .3, ends: func(o outcome) bool { return o.backend() == "" }},
		{name: "copied", rule: toFirst("mirror: {host: " + copies + "}, mirrorPercentage: {value: 25}"), part: .25},
		{name: "routed", gateway: true, part: .75, ends: isFirst, rule: func(host string) string {
			return "backendRefs: [{name: " + host + ", port: 8080, weight: 3}, {name: " + host + "-v2, port: 8080, weight: 1}]"
		}},
	}
	for _, first := range []int{0, 1, 10, 50, 99, 100} {
		out = append(out, share{name: fmt.Sprint("split-", first), rule: byVersion(first, 100-first), part: float64(first) / 100, ends: isFirst})
	}
	return out
}

// host is the one that has the rule.
func (s *share) host() host {
	out := host{name: s.name, protocol: "http", versions: versions()}
	if s.gateway {
		out.versions = out.versions[:1]
		out.rule = fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s, namespace: shop}
spec: {parentRefs: [{group: "", kind: Service, name: %[1]s, port: 8080}], rules: [{%[2]s}]}
`, s.name, s.rule(s.name))
		return out
	}
	out.rule = fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s, namespace: shop}
spec: {hosts: [%[1]s], http: [{%[2]s}]}
`, s.name, s.rule(s.name))
	return out
}

// sharedBy bounds the requests of each share. Six times the deviation that chance has is less likely than one in 500 million.
const (
	sharedBy  = 400
	deviation = 6
)

// TestEnvoySharesAlike counts how often chance lets an Envoy and Fairlead's proxy do what a rule has them do to a part of all requests.
func TestEnvoySharesAlike(t *testing.T) {
	apps, all := backends(t), shares()
	hosts := make([]host, len(all))
	for i := range all {
		hosts[i] = all[i].host()
	}
	manifests, names := meshOf(hosts, apps.ports)
	snapshot, problems := compiletest.Load(t, manifests)
	if len(problems) > 0 {
		t.Fatalf("not all of it is in force: %v", problems)
	}
	sides := []side{startEnvoy(t, snapshot), startFairlead(t, snapshot, names)}
	for i := range all {
		t.Run(all[i].name, func(t *testing.T) {
			for _, side := range sides {
				n := 0
				for k := range sharedBy {
					q := request{host: hosts[i].name, method: http.MethodGet, target: "/", header: http.Header{}}
					id := fmt.Sprint("/", i, "/", k)
					o, err := side.ask(t.Context(), &q, &hosts[i], id)
					if err != nil {
						t.Fatalf("%s: %v", side.name, err)
					}
					if all[i].ends != nil && all[i].ends(o) {
						n++
					}
				}
				if all[i].ends == nil { // copies
					n = apps.settled(t, side.name, i)
				}
				want := sharedBy * all[i].part
				if may := deviation * math.Sqrt(want*(1-all[i].part)); math.Abs(float64(n)-want) > may {
					t.Errorf("%s: %d of %d, want %.0f and not more than %.0f away from it", side.name, n, sharedBy, want, may)
				}
			}
		})
	}
}

// settled counts the requests of which a copy has come. A copy that is still under way is missed: of hundreds there are a few.
func (a *apps) settled(t *testing.T, side string, host int) (n int) {
	t.Helper()
	for k := range sharedBy {
		if a.came(fmt.Sprint(side, "/", host, "/", k)) != nil {
			n++
		}
	}
	return n
}
