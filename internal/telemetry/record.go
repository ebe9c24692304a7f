package telemetry

import (
	"fmt"
	"net/netip"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// Record is what became of one call, an HTTP exchange or an opaque connection, as one sidecar saw it. The byte slices and
// Header belong to the call: a sink copies what it keeps.
type Record struct {
	// Reporter is the side of the call that this sidecar is on.
	Reporter Reporter
	Start    time.Time
	// Duration is until the end of the call, HeadAfter until the head of the answer came from upstream; negative where
	// none came.
	Duration, HeadAfter time.Duration

	// Client is where the call came from, Dialled the address that it was to, Endpoint what it was sent to: the zero value
	// where it was not.
	Client, Dialled, Endpoint netip.AddrPort
	// Cluster and Route are the names of the backend and of the route that were chosen; empty for none.
	Cluster, Route string
	// Stat is what the route counts its requests under.
	Stat RouteName

	// Protocol is the request's, such as "HTTP/1.1"; empty for an opaque connection, as is all that follows but Flags,
	// Details and Failure.
	Protocol                string
	Method, Path, Authority []byte
	// Scheme is what the request's head says, empty for nothing: see ClientScheme.
	Scheme []byte
	// Header gives the fields of the request as it was sent on, Answer those of the answer as the client got it. Nil where
	// there is none.
	Header, Answer Header
	// Trailer gives the fields behind the answer's body, nil where there are none.
	Trailer Header

	Code int
	// Flags are Envoy's short ones, Details says the same in Envoy's words, Failure in ours what was wrong with the
	// transport.
	Flags, Details, Failure string
	// Cause says in a sentence what went wrong, as the answer to the client does; empty where the app answered.
	Cause string
	// GRPCStatus is empty where the answer carried none.
	GRPCStatus string

	// Received and Sent count bytes of bodies, or of the connection, from the client and to it.
	Received, Sent int64

	// Tries is how often the request was sent, 0 where it was not.
	Tries int
	// Peer is the workload at the other side, nil where it is not known. It is not changed any more.
	Peer *plan.WorkloadInfo
	// MutualTLS says that the hop was secured by the mesh, NoTLS why it was not, in the words of package traffic. Neither is set
	// where there was no hop.
	MutualTLS bool
	NoTLS     string
	// Own and Proven are the SPIFFE IDs that the two ends of a hop with MutualTLS have proved to each other, this sidecar's and the
	// peer's; empty for none.
	Own, Proven string
	// Onward is the protocol in which the latest try went to the app, or is to go there from the peer's sidecar; empty where there was
	// no way to it.
	Onward string
	// Moved gives the bytes that an opaque connection has carried so far, received and sent; nil where they are known at its
	// end only.
	Moved func() (received, sent int64)

	// Trace is the trace that the call belongs to.
	Trace Trace
	// Host and Port are what was called, as far as that has a name. They are there where a span is made of the call.
	Host string
	Port uint16

	// RequestMessages and ResponseMessages are those of gRPC that went by, in the bodies.
	RequestMessages, ResponseMessages uint64

	// HTTP or TCP are the series that the call is counted in: the names of both sides are theirs. Nil where it is not
	// counted. Of a connection the beginning is counted by CountOpened.
	HTTP   *HTTPScope
	TCP    *TCPScope
	opened *TCPScope // has heard of the connection's beginning

	// Number is what Beginner.Begun gave, 0 for none.
	Number uint64

	live *Live // of an opaque connection of which Edges has heard that it began
}

// Header is the fields of a head.
type Header interface {
	// Get gives the value of the first field of a name, in lower case; nil where there is none.
	Get(name string) []byte
	// Len is the number of fields, At gives one of them.
	Len() int
	At(i int) (name, value []byte)
}

// field gives a field of the request's head, nil where there is none.
func (r *Record) field(name string) []byte {
	if r.Header == nil {
		return nil
	}
	return r.Header.Get(name)
}

// ClientScheme is the scheme that the client used: that of x-forwarded-proto where something before the mesh has ended TLS for it,
// and else that of the request, which is http where the head says none.
func (r *Record) ClientScheme() []byte {
	for _, v := range [2][]byte{r.field("x-forwarded-proto"), r.Scheme} {
		if s := string(v); s == "https" || s == "http" {
			return v
		}
	}
	return []byte("http")
}

// String is for logs and tests.
func (r *Record) String() string {
	what := "connection"
	if r.Protocol != "" {
		what = fmt.Sprintf("%s %s%s", r.Method, r.Authority, r.Path)
	}
	return fmt.Sprintf("%s: %s from %s to %s at %s by %s: %d %s after %s, %d bytes in, %d out",
		r.Reporter, what, r.Client, r.Cluster, r.Endpoint, r.Route, r.Code, r.Flags, r.Duration, r.Received, r.Sent)
}

// Sink takes the record of each call at its end. It must not wait for anything: the client's next request does.
type Sink interface {
	Record(r *Record)
}

// Opener is a sink that wants to hear when an opaque connection begins to be carried. The same record is given to Record at the
// end.
type Opener interface {
	Opened(r *Record)
}

// Beginner wants to hear of requests before they end, now and then.
type Beginner interface {
	// Wants reports whether it does at the moment.
	Wants() bool
	// Begun hears of a request that is about to be sent on for the first time: nothing is known of its answer, and the record is
	// not kept. It gives the number that the record of the end bears, 0 for none.
	Begun(r *Record) uint64
}

// Sinks are told one after the other.
type Sinks []Sink

// Opened tells the sinks that care that an opaque connection has begun, and counts it.
func (s Sinks) Opened(r *Record) {
	for _, sink := range s {
		if o, ok := sink.(Opener); ok {
			o.Opened(r)
		}
	}
}

// Record implements Sink.
func (s Sinks) Record(r *Record) {
	for _, sink := range s {
		sink.Record(r)
	}
}
