package telemetry

import (
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

// Observation is one finished HTTP exchange.
type Observation struct {
	Code                        int
	Flags                       string // Envoy's short flags, "" for none
	GRPCStatus                  string // "" where the response carried none
	Duration                    time.Duration
	RequestBytes, ResponseBytes int64
}

// HTTPScope is the HTTP series with one set of labels.
type HTTPScope struct {
	series
	cells cells
}

// Observe counts one exchange.
func (s *HTTPScope) Observe(o Observation) {
	if !s.active.Load() && !s.registry.http.activate(s) {
		s = s.registry.overflowHTTP(s)
	}
	c := s.cells.of(o)
	c.requests.Add(1)
	c.duration.observe(float64(o.Duration) / float64(time.Millisecond))
	c.reqBytes.observe(float64(o.RequestBytes))
	c.respBytes.observe(float64(o.ResponseBytes))
	s.touch()
	if !s.active.Load() { // it left the scrape between the first line and here
		s.registry.http.restore(s)
	}
}

// TCPScope is the TCP series with one set of labels.
type TCPScope struct {
	series
	spilled atomic.Int64 // open connections that are counted as overflow

	opened, closed, sent, received atomic.Uint64
}

// Opened counts a new connection.
func (s *TCPScope) Opened() {
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
