package observe

import (
	"net/netip"
	"time"
)

// Direction is the side of a call that a sidecar is on.
type Direction string

// The directions of an [Event].
const (
	Inbound  Direction = "inbound"
	Outbound Direction = "outbound"
)

// Event is one HTTP request, from its beginning to its end, as one sidecar saw it.
type Event struct {
	// Begun says that the request goes on: it has taken a second, and another event of the same ID tells of its end.
	Begun bool `json:"begun,omitempty"`
	// Pod is the one whose sidecar it is, "name.namespace"; ID counts the events of one tap in it.
	Pod       string    `json:"pod"`
	ID        uint64    `json:"id"`
	Direction Direction `json:"direction"`
	Start     time.Time `json:"start"`
	// Duration is until the end, HeadAfter until the head of the answer came; negative where none came.
	Duration  time.Duration `json:"duration"`
	HeadAfter time.Duration `json:"headAfter"`
	// Source is the caller, Destination what the request was sent to, or where it was meant to go if it was not sent.
	Source      Peer `json:"source"`
	Destination Peer `json:"destination"`
	// TLS says whether the peer was spoken to by mutual TLS; NoTLS why not, where that is known.
	TLS   bool   `json:"tls"`
	NoTLS string `json:"noTLS,omitempty"`

	Method    string `json:"method"`
	Scheme    string `json:"scheme"`
	Authority string `json:"authority"`
	Path      string `json:"path"`
	// Protocol is such as "HTTP/1.1".
	Protocol string `json:"protocol"`
	// Cluster and Route are the names of the backend and of the route that were chosen.
	Cluster string `json:"cluster,omitempty"`
	Route   string `json:"route,omitempty"`

	// Status is 0 where the client got no answer.
	Status int `json:"status"`
	// GRPCStatus is a number in decimal, empty where the answer carried none.
	GRPCStatus string `json:"grpcStatus,omitempty"`
	// Flags are Envoy's short ones, Cause says in a sentence what went wrong.
	Flags string `json:"flags,omitempty"`
	Cause string `json:"cause,omitempty"`
	// Received and Sent count the bytes of the bodies, from the client and to it.
	Received int64 `json:"received"`
	Sent     int64 `json:"sent"`
	// TraceID and SpanID are the trace that the request belongs to, and the span that it is where one is sent, in hexadecimal
	// digits; empty for none.
	TraceID string `json:"traceId,omitempty"`
	SpanID  string `json:"spanId,omitempty"`

	// RequestHeaders and ResponseHeaders are there where they were asked for.
	RequestHeaders  []HeaderField `json:"requestHeaders,omitempty"`
	ResponseHeaders []HeaderField `json:"responseHeaders,omitempty"`
}

// Failed reports whether the request was answered with an error, by the app or by the sidecar, or was cut off.
func (e *Event) Failed() bool { return e.Status == 0 || e.Status >= 500 || e.Cause != "" }

// Peer is one end of a request.
type Peer struct {
	Addr netip.AddrPort `json:"addr"`
	// Labels say what is at the address: "namespace", "pod", "serviceaccount" and the kind of its workload, as in
	// "deployment". The control plane fills them in; they are nil where it knows nothing there.
	Labels map[string]string `json:"labels,omitempty"`
}

// HeaderField is one field of a head.
type HeaderField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}
