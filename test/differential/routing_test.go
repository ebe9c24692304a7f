//go:build envoy

package differential_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/model"
)

var (
	seed     = flag.Uint64("seed", 1, "what rules and requests are made up from")
	configs  = flag.Int("configs", 120, "how many hosts have rules of their own")
	requests = flag.Int("requests", 20, "how many requests each of them gets")
)

// TestEnvoyRoutesAlike makes the same requests through an Envoy and through Fairlead's proxy, by rules that are made up: each host
// has a VirtualService or an HTTPRoute.
func TestEnvoyRoutesAlike(t *testing.T) {
	t.Logf("-seed=%d -configs=%d -requests=%d", *seed, *configs, *requests)
	d := dice{rand.New(rand.NewPCG(*seed, 0))}
	ports := backends(t)
	var mesh strings.Builder
	mesh.WriteString(pods)
	hosts, rules := make([]string, *configs), make([]string, *configs)
	for i := range hosts {
		hosts[i] = fmt.Sprint("web-", i)
		made := d.virtualService
		versions := []string{"v1", "v2"}
		if i%3 == 2 { // whose backends are Services, not subsets
			made, versions = d.httpRoute, versions[:1]
		}
		around := pods + service(i, hosts[i], ports, versions)
		rules[i] = made(hosts[i])
		for !obeyed(t, around+rules[i]) {
			rules[i] = made(hosts[i])
		}
		mesh.WriteString(service(i, hosts[i], ports, versions) + rules[i] + "---\n")
	}
	snapshot, _ := compiletest.Load(t, mesh.String())
	sides := []side{startEnvoy(t, snapshot), startFairlead(t, snapshot, hosts)}
	different, ends := 0, map[string]int{}
	for i, host := range hosts {
		for n := range *requests {
			q := d.request(host)
			var got [2]outcome
			for j, s := range sides {
				var err error
				if got[j], err = s.ask(t.Context(), q, host, fmt.Sprint("/", i, "/", n)); err != nil {
					got[j] = outcome{"error"}
					t.Logf("%s: %v", s.name, err)
				}
			}
			ends[got[0].kind()]++
			sameBut(&got)
			if diff := cmp.Diff(got[0], got[1]); diff != "" {
				different++
				if different <= 10 {
					t.Errorf("by\n%s\nthe request\n%s\nhas another end (-Envoy +Fairlead):\n%s", rules[i], q, diff)
				}
				break
			}
		}
	}
	t.Logf("ends of requests: %v", ends)
	for _, kind := range []string{"backend", "redirect", "404", "other"} {
		if least := *configs * *requests / 100; ends[kind] < least {
			t.Errorf("only %d requests end with %s, want %d: too little is compared", ends[kind], kind, least)
		}
	}
	if different > 0 {
		t.Errorf("requests to %d of %d hosts differ", different, *configs)
	}
}

// obeyed reports whether all of a manifest is in force.
func obeyed(t *testing.T, manifests string) bool {
	t.Helper()
	_, problems := compiletest.Load(t, manifests)
	return !slices.ContainsFunc(problems, func(p model.Problem) bool { return p.Severity == model.Rejected })
}
