//go:build envoy

package differential_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/model"
)

var (
	seed     = flag.Uint64("seed", 1, "what rules and requests are made up from")
	configs  = flag.Int("configs", 120, "how many hosts have rules of their own")
	requests = flag.Int("requests", 20, "how many requests each of them gets")
	smallest = flag.Int("smallest", 1, "of how many differences the smallest form is looked for")
)

// asked is a request for one of the hosts.
type asked struct {
	host    *host
	request request
}

// TestEnvoyRoutesAlike makes the same requests through an Envoy and through Fairlead's proxy, by rules that are made up: each host
// has a VirtualService or an HTTPRoute. What differs is made as small as it can be, and printed.
func TestEnvoyRoutesAlike(t *testing.T) {
	t.Logf("-seed=%d -configs=%d -requests=%d", *seed, *configs, *requests)
	d := dice{Rand: rand.New(rand.NewPCG(*seed, 0))}
	ports := map[string]uint16{} // which are in no rule
	hosts := make([]host, *configs)
	var all []asked
	for i := range hosts {
		hosts[i] = d.host(i)
		for !obeyed(t, surroundings(ports)+hosts[i].manifests(i, ports)) {
			hosts[i] = d.host(i)
		}
		d.protocol = hosts[i].protocol
		for range *requests {
			all = append(all, asked{&hosts[i], d.request(hosts[i].name)})
		}
	}
	ends := map[string]int{}
	differ := compare(t, hosts, all, ends)
	t.Logf("ends of requests: %v", ends)
	for _, kind := range []string{"backend", "redirect", "404", "other", "copied", "sticky"} {
		if least := len(all) / 100; ends[kind] < least {
			t.Errorf("only %d requests end with %s, want %d: too little is compared", ends[kind], kind, least)
		}
	}
	var told []*host
	for i, diff := range differ {
		if diff == "" || slices.Contains(told, all[i].host) {
			continue
		}
		if told = append(told, all[i].host); len(told) > 10 {
			continue
		}
		t.Errorf("to\n%s\nthe request\n%s\nhas another end (-Envoy +Fairlead):\n%s", all[i].host.rule, &all[i].request, diff)
		if len(told) <= *smallest {
			least, diff := minimise(t, all[i], diff)
			t.Errorf("the smallest of it: to\n%s%s\nthe request\n%s\nhas another end (-Envoy +Fairlead):\n%s", policyOf(least.host), least.host.rule, &least.request, diff)
		}
	}
	if len(told) > 0 {
		t.Errorf("requests to %d of %d hosts differ", len(told), *configs)
	}
}

func policyOf(h *host) string {
	if h.policy == "" {
		return ""
	}
	return "# DestinationRule: " + h.policy + "\n"
}

// obeyed reports whether all of a manifest is in force.
func obeyed(t *testing.T, manifests string) bool {
	t.Helper()
	_, problems := compiletest.Load(t, manifests)
	return !slices.ContainsFunc(problems, func(p model.Problem) bool { return p.Severity == model.Rejected })
}

// compare makes requests of both sides, and gives how the ends of each differ, "" where they do not. It counts how they end.
func compare(t *testing.T, hosts []host, all []asked, ends map[string]int) []string {
	t.Helper()
	apps := backends(t)
	manifests, names := meshOf(hosts, apps.ports)
	snapshot, _ := compiletest.Load(t, manifests)
	sides := []side{startEnvoy(t, snapshot), startFairlead(t, snapshot, names)}
	out := make([]string, len(all))
	for n := range all {
		var got [2]outcome
		for i, s := range sides {
			got[i] = s.end(t, &all[n], fmt.Sprint("/", n))
		}
		ends[got[0].kind()]++
		sameBut(&got)
		out[n] = cmp.Diff(got[0], got[1])
	}
	// Copies come in their own time.
	deadline, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for n := range all {
		var got [2]outcome
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			for i, s := range sides {
				got[i] = copied(apps.came(s.name + fmt.Sprint("/", n)))
			}
			if len(got[0]) > 0 && len(got[0]) == len(got[1]) {
				ends["copied"]++
			}
			if len(got[0]) == len(got[1]) || deadline.Err() != nil {
				tick.Stop()
				break
			}
			select {
			case <-tick.C:
			case <-deadline.Done():
			}
		}
		if diff := cmp.Diff(got[0], got[1]); diff != "" {
			out[n] += "copies:\n" + diff
		}
	}
	return out
}

// end is what becomes of a request. Where a hash chooses, the endpoint is each side's own: what counts is whether requests that
// are alike all come to the same one. By chance they do once in a few hundred thousand.
func (s side) end(t *testing.T, a *asked, id string) outcome {
	t.Helper()
	out, err := s.ask(t.Context(), &a.request, a.host, id)
	if err != nil {
		t.Logf("%s: %v", s.name, err)
		return outcome{"error"}
	}
	chosen := out.backend()
	if a.host.policy == "" || chosen == "" {
		return out
	}
	sticky := "sticky"
	for i := range 7 {
		like := a.request.clone()
		like.header.Set("X-Unrelated", strconv.Itoa(i))
		next, err := s.ask(t.Context(), &like, a.host, fmt.Sprint(id, "/", i))
		if err != nil || next.backend() != chosen {
			sticky = "spread"
		}
	}
	for i, line := range out {
		switch {
		case strings.HasPrefix(line, "backend "), strings.HasPrefix(line, "response X-Backend: "):
			out[i] = sticky
		case strings.HasPrefix(line, "response Set-Cookie: "): // whose value is made up
			name, rest, _ := strings.Cut(line, "=")
			_, attributes, _ := strings.Cut(rest, ";")
			out[i] = name + "; " + attributes
		}
	}
	return out
}
