package directory

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/route"
)

// Self is what this proxy knows of the workload that it serves.
type Self struct {
	pod model.Key
	ips []netip.Addr
	// local reports whether an address is one of the pod's interfaces, of which ips may name only some.
	local func(netip.Addr) bool

	workload atomic.Pointer[plan.Workload]
	policy   atomic.Pointer[plan.InboundPolicy]
	known    chan struct{} // closed when workload is first set
	once     sync.Once
	governed chan struct{} // closed when policy is first set
	onceGov  sync.Once
	paths    atomic.Uint32 // a plan.PathNormalization
	// noRetries is the mesh's NoInboundRetries.
	noRetries atomic.Bool
	pools     atomic.Pointer[map[uint16]*AppPool]
}

// AppPool is the connectionPool of a port of the workload. It outlives changes of the policy, so that what is in flight
// counts.
type AppPool struct {
	limits lb.Limits
	policy atomic.Pointer[plan.AppPool] // never nil
}

// Limits hold calls to the port to the policy; of no pool they are nil.
func (p *AppPool) Limits() *lb.Limits {
	if p == nil {
		return nil
	}
	return &p.limits
}

// Uses lists the limits that are set.
func (p *AppPool) Uses() []lb.LimitUse {
	if p == nil {
		return nil
	}
	return p.limits.Uses()
}

// Policy is the one in force. The same policy has the same address.
func (p *AppPool) Policy() *plan.AppPool { return p.policy.Load() }

func (p *AppPool) set(to plan.AppPool) {
	if is := p.policy.Load(); is != nil && *is == to {
		return
	}
	p.policy.Store(&to)
	p.limits.Set(lb.LimitSettings{MaxConnections: to.MaxConnections, MaxPending: to.MaxPendingRequests, MaxRequests: to.MaxRequests})
}

// NewSelf returns what is known from the start: the pod and its addresses. local reports whether an address is one of the
// pod's interfaces.
func NewSelf(pod model.Key, ips []netip.Addr, local func(netip.Addr) bool) *Self {
	return &Self{pod: pod, ips: ips, local: local, known: make(chan struct{}), governed: make(chan struct{})}
}

// learn takes a workload that is this one; others are ignored. The event says which policy is its own now.
func (s *Self) learn(w *plan.Workload) []Event {
	if !slices.Contains(s.ips, w.IP) || w.Key != s.pod {
		return nil // an address can be handed to the next pod before this one is gone
	}
	before := s.workload.Swap(w)
	s.once.Do(func() { close(s.known) })
	if before == nil || before.Inbound != w.Inbound {
		return []Event{{Kind: InboundNamed, Inbound: w.Inbound}}
	}
	return nil
}

// Known is closed once the workload is known.
func (s *Self) Known() <-chan struct{} { return s.known }

// Governed is closed once there is a policy for connections to the workload.
func (s *Self) Governed() <-chan struct{} { return s.governed }

// Policy is the one in force, nil before the first.
func (s *Self) Policy() *plan.InboundPolicy { return s.policy.Load() }

// PathMode is how paths of requests are normalized, Istio's default until the control plane has spoken.
func (s *Self) PathMode() plan.PathNormalization { return plan.PathNormalization(s.paths.Load()) }

// RetriesInbound reports whether a request for the own app is sent once more that this has not got.
func (s *Self) RetriesInbound() bool { return !s.noRetries.Load() }

func (s *Self) setPolicy(p *plan.InboundPolicy) {
	s.setPools(p)
	s.policy.Store(p)
	s.onceGov.Do(func() { close(s.governed) })
}

// setPools puts the policies of ports into force. Ports that are not named any more keep what they have in flight.
func (s *Self) setPools(p *plan.InboundPolicy) {
	pools := map[uint16]*AppPool{}
	if old := s.pools.Load(); old != nil {
		pools = maps.Clone(*old)
	}
	named := map[uint16]plan.AppPool{}
	for i := range p.Ports {
		named[p.Ports[i].Port] = p.Ports[i].Pool
		if pools[p.Ports[i].Port] == nil {
			pools[p.Ports[i].Port] = new(AppPool)
		}
	}
	for number, pool := range pools {
		pool.set(named[number])
	}
	s.pools.Store(&pools)
}

// Pool gives the connectionPool of a port, nil for one that no policy has named.
func (s *Self) Pool(port uint16) *AppPool {
	if pools := s.pools.Load(); pools != nil {
		return (*pools)[port]
	}
	return nil
}

// eachPool goes through the ports that a policy has named, in order.
func (s *Self) eachPool(do func(port uint16, p *AppPool)) {
	if pools := s.pools.Load(); pools != nil {
		for _, port := range slices.Sorted(maps.Keys(*pools)) {
			do(port, (*pools)[port])
		}
	}
}

// AwaitPolicy waits for the first policy. It reports false where ctx ended before.
func (s *Self) AwaitPolicy(ctx context.Context) bool {
	select {
	case <-s.governed:
		return true
	default:
	}
	select {
	case <-s.governed:
		return true
	case <-ctx.Done():
		return false
	}
}

// Workload is this one, nil while it is not known.
func (s *Self) Workload() *plan.Workload { return s.workload.Load() }

// Info is what the workload is called, as far as it is known.
func (s *Self) Info() plan.WorkloadInfo {
	if w := s.workload.Load(); w != nil {
		return w.Info
	}
	return plan.WorkloadInfo{Namespace: s.pod.Namespace, Pod: s.pod.Name}
}

// Identity is the SPIFFE ID of the workload, "" while it is not known.
func (s *Self) Identity() string {
	if w := s.workload.Load(); w != nil {
		return w.Identity
	}
	return ""
}

// Place is where the workload runs, as far as it is known.
func (s *Self) Place() lb.Place {
	if w := s.workload.Load(); w != nil {
		return lb.Place{Node: w.Info.Node, Cluster: w.Info.Cluster, Network: cmp.Or(w.NetworkName, w.Network), Locality: w.Locality, Labels: w.Labels}
	}
	return lb.Place{}
}

// Caller is what rules may ask of this workload where it calls.
func (s *Self) Caller() route.Caller {
	src := route.Caller{Namespace: s.pod.Namespace}
	if w := s.workload.Load(); w != nil {
		src.Labels = w.Labels
	}
	return src
}

// Port gives what is known of a port of the workload. Before the first policy that is nothing, its mTLS mode neither.
func (s *Self) Port(port uint16) plan.InboundPort {
	if p := s.policy.Load(); p != nil {
		return p.Port(port)
	}
	return plan.InboundPort{Port: port}
}

// Owns reports whether a is one of the pod's addresses as the proxy was told them.
func (s *Self) Owns(a netip.Addr) bool { return slices.Contains(s.ips, a.Unmap()) }

// Serves reports whether calls to a are calls to this workload: to one of the pod's addresses, or to another one of its
// interfaces, such as that of a second network or a virtual address on the loopback interface.
func (s *Self) Serves(a netip.Addr) bool { return s.Owns(a) || s.local(a) }
