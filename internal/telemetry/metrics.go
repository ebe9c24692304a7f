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

// Observation is one finished HTTP exchange.
type Observation struct {
	Code                        int
	Flags                       string // Envoy's short flags, "" for none
	GRPCStatus                  string // "" where the response carried none
	Duration                    time.Duration
	RequestBytes, ResponseBytes int64
}

// Registry holds every series of one proxy.
type Registry struct {
	build string // value of istio_build's tag label
	now   func() time.Time

	refused refusals

	mu   sync.Mutex
	http map[string]*HTTPScope
	tcp  map[string]*TCPScope
}

// NewRegistry returns an empty registry; version labels istio_build.
func NewRegistry(version string) *Registry {
	return &Registry{build: version, now: time.Now, http: map[string]*HTTPScope{}, tcp: map[string]*TCPScope{}}
}

// HTTP gives the scope of the labels, the same one for equal labels. It is the slow path: keep the result.
func (r *Registry) HTTP(l Labels) *HTTPScope {
	key := string(appendLabels(nil, l))
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.http[key]
	if s == nil {
		s = &HTTPScope{registry: r, labels: key}
		s.used.Store(r.now().UnixNano())
		r.http[key] = s
	}
	return s
}

// TCP gives the scope for connections with the labels.
func (r *Registry) TCP(l Labels) *TCPScope {
	l.Protocol = "tcp"
	key := string(appendLabels(nil, l))
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.tcp[key]
	if s == nil {
		s = &TCPScope{registry: r, labels: key}
		s.used.Store(r.now().UnixNano())
		r.tcp[key] = s
	}
	return s
}

// HTTPScope is the HTTP series with one set of labels.
type HTTPScope struct {
	registry *Registry
	labels   string
	used     atomic.Int64 // when it was last observed, Unix ns
	dropped  atomic.Bool  // left the registry; the next Observe brings it back
	cells    atomic.Pointer[[]*cell]

	mu sync.Mutex // serialises growing cells
}

// cell is one response code with its flags: a handful per scope, so a linear search beats a map.
type cell struct {
	code        int
	flags, grpc string

	requests                      atomic.Uint64
	duration, reqBytes, respBytes histogram
}

// Observe counts one exchange.
func (s *HTTPScope) Observe(o Observation) {
	c := s.cell(o)
	c.requests.Add(1)
	c.duration.observe(float64(o.Duration) / float64(time.Millisecond))
	c.reqBytes.observe(float64(o.RequestBytes))
	c.respBytes.observe(float64(o.ResponseBytes))
	s.used.Store(s.registry.now().UnixNano())
	if s.dropped.Load() {
		s.registry.revive(s)
	}
}

func (s *HTTPScope) cell(o Observation) *cell {
	if c := find(s.cells.Load(), o); c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.cells.Load()
	if c := find(old, o); c != nil {
		return c
	}
	c := &cell{code: o.Code, flags: o.Flags, grpc: o.GRPCStatus}
	var grown []*cell
	if old != nil {
		grown = append(grown, *old...)
	}
	grown = append(grown, c)
	s.cells.Store(&grown)
	return c
}

func find(cells *[]*cell, o Observation) *cell {
	if cells == nil {
		return nil
	}
	for _, c := range *cells {
		if c.code == o.Code && c.flags == o.Flags && c.grpc == o.GRPCStatus {
			return c
		}
	}
	return nil
}

func (r *Registry) revive(s *HTTPScope) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.dropped.Swap(false) {
		r.http[s.labels] = s
	}
}

// TCPScope is the TCP series with one set of labels.
type TCPScope struct {
	registry *Registry
	labels   string
	used     atomic.Int64

	opened, closed, sent, received atomic.Uint64
}

// Opened counts a new connection.
func (s *TCPScope) Opened() { s.touch(); s.opened.Add(1) }

// Closed counts the end of a connection.
func (s *TCPScope) Closed() { s.touch(); s.closed.Add(1) }

// Bytes counts bytes as the reporter sees them: received is what the client sent towards the server, sent what
// came back, which is how Istio's istio_tcp_received_bytes_total and _sent_ are meant.
func (s *TCPScope) Bytes(received, sent int64) {
	s.touch()
	s.received.Add(uint64(received))
	s.sent.Add(uint64(sent))
}

func (s *TCPScope) touch() { s.used.Store(s.registry.now().UnixNano()) }
