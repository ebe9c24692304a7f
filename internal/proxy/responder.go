package proxy

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// responder carries inbound requests to the workload's app, one at a time.
type responder struct {
	forwarder

	i    *inbound
	addr netip.AddrPort
	conn *upstream.Conn
}

// handle carries one request to the app at addr and answers for it where it does not.
func (r *responder) handle(ctx context.Context, down httpx.ServerExchange, who *caller, addr netip.AddrPort) {
	r.reset(time.Now())
	r.addr = addr
	r.guard.enter(down, r.i.limits.streamIdle())
	req := down.Request()
	r.spells = who.identity != "" && req.Version != httpx.HTTP2
	if r.spells {
		respell(&req.Fields)
	}
	cleanRequest(&req.Fields)
	if len(req.Authority) == 0 && req.Version == httpx.HTTP10 {
		req.Authority = []byte(addr.String()) // what an HTTP/1.1 request must have (RFC 9112 §3.2), as it was dialled
	}
	req.Fields.Del(clientCertField) // only what this sidecar has verified may stand there
	if who.forwarded != "" {
		req.Fields.AddString(clientCertField, who.forwarded)
	}
	port := r.i.port(who, addr)
	err := r.admitted()
	if err == nil {
		err = r.normalize(req, r.i.self.PathMode())
	}
	if err == nil {
		err = r.begin(down)
	}
	if err == nil {
		err = r.carry(ctx, down, who, port.way.Pool)
	}
	out := r.conclude(down, err, who.identity != "")
	p := r.i.parties(who, port)
	r.record(r.i.sinks, req, out, &p)
	r.finish(down)
	r.guard.leave()
}

// admitted says why the request is not to begin; a caller's sidecar may try another endpoint.
func (r *responder) admitted() error {
	if err := r.i.overload.request(); err != nil {
		return &tryError{failure: unsent, err: err}
	}
	return nil
}

// carry sends the request to the app, once more on a fresh connection where not a byte of it was written to the first.
// What was written is not sent again from here: whether that is safe, and wanted, the caller's sidecar decides by its
// route's policy, which this one does not know. A caller without a sidecar has no policy; for it, what the app has
// disowned is sent once more.
func (r *responder) carry(ctx context.Context, down httpx.ServerExchange, who *caller, p *upstream.Pool) error {
	err := r.attempt(ctx, down, p, upstream.Pooled)
	if err == nil || !r.replayable() || r.wrote {
		return err
	}
	failed := asTry(err)
	if failed == nil {
		return err
	}
	if failed.failure == unsent || failed.failure == disowned && who.identity == "" {
		return r.attempt(ctx, down, p, upstream.Fresh)
	}
	return err
}

func (r *responder) attempt(ctx context.Context, down httpx.ServerExchange, p *upstream.Pool, from upstream.Origin) error {
	up, err := r.open(ctx, down.Request(), p, from)
	if err != nil {
		return &tryError{failure: notConnected, err: &httpx.Error{Kind: httpx.UpstreamConnectFailure, Object: p.Addr().String(), Err: err}}
	}
	r.guard.watch(down, up, r.start)
	err = r.send(down, up)
	if err == nil || r.asked && !isFinal(err) {
		if rerr := r.receive(down, up); rerr != nil {
			err = errors.Join(err, rerr)
		} else {
			err = nil
		}
	}
	if err == nil {
		r.headAt = time.Now()
		err = r.reply(down, up)
	} else {
		err = r.broken(p, err)
	}
	r.settle(inUse{exchange: up, conn: r.conn, pool: p}, err)
	r.conn = nil
	return err
}

func (r *responder) broken(p *upstream.Pool, err error) error {
	if large := responseTooLarge(err); large != nil {
		return large
	}
	if still := r.stoodStill(err); still != nil {
		return still
	}
	f := classify(err)
	if f == final {
		return err
	}
	return &tryError{failure: f, err: &httpx.Error{Kind: httpx.UpstreamReset, Object: p.Addr().String(), Err: err}}
}

func (r *responder) open(ctx context.Context, req *httpx.Request, p *upstream.Pool, from upstream.Origin) (httpx.ClientExchange, error) {
	if req.Version == httpx.HTTP2 {
		return p.OpenHTTP2(ctx, upstream.ConnectTimeout)
	}
	conn, err := p.Get(ctx, from)
	if err != nil {
		return nil, err
	}
	r.conn = conn
	return conn.Exchange()
}

// conclude answers a request that was not answered. A caller in the mesh is told what its sidecar may make of it.
func (r *responder) conclude(down httpx.ServerExchange, err error, mesh bool) httpx.Outcome { //nolint:revive // mesh is a fact about the caller
	if err == nil {
		return httpx.Outcome{Status: r.resp.Status}
	}
	out := httpx.Describe(err)
	r.complain(err)
	if r.wrote || isDownstream(err) {
		r.breakOff(down, err)
		return out
	}
	mark, cause := "", ""
	if mesh {
		mark, cause = markOf(err), causeOf(err)
	}
	if aerr := r.localReply(down, out, mark, cause); aerr != nil {
		down.Abort(aerr)
	}
	out.Status = r.resp.Status
	return out
}

// complain tells the operator once which rule the app's responses break: the caller's side is often another team's.
func (r *responder) complain(err error) {
	var rule *h1.Error
	if errors.As(err, &rule) && rule.Status == 502 && r.i.said.first(r.addr.Port(), rule.Reason) {
		r.i.log.Warn("response of the app refused", slog.Int("port", int(r.addr.Port())), slog.Any("error", rule))
	}
}

// clientCert is the X-Forwarded-Client-Cert value for a peer (Envoy's format: By, Hash, Subject, URI).
func (i *inbound) clientCert(cs *tls.ConnectionState, id string) string {
	sum := sha256.Sum256(cs.PeerCertificates[0].Raw)
	return "By=" + i.self.Identity() + ";Hash=" + hex.EncodeToString(sum[:]) + `;Subject="";URI=` + id
}
