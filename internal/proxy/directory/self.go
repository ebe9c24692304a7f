package directory

import (
	"context"
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

func (s *Self) setPolicy(p *plan.InboundPolicy) {
	s.policy.Store(p)
	s.onceGov.Do(func() { close(s.governed) })
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
		return lb.Place{Node: w.Info.Node, Cluster: w.Info.Cluster, Network: w.Network, Locality: w.Locality, Labels: w.Labels}
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
