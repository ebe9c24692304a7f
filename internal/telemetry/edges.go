package telemetry

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/traffic"
)

const (
	// maxEdges bounds the edges that a sidecar tells apart at a time: strangers choose from which addresses they call. What
	// comes beyond is counted together.
	maxEdges = 4 * traffic.MaxEdges
	// quietReports is after how many reports without traffic an edge is forgotten.
	quietReports = 6
)

// Edges is the sink that counts by who calls whom: see package traffic. Counting takes no lock and allocates nothing once an
// edge is known.
type Edges struct {
	all atomic.Pointer[map[edgeKey]*edge]

	mu       sync.Mutex // serialises changes of all, and reports
	reported time.Time  // until when
	// gone were taken out with the last report. A call may have been about to count there.
	gone []*edge
}

// NewEdges gives a sink that counts from now on.
func NewEdges(now time.Time) *Edges { return &Edges{reported: now} }

// edgeKey tells edges apart by what is at hand when a call ends. The scopes stand for both workloads, the service and the
// protocol.
type edgeKey struct {
	http           *HTTPScope
	tcp            *TCPScope
	pod            string     // of the peer, empty where it is not known
	addr           netip.Addr // of a peer whose pod is not known
	cluster, route string
	noTLS          string
}

// edge is the counts since the last report.
type edge struct {
	name  traffic.Edge
	quiet int // reports in a row without traffic; guarded by Edges.mu

	responses                 [traffic.Classes]atomic.Uint64
	failures                  atomic.Uint64
	retries, timeouts, opened atomic.Uint64
	received, sent            atomic.Uint64
	latency                   [traffic.Buckets]atomic.Uint64

	mu   sync.Mutex
	open map[*Live]struct{} // guarded by mu
}

// Live is an opaque connection that is open: see [Edges.Opened].
type Live struct {
	edge  *edge
	moved func() (received, sent int64)
	// What of it was counted; guarded by edge.mu.
	received, sent int64
}

// Opened implements Opener.
func (e *Edges) Opened(r *Record) {
	if r.TCP == nil {
		return
	}
	l := &Live{edge: e.of(r), moved: r.Moved}
	r.live = l
	l.edge.opened.Add(1)
	l.edge.mu.Lock()
	defer l.edge.mu.Unlock()
	if l.edge.open == nil {
		l.edge.open = map[*Live]struct{}{}
	}
	l.edge.open[l] = struct{}{}
}

// Record implements Sink.
func (e *Edges) Record(r *Record) {
	switch {
	case r.live != nil:
		r.live.end(r)
	case r.HTTP != nil || r.TCP != nil:
		e.of(r).count(r)
	}
}

// end counts a connection out. What was counted of its bytes while it was open is not counted again.
func (l *Live) end(r *Record) {
	l.edge.mu.Lock()
	defer l.edge.mu.Unlock()
	delete(l.edge.open, l)
	l.tell(r.Received, r.Sent)
	if failed(r) {
		l.edge.failures.Add(1)
	}
}

// tell counts bytes of a connection up to the given totals. The edge's mu is held.
func (l *Live) tell(received, sent int64) {
	l.edge.received.Add(uint64(max(received-l.received, 0)))
	l.edge.sent.Add(uint64(max(sent-l.sent, 0)))
	l.received, l.sent = max(received, l.received), max(sent, l.sent)
}

func (e *edge) count(r *Record) {
	if failed(r) {
		e.failures.Add(1)
	}
	e.received.Add(uint64(max(r.Received, 0)))
	e.sent.Add(uint64(max(r.Sent, 0)))
	if r.HTTP == nil { // a connection that reached no endpoint
		e.opened.Add(1)
		return
	}
	class := traffic.NoAnswer
	if r.Code >= 100 && r.Code < 600 {
		class = r.Code / 100
	}
	e.responses[class].Add(1)
	if r.Tries > 1 {
		e.retries.Add(uint64(r.Tries - 1))
	}
	if r.Flags != "" && (strings.Contains(r.Flags, "UT") || strings.Contains(r.Flags, "DT") || strings.Contains(r.Flags, "SI")) {
		e.timeouts.Add(1)
	}
	e.latency[traffic.Bucket(r.Duration)].Add(1)
}

// drain gives what was counted since the last time.
func (e *edge) drain() (s traffic.Sample) {
	e.mu.Lock()
	for l := range e.open {
		if l.moved != nil {
			l.tell(l.moved())
		}
	}
	s.Open = uint64(len(e.open))
	e.mu.Unlock()
	for i := range e.responses {
		s.Responses[i] = e.responses[i].Swap(0)
	}
	s.Failures, s.Retries, s.Timeouts, s.Opened = e.failures.Swap(0), e.retries.Swap(0), e.timeouts.Swap(0), e.opened.Swap(0)
	s.Received, s.Sent = e.received.Swap(0), e.sent.Swap(0)
	for i := range e.latency {
		if e.latency[i].Load() != 0 {
			s.Latency[i] = e.latency[i].Swap(0)
		}
	}
	return s
}

// of gives the edge of a call.
func (e *Edges) of(r *Record) *edge {
	k := edgeKey{http: r.HTTP, tcp: r.TCP, cluster: r.Cluster, route: r.Route, noTLS: r.NoTLS}
	switch {
	case r.Peer != nil && r.Peer.Pod != "":
		k.pod = r.Peer.Pod
	case r.Reporter == Destination:
		k.addr = r.Client.Addr().Unmap()
	default:
		k.addr = r.Endpoint.Addr().Unmap()
	}
	known := e.known()
	if found := known[k]; found != nil {
		return found
	}
	if len(known) >= maxEdges {
		if found := known[k.beyond(r)]; found != nil {
			return found
		}
	}
	return e.add(k, r)
}

func (e *Edges) known() map[edgeKey]*edge {
	if all := e.all.Load(); all != nil {
		return *all
	}
	return nil
}

// beyond is the key of what counts for this one where there are too many.
func (k *edgeKey) beyond(r *Record) edgeKey {
	other := edgeKey{cluster: traffic.OtherName, pod: string(r.Reporter), noTLS: k.noTLS}
	switch {
	case r.HTTP == nil:
		other.route = traffic.TCP
	case r.HTTP.protocol == traffic.GRPC:
		other.route = traffic.GRPC
	default:
		other.route = traffic.HTTP
	}
	return other
}

func (e *Edges) add(k edgeKey, r *Record) *edge {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, name := e.known(), nameEdge(r)
	if found := known[k]; found != nil {
		return found
	}
	if len(known) >= maxEdges {
		if k = k.beyond(r); known[k] != nil {
			return known[k]
		}
		name = name.Other()
	}
	grown := make(map[edgeKey]*edge, len(known)+1)
	maps.Copy(grown, known)
	grown[k] = &edge{name: name}
	e.all.Store(&grown)
	return grown[k]
}

// nameEdge says in names what the key of a call stands for.
func nameEdge(r *Record) traffic.Edge {
	labels, protocol := "", traffic.TCP
	switch {
	case r.HTTP != nil:
		labels, protocol = r.HTTP.labels, r.HTTP.protocol
	case r.TCP != nil:
		labels = r.TCP.labels
	}
	e := traffic.Edge{
		Direction: traffic.Outbound, Service: serviceOf(labels), Route: r.Route, Backend: r.Cluster, Protocol: protocol, NoTLS: r.NoTLS,
	}
	side, at := "destination", r.Endpoint
	if r.Reporter == Destination {
		e.Direction, side, at = traffic.Inbound, "source", r.Client
	}
	if r.Peer != nil {
		e.Peer = traffic.Peer{Cluster: r.Peer.Cluster, Namespace: r.Peer.Namespace, Workload: r.Peer.Name, Pod: r.Peer.Pod}
	}
	if principal := labelOf(labels, side+"_principal"); principal != "unknown" && (r.NoTLS == "" || side == "source") {
		e.Peer.Identity = principal
	}
	if e.Peer.Workload == "" && at.IsValid() {
		e.Peer.Address = at.Addr().Unmap().String()
	}
	return e
}

// serviceOf is the service that a series is about: "name.namespace", or a host.
func serviceOf(labels string) string {
	name, namespace := labelOf(labels, "destination_service_name"), labelOf(labels, "destination_service_namespace")
	if name != "" && name != "unknown" && namespace != "unknown" {
		return name + "." + namespace
	}
	if host := labelOf(labels, "destination_service"); host != "unknown" {
		return host
	}
	return ""
}

// Report gives what was counted since the last report, and begins anew. It is for one reader.
func (e *Edges) Report(now time.Time) *traffic.Report {
	e.mu.Lock()
	defer e.mu.Unlock()
	var rows []traffic.Row
	e.gone = slices.DeleteFunc(e.gone, func(late *edge) bool {
		s := late.drain()
		if !s.IsZero() {
			rows = append(rows, traffic.Row{Edge: late.name, Sample: s})
		}
		return s.IsZero()
	})
	known, kept := e.known(), map[edgeKey]*edge{}
	for k, counted := range known {
		s := counted.drain()
		counted.quiet++
		if !s.IsZero() {
			counted.quiet = 0
			rows = append(rows, traffic.Row{Edge: counted.name, Sample: s})
		}
		if counted.quiet < quietReports {
			kept[k] = counted
		} else {
			e.gone = append(e.gone, counted)
		}
	}
	if len(kept) != len(known) {
		e.all.Store(&kept)
	}
	r := &traffic.Report{Milliseconds: uint64(max(now.Sub(e.reported), 0).Milliseconds())}
	e.reported = now
	rows, lost := traffic.Fold(rows, traffic.MaxEdges)
	r.Rows, r.Folded = rows, uint64(lost)
	return r
}
