package passage

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// meshPort is where sidecars take the mesh transport.
const meshPort = 15008

// inUse is for how long a host that was asked for is kept up to date.
const inUse = discovery.DefaultLease

// table is what the control plane said. It implements discovery.Handler.
type table struct {
	pod model.Key

	mu      sync.RWMutex // guards all below
	network string       // that of this gateway, empty while nothing names it
	hosts   map[string]*host
	shards  map[string][]plan.Endpoint
	known   chan struct{} // closed once the network is known
}

// host is a name that is let in.
type host struct {
	at     plan.HostPort
	shards []string
	*traffic
}

// traffic outlives changes of a host.
type traffic struct {
	used                        atomic.Int64 // when it was last asked for, Unix ns
	turn                        atomic.Uint32
	connections, received, sent atomic.Int64
}

func newTable(pod model.Key) *table {
	return &table{pod: pod, hosts: map[string]*host{}, shards: map[string][]plan.Endpoint{}, known: make(chan struct{})}
}

// Apply implements discovery.Handler.
func (t *table) Apply(updates []discovery.Update) (rejected []discovery.Rejection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range updates {
		u := &updates[i]
		switch r := u.Resource.(type) {
		case *plan.EndpointShard:
			t.shards[u.Name] = r.Endpoints
		case *plan.Destination:
			t.setHost(u.Name, r)
		case *plan.Workload:
			t.learn(r)
		case nil:
			if u.Expired && t.isUsed(u.Name) {
				rejected = append(rejected, discovery.Rejection{Name: u.Name, Reason: "in use"})
				continue
			}
			delete(t.hosts, u.Name)
			delete(t.shards, u.Name)
		}
	}
	return rejected
}

func (t *table) setHost(name string, d *plan.Destination) {
	h := &host{at: plan.HostPort{Host: d.Host, Port: d.Port}, traffic: new(traffic)}
	if before := t.hosts[name]; before != nil {
		h.traffic = before.traffic
	}
	for i := range d.Backends {
		h.shards = append(h.shards, d.Backends[i].Shards...)
	}
	t.hosts[name] = h
}

// learn takes what is said of the gateway's own pod.
func (t *table) learn(w *plan.Workload) {
	if w.Key != t.pod {
		return // an address can be handed to the next pod before this one is gone
	}
	if t.network = w.NetworkName; t.network == "" {
		return
	}
	select {
	case <-t.known:
	default:
		close(t.known)
	}
}

func (t *table) isUsed(name string) bool {
	h := t.hosts[name]
	return h != nil && (h.connections.Load() > 0 || h.used.Load() > time.Now().Add(-inUse).UnixNano())
}

// refusal is why a connection is not passed on. The set is closed: metrics count by it.
type refusal string

// The refusals.
const (
	noHello     refusal = "no_hello"    // no greeting of TLS, or not in time
	badName     refusal = "bad_name"    // its server name is none that a gateway goes by
	notExported refusal = "unknown"     // no host of that name and port is exported to all namespaces
	noEndpoint  refusal = "no_endpoint" // the host has none here, of the subset or pod that is asked for
	unreachable refusal = "unreachable" // none of them took the connection
	tooMany     refusal = "too_many"
	unready     refusal = "not_ready" // the control plane did not say, or not which network this is
)

func refusals() []refusal {
	return []refusal{noHello, badName, notExported, noEndpoint, unreachable, tooMany, unready}
}

// find gives where a connection may go, in the order in which that is to be tried; one alone where the client has chosen it.
func (t *table) find(n plan.ServerName) (*host, []netip.AddrPort, refusal) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.network == "" {
		return nil, nil, unready
	}
	h := t.hosts[plan.PassageName(n.At)]
	if h == nil {
		return nil, nil, notExported
	}
	h.used.Store(time.Now().UnixNano())
	var best, rest []netip.AddrPort
	for _, name := range h.shards {
		for i := range t.shards[name] {
			e := &t.shards[name][i]
			at, ok := t.leadsTo(e, n)
			switch {
			case !ok:
			case n.Pod.IsValid() || e.Health == plan.Healthy:
				best = append(best, at)
			case e.Health == plan.Draining:
				rest = append(rest, at)
			}
		}
	}
	if len(best) == 0 {
		best = rest
	}
	if len(best) == 0 {
		return h, nil, noEndpoint
	}
	slices.SortFunc(best, netip.AddrPort.Compare)
	best = slices.Compact(best)
	first := int(h.turn.Add(1)) % len(best)
	return h, slices.Concat(best[first:], best[:first]), ""
}

// leadsTo gives the address at which an endpoint takes what is asked for; ok is false where it is not meant, is not of this network,
// or takes no mutual TLS.
func (t *table) leadsTo(e *plan.Endpoint, n plan.ServerName) (at netip.AddrPort, ok bool) {
	if e.Network != t.network || !e.Meshed && !e.Mutual {
		return at, false
	}
	if !n.Pod.IsValid() {
		return e.Addr, n.Subset == "" || slices.Contains(e.Subsets, n.Subset)
	}
	if e.Addr.Addr() != n.Pod && e.Other != n.Pod {
		return at, false
	}
	if e.Meshed {
		return netip.AddrPortFrom(n.Pod, meshPort), true
	}
	return netip.AddrPortFrom(n.Pod, e.Addr.Port()), true
}
