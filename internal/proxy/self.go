package proxy

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/route"
)

// self is what this proxy knows of the workload that it serves.
type self struct {
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
	// onInbound is told the name of the inbound policy to subscribe to, onPolicy that another one is in force.
	onInbound func(name string)
	onPolicy  func()
}

func newSelf(pod model.Key, ips []netip.Addr) *self {
	return &self{pod: pod, ips: ips, local: new(netio.LocalAddrs).Contains, known: make(chan struct{}), governed: make(chan struct{})}
}

// learn takes a workload that is this one; others are ignored.
func (s *self) learn(w *plan.Workload) {
	if !slices.Contains(s.ips, w.IP) || w.Key != s.pod {
		return // an address can be handed to the next pod before this one is gone
	}
	before := s.workload.Swap(w)
	if before == nil || before.Inbound != w.Inbound {
		s.onInbound(w.Inbound)
	}
	s.once.Do(func() { close(s.known) })
}

// pathMode is how paths of requests are normalized, Istio's default until the control plane has spoken.
func (s *self) pathMode() plan.PathNormalization { return plan.PathNormalization(s.paths.Load()) }

func (s *self) setPolicy(p *plan.InboundPolicy) {
	s.policy.Store(p)
	s.onPolicy()
	s.onceGov.Do(func() { close(s.governed) })
}

// awaitPolicy waits for the first policy. It reports false where ctx ended before.
func (s *self) awaitPolicy(ctx context.Context) bool {
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

func (s *self) info() plan.WorkloadInfo {
	if w := s.workload.Load(); w != nil {
		return w.Info
	}
	return plan.WorkloadInfo{Namespace: s.pod.Namespace, Pod: s.pod.Name}
}

func (s *self) identity() string {
	if w := s.workload.Load(); w != nil {
		return w.Identity
	}
	return ""
}

// place is where the workload runs, as far as it is known.
func (s *self) place() lb.Place {
	if w := s.workload.Load(); w != nil {
		return lb.Place{Node: w.Info.Node, Zone: w.Locality.Zone}
	}
	return lb.Place{}
}

// caller is what rules may ask of this workload where it calls.
func (s *self) caller() route.Caller {
	src := route.Caller{Namespace: s.pod.Namespace}
	if w := s.workload.Load(); w != nil {
		src.Labels = w.Labels
	}
	return src
}

// port gives what is known of a port of the workload. Before the first policy that is nothing, its mTLS mode neither.
func (s *self) port(port uint16) plan.InboundPort {
	if p := s.policy.Load(); p != nil {
		return p.Port(port)
	}
	return plan.InboundPort{Port: port}
}

// owns reports whether a is one of the pod's addresses as the proxy was told them.
func (s *self) owns(a netip.Addr) bool { return slices.Contains(s.ips, a.Unmap()) }

// serves reports whether calls to a are calls to this workload: to one of the pod's addresses, or to another one of its
// interfaces, such as that of a second network or a virtual address on the loopback interface.
func (s *self) serves(a netip.Addr) bool { return s.owns(a) || s.local(a) }
