package controlplane

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/probers"
)

const usersPolicy = `apiVersion: fairlead.dev/v1alpha1
kind: HealthCheckPolicy
metadata: {name: users, namespace: myapp}
spec: {targetRefs: [{group: "", kind: Service, name: users}], http: {path: /healthz}}
`

// callerPods are pods with a sidecar.
func callerPods(n int) (manifests string, names []string) {
	var b strings.Builder
	for i := range n {
		name := fmt.Sprintf("caller-%d", i)
		names = append(names, name)
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: myapp, annotations: {fairlead.dev/status: injected}}\nspec: {containers: [{name: a, image: b}]}\nstatus: {podIP: 10.1.0.%d}\n", name, i+1)
	}
	return b.String(), names
}

// probingClient is a sidecar's end of the channel that is told to check.
type probingClient struct {
	*client

	name string
	seen *proxy
}

// told lists what the sidecar is to check.
func (c *probingClient) told() (addresses []string) {
	c.seen.mu.Lock()
	defer c.seen.mu.Unlock()
	if in, ok := c.seen.state["in/myapp/"+c.name].(*plan.InboundPolicy); ok {
		for _, p := range in.Probes {
			addresses = append(addresses, fmt.Sprintf("%s %s:%d", p.Policy, p.Addr, p.How.Port))
		}
	}
	return addresses
}

// health gives the endpoints of the service as the sidecar has them.
func (c *probingClient) health() string {
	c.seen.mu.Lock()
	defer c.seen.mu.Unlock()
	var out []string
	for _, r := range c.seen.state {
		if s, ok := r.(*plan.EndpointShard); ok {
			for i := range s.Endpoints {
				out = append(out, s.Endpoints[i].Health.String()+" "+s.Endpoints[i].Failure.Why)
			}
		}
	}
	return strings.TrimSpace(strings.Join(out, ", "))
}

// says has the sidecar report of endpoints 10.0.0.<n>:8080, negative ones fail.
func (c *probingClient) says(endpoints ...int) {
	var results []model.ProbeResult
	for _, n := range endpoints {
		r := model.ProbeResult{Target: model.ProbeTarget{Policy: model.Key{Namespace: "myapp", Name: "users"}, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(max(n, -n))}), 8080)}, Since: time.Now()}
		if n < 0 {
			r.Failing, r.Why = true, "refused"
		}
		results = append(results, r)
	}
	c.Report(func(h *discovery.HealthReport) { h.Probes, h.Prober = results, true })
}

// TestThreeCallersCheckAnEndpoint: of fifty sidecars that call it, three are told to; what most of them say goes to all; when one
// leaves, another takes its place; what others say is refused.
func TestThreeCallersCheckAnEndpoint(t *testing.T) {
	pods, names := callerPods(50)
	w := start(t, "mesh.yaml", usersService+"---\n"+usersSlice(9)+"---\n"+usersPolicy+pods)
	callers := make([]*probingClient, len(names))
	stops := make(map[string]func())
	for i, name := range names {
		seen := newProxy()
		c := &probingClient{client: w.client(t, name, seen), name: name, seen: seen}
		callers[i] = c
		c.Subscribe("in/myapp/" + name)
		c.says()
		stops[name] = run(t, c.client)
		await(t, c.client, vip)
	}
	checking := func() (list []*probingClient) {
		for _, c := range callers {
			if told := c.told(); len(told) > 0 {
				if !slices.Equal(told, []string{"myapp/users 10.0.0.9:8080"}) {
					t.Fatalf("%s is told to check %q", c.name, told)
				}
				list = append(list, c)
			}
		}
		return list
	}
	var three []*probingClient
	settled := func(what string) {
		t.Helper()
		eventually(t, what, func() bool {
			three = checking()
			page := w.get(t, "/debug/probez")
			return len(three) == probers.PerEndpoint && !slices.ContainsFunc(three, func(c *probingClient) bool { return !strings.Contains(page, `"`+c.name+`.myapp"`) })
		})
	}
	settled("three check")
	all := func(what, want string) {
		t.Helper()
		for _, c := range callers {
			eventually(t, what+": "+c.name, func() bool { return c.health() == want })
		}
	}
	outsider := callers[slices.IndexFunc(callers, func(c *probingClient) bool { return !slices.Contains(three, c) })]
	outsider.says(-9)
	three[0].says(-9)
	three[1].says(9)
	eventually(t, "the control plane has heard of it", func() bool { return strings.Contains(w.get(t, "/debug/probez"), `"fails"`) })
	all("one of three says so", "HEALTHY")
	three[1].says(-9)
	all("two of three say so", "FAILED_ACTIVE_HC refused")
	if page := w.get(t, "/metrics"); !strings.Contains(page, "\nfairlead_endpoints_failing_probes 1\n") || !strings.Contains(page, "\nfairlead_endpoints_probed 1\n") {
		t.Errorf("metrics:\n%s", page)
	}
	gone := three[2]
	stops[gone.name]()
	callers = slices.DeleteFunc(callers, func(c *probingClient) bool { return c == gone })
	settled("another takes over")
	all("it stays away", "FAILED_ACTIVE_HC refused")
	for _, c := range three {
		c.says(9)
	}
	all("it is back", "HEALTHY")
	w.write(t, "mesh.yaml", usersService+"---\n"+usersSlice(9)+pods)
	eventually(t, "nobody checks without a policy", func() bool { return len(checking()) == 0 })
}

// nobody holds nothing.
type nobody struct{}

func (nobody) Follow([]string) {}

func (nobody) HoldersOf(string) []discovery.ClientIdentity { return nil }

// TestRefusedResultsAreCounted: a sidecar that speaks of what it was not told to check is counted, and named once a minute.
func TestRefusedResultsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := runHealth(t, nil, func(o *engineOptions) { o.callers = nobody{} })
		says := func(results int) {
			r := &discovery.HealthReport{Prober: true}
			for i := range results {
				r.Probes = append(r.Probes, model.ProbeResult{Failing: true, Target: model.ProbeTarget{Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(i+1))}})
			}
			w.inbox.receiveHealth(discovery.ClientHealth{Client: discovery.ClientIdentity{Namespace: "myapp", Pod: "users-a", UID: "u1"}, Stream: 1, Report: r})
			synctest.Wait()
		}
		says(0)
		time.Sleep(2 * time.Minute)
		says(2)
		says(1)
		if n := w.probing.counts.refused.Load(); n != 3 {
			t.Errorf("%d results refused, want 3", n)
		}
		if n := strings.Count(w.log.String(), "proxy=users-a.myapp"); n != 1 {
			t.Errorf("%d lines, want 1:\n%s", n, w.log.String())
		}
		w.says(1, "gone")
		if w.probing.book.Has(model.ClusterKey{Key: model.Key{Namespace: "myapp", Name: "users-a"}}) {
			t.Error("it is still there")
		}
		if len(w.health.pods) != 0 {
			t.Error("of its own pod it has said nothing")
		}
	})
}
