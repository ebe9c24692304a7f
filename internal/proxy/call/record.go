package call

import (
	"cmp"
	"net/netip"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/telemetry"
	"fairlead.dev/fairlead/internal/traffic"
)

// parties are who and what an exchange was between. They are all that the two sides' records differ in.
type parties struct {
	reporter                  telemetry.Reporter
	client, dialled, endpoint netip.AddrPort
	cluster, route            string
	stat                      telemetry.RouteName
	http, grpc                *telemetry.HTTPScope // nil where it is not counted
	tries                     int
	trace                     telemetry.Trace
	number                    uint64 // of the record
	host                      string // what was called, "" where that is not known
	port                      uint16
	self                      *directory.Self // who this sidecar is, nil where there is no hop with mutual TLS
	onward                    httpx.Version   // of the latest try, 0 where it had no way to go
	hop
}

// hop is what is known of the other side.
type hop struct {
	peer   *plan.WorkloadInfo // nil where it is not known
	mutual bool               // it was secured by the mesh
	noTLS  string             // why not
	proven string             // the SPIFFE ID that the other side has proved, "" for none
}

// hopTo is the hop to an endpoint.
func hopTo(e *directory.Endpoint) (h hop) {
	if e.Plan.Workload.Pod != "" {
		h.peer = &e.Plan.Workload
	}
	switch {
	case e.Attachment.Mutual():
		h.mutual, h.proven = true, e.Plan.Identity
	case e.Plan.Identity != "":
		h.noTLS = traffic.Disabled
	default:
		h.noTLS = traffic.NotProvidedByServiceDiscovery
	}
	return h
}

// hop is the hop from a caller, whose name must be there if it will be.
func (c *Caller) hop() (h hop) {
	if c.info.Name != "" {
		h.peer = &c.info
	}
	h.proven = c.Identity
	if h.mutual = c.Identity != ""; !h.mutual {
		h.noTLS = traffic.NotProvidedByRemote
	}
	return h
}

// moment is when it is asked between whom a call is.
type moment uint8

const (
	atBegin moment = iota + 1
	atEnd
)

// begun tells who wants to hear of it that the request is about to be sent for the first time.
func (c *Call) begun() {
	if c.number != 0 || c.tries > 1 || !c.Common.Beginner.Wants() {
		return
	}
	p := c.Side.parties(c, atBegin)
	req := c.down.Request()
	c.rec = telemetry.Record{
		Reporter: p.reporter, Start: c.start, HeadAfter: -1, Client: p.client, Dialled: p.dialled, Endpoint: p.endpoint, Cluster: p.cluster,
		Route: p.route, Protocol: req.Version.String(), Method: req.Method, Path: req.Path, Authority: req.Authority, Scheme: req.Scheme,
		Header: &req.Fields, Received: c.received, MutualTLS: p.mutual, NoTLS: p.noTLS, Trace: c.trace.Record(),
	}
	c.number = c.Common.Beginner.Begun(&c.rec)
	c.rec = telemetry.Record{}
}

// reset begins an exchange: nothing has become of it yet.
func (f *forwarder) reset(start time.Time) {
	f.start, f.headAt = start, time.Time{}
	f.received, f.sent, f.wrote, f.grpcStatus = 0, 0, false, ""
	f.requested, f.answered = messages{}, messages{}
	f.tells, f.retried = false, false
	f.resp.Reset()
	f.trailers.Reset()
}

// record tells the sinks what became of an exchange.
func (f *forwarder) record(sinks telemetry.Sinks, req *httpx.Request, out httpx.Outcome, p *parties) {
	grpc, status := f.grpcOutcome(req)
	f.rec = telemetry.Record{
		Reporter: p.reporter, Start: f.start, Duration: time.Since(f.start), HeadAfter: -1,
		Client: p.client, Dialled: p.dialled, Endpoint: p.endpoint, Cluster: p.cluster, Route: p.route, Stat: p.stat,
		Protocol: req.Version.String(), Method: req.Method, Path: req.Path, Authority: req.Authority, Scheme: req.Scheme, Header: &req.Fields, Answer: &f.resp.Fields,
		Code: out.Status, Flags: out.Flag, Details: cmp.Or(out.Details, "via_upstream"), Cause: out.Body, GRPCStatus: status,
		Received: f.received, Sent: f.sent, HTTP: p.http, Tries: p.tries, Peer: p.peer, MutualTLS: p.mutual, NoTLS: p.noTLS,
		Trace: p.trace, Host: p.host, Port: p.port, RequestMessages: f.requested.n, ResponseMessages: f.answered.n, Number: p.number,
	}
	if grpc {
		f.rec.HTTP = p.grpc
	}
	if p.onward != 0 {
		f.rec.Onward = p.onward.String()
	}
	// An endpoint that could not be reached has proved nothing.
	if p.mutual && p.self != nil && (p.onward != 0 || p.reporter == telemetry.Destination) {
		f.rec.Own, f.rec.Proven = p.self.Identity(), p.proven
	}
	if f.trailers.Len() > 0 {
		f.rec.Trailer = &f.trailers
	}
	if !f.headAt.IsZero() {
		f.rec.HeadAfter = f.headAt.Sub(f.start)
	}
	sinks.Record(&f.rec)
	f.rec = telemetry.Record{} // nothing of it is kept
}

// recordTry has a span made of a try that another one follows. What is recorded of the call as a whole is of the latest.
func (c *Call) recordTry(failed *tryError) {
	p := c.Side.parties(c, atEnd)
	if p.reporter != telemetry.Source {
		return // the app is called for one span, however often
	}
	out := httpx.Describe(failed.err)
	if c.outcome.Kind == lb.Answered {
		out = httpx.Outcome{Status: c.resp.Status}
	}
	req := c.down.Request()
	_, status := c.grpcOutcome(req)
	t := c.trace.Record()
	r := telemetry.Record{
		Reporter: p.reporter, Start: t.Began, Duration: time.Since(t.Began), HeadAfter: -1, Client: p.client, Dialled: p.dialled,
		Endpoint: p.endpoint, Cluster: p.cluster, Route: p.route, Protocol: req.Version.String(), Method: req.Method, Path: req.Path,
		Authority: req.Authority, Scheme: req.Scheme, Header: &req.Fields, Code: out.Status, Flags: out.Flag, GRPCStatus: status, Tries: p.tries,
		Trace: t, Host: p.host, Port: p.port,
	}
	c.Common.Tracer.Record(&r)
}

// InboundCluster is how Istio calls the app behind a port.
func InboundCluster(addr netip.AddrPort) string {
	return "inbound|" + strconv.Itoa(int(addr.Port())) + "||"
}

// OpaqueRecord is the record of an inbound connection that is not HTTP, and begins now.
func OpaqueRecord(who *Caller, dst netip.AddrPort) *telemetry.Record {
	return &telemetry.Record{
		Reporter: telemetry.Destination, Start: time.Now(), HeadAfter: -1, Client: who.Remote, Dialled: dst, Cluster: InboundCluster(dst),
	}
}
