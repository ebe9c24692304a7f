package telemetry

import (
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Reporter says which side of a call speaks.
type Reporter string

// The reporters, spelled as the label.
const (
	Source      Reporter = "source"
	Destination Reporter = "destination"
)

// Labels are what is fixed for many requests: who calls whom, and how.
type Labels struct {
	Reporter                              Reporter
	Source, Destination                   plan.WorkloadInfo
	SourcePrincipal, DestinationPrincipal string
	Host                                  model.Hostname
	Service                               model.Key
	// Protocol is request_protocol: "http", "grpc" or "tcp".
	Protocol string
	// MutualTLS says whether the hop was secured; the source reporter always prints "unknown", as Istio does.
	MutualTLS bool
}

// HTTPScope is the HTTP series with one set of labels.
type HTTPScope struct {
	series
	cells      cells
	projection atomic.Pointer[projection] // where it counts instead, by rules
}

// Observe counts one exchange.
func (s *HTTPScope) Observe(r *Record) {
	rules := s.registry.rules.of(s.reporter).Load()
	if rules == nil {
		s.count(r)
		return
	}
	for _, p := range s.projectedBy(rules).in {
		p.count(r)
	}
}

func (s *HTTPScope) count(r *Record) {
	if !s.active.Load() && !s.registry.http.activate(s) {
		s = s.registry.overflowHTTP(s)
	}
	c := s.cells.of(s.group, r)
	c.requests.Add(1)
	if n := c.native; n != nil { // before the classic ones, so that none is ever ahead of these
		n.duration.observe(float64(r.Duration) / float64(time.Millisecond))
		n.reqBytes.observe(float64(r.Received))
		n.respBytes.observe(float64(r.Sent))
	}
	c.duration.observe(float64(r.Duration) / float64(time.Millisecond))
	c.reqBytes.observe(float64(r.Received))
	c.respBytes.observe(float64(r.Sent))
	c.reqMessages.Add(r.RequestMessages)
	c.respMessages.Add(r.ResponseMessages)
	s.touch()
	if !s.active.Load() && s.inForce() { // it left the scrape between the first line and here
		s.registry.http.restore(s)
	}
}

// TCPScope is the TCP series with one set of labels.
type TCPScope struct {
	series
	spilled atomic.Int64 // open connections that are counted as overflow

	// Of one that stands for the scopes of one connection, by rules: those, and nothing else.
	split bool
	parts []*TCPScope

	mu   sync.Mutex
	told struct { // guarded by mu: values of labels that connections said, as far as they are told apart
		rules  *metricRules
		values map[string]struct{}
	}

	opened, closed, sent, received atomic.Uint64
}

// Opened counts a new connection.
func (s *TCPScope) Opened() {
	if s.split {
		for _, p := range s.parts {
			p.Opened()
		}
		return
	}
	if !s.active.Load() && !s.registry.tcp.activate(s) {
		s.spilled.Add(1)
		s.registry.folded.Add(1)
		s = s.registry.overflowTCP(s)
	}
	s.opened.Add(1)
	s.counted()
}

// Closed counts the end of a connection, where its beginning was counted.
func (s *TCPScope) Closed() {
	if s.split {
		for _, p := range s.parts {
			p.Closed()
		}
		return
	}
	for n := s.spilled.Load(); n > 0; n = s.spilled.Load() {
		if s.spilled.CompareAndSwap(n, n-1) {
			s = s.registry.overflowTCP(s)
			break
		}
	}
	s.closed.Add(1)
	s.counted()
}

// Bytes counts bytes as the reporter sees them: received is what the client sent towards the server, sent what
// came back, which is how Istio's istio_tcp_received_bytes_total and _sent_ are meant.
func (s *TCPScope) Bytes(received, sent int64) {
	if s.split {
		for _, p := range s.parts {
			p.Bytes(received, sent)
		}
		return
	}
	if s.spilled.Load() > 0 {
		s = s.registry.overflowTCP(s)
	}
	s.received.Add(uint64(received))
	s.sent.Add(uint64(sent))
	s.counted()
}

func (s *TCPScope) counted() {
	s.touch()
	if !s.active.Load() {
		s.registry.tcp.restore(s)
	}
}
