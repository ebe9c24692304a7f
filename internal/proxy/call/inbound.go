package call

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/filter"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
	"fairlead.dev/fairlead/internal/traffic"
)

// Incoming is what all calls to the workload share.
type Incoming struct {
	Common

	Self      *directory.Self
	Upstreams *upstream.Set
	Asker     *directory.Asker
	Metrics   *telemetry.Registry
	Log       *slog.Logger
	Said      refusals // what the log says of which port
	// run starts a goroutine that the proxy joins.
	Run func(func(context.Context))
}

// What Port says as the side of a call: a caller calls a port of the workload.

// prepare implements side.
func (p *Port) prepare(c *Call) {
	req := c.down.Request()
	c.view.Client = p.who.Remote.Addr()
	c.spells = p.who.Sidecar && req.Version != httpx.HTTP2
	if c.spells {
		respell(&req.Fields)
	}
	if c.tells = p.who.Sidecar; c.tells {
		c.once = c.Common.Chains.hear(&req.Fields, c.start)
	}
	cleanRequest(&req.Fields)
	cleanWishes(&req.Fields)
	if len(req.Authority) == 0 && req.Version == httpx.HTTP10 {
		req.Authority = []byte(p.Addr.String()) // what an HTTP/1.1 request must have (RFC 9112 §3.2), as it was dialled
	}
	if c.trace = p.i.Traces.Begin(&req.Fields); c.trace.Traced() {
		c.identify(req)
		c.trace.Serve(&p.i.Tracer.Serving)
		c.trace.Try(&req.Fields, c.start)
	}
	req.Fields.Del(clientCertField) // only what this sidecar has verified may stand there
	if p.who.Forwarded != "" {
		req.Fields.AddString(clientCertField, p.who.Forwarded)
	}
}

// decide implements side: all requests go to the app, as far as the limits of its port let them in.
func (p *Port) decide(ctx context.Context, c *Call) (answered bool, err error) { //nolint:unparam // the other side has answers of its own
	c.limits.deadline, _ = grpcDeadline(c.down.Request())
	if err := c.begin(c.down); err != nil {
		return false, err
	}
	c.view.AppLimits, c.view.App, c.view.Timeout = p.Pool.Limits(), p.cluster, c.limits.deadline
	if err := p.i.Filters.Request(ctx, filter.Held, &c.view); err != nil {
		return false, &tryError{failure: turnedAway, err: err} // a caller's sidecar may try another endpoint
	}
	return false, nil
}

// next implements side.
func (p *Port) next(_ context.Context, c *Call) (destined, error) { //nolint:unparam // the other side may have nowhere to go
	c.tries++
	return destined{way: p.Way, addr: p.Addr, connect: p.Connect()}, nil
}

// again implements side: once more, on a fresh connection, where not a byte of the request was written to the first, unless the
// mesh or the caller's route does not want it.
// What was written is not sent again from here: whether that is safe, and wanted, the caller's sidecar decides by its
// route's policy, which this one does not know. A caller without a sidecar has no policy; for it, what the app has
// disowned is sent once more.
func (p *Port) again(c *Call, failed *tryError) error {
	if c.tries > 1 || c.once || c.wrote || !c.replayable() || !p.i.Self.RetriesInbound() {
		return failed
	}
	if failed.failure == unsent || failed.failure == disowned && !p.who.Sidecar {
		return nil
	}
	return failed
}

// parties implements side.
func (p *Port) parties(c *Call, when moment) parties {
	if when == atBegin {
		h := hop{mutual: p.who.Identity != ""}
		if !h.mutual {
			h.noTLS = traffic.NotProvidedByRemote
		}
		return parties{
			reporter: telemetry.Destination, client: p.who.Remote, dialled: p.Addr, endpoint: p.Addr, cluster: p.cluster, route: "default", hop: h,
		}
	}
	s := p.i.Scopes(p) // from now on the caller has its name
	var host string
	if c.trace.Reports() {
		host = string(p.i.Self.Port(p.Addr.Port()).Host)
	}
	return parties{
		host: host, port: p.Addr.Port(),
		reporter: telemetry.Destination, client: p.who.Remote, dialled: p.Addr, endpoint: p.Addr,
		cluster: p.cluster, route: "default", http: s.http, grpc: s.grpc, tries: c.tries, self: p.i.Self, hop: p.who.hop(),
	}
}

// explain implements side: a caller in the mesh is told what its sidecar may make of it, and the operator once which rule
// the app's responses break, for the caller's side is often another team's.
func (p *Port) explain(err error) (mark, cause string) {
	var rule *h1.Error
	if errors.As(err, &rule) && rule.Status == 502 && p.i.Said.First(p.Addr.Port(), rule.Reason) {
		p.i.Log.Warn("response of the app refused", slog.Int("port", int(p.Addr.Port())), slog.Any("error", rule))
	}
	if !p.who.Sidecar {
		return "", ""
	}
	return markOf(err), causeOf(err)
}

// ClientCert is the X-Forwarded-Client-Cert value for a peer (Envoy's format: By, Hash, Subject, URI).
func (i *Incoming) ClientCert(cs *tls.ConnectionState, id string) string {
	sum := sha256.Sum256(cs.PeerCertificates[0].Raw)
	return "By=" + i.Self.Identity() + ";Hash=" + hex.EncodeToString(sum[:]) + `;Subject="";URI=` + id
}

// refusals remembers what was said of which port, so that a caller who tries again and again does not fill the log.
type refusals struct {
	mu   sync.Mutex
	said map[uint16]string // at most maxRefusals
}

// maxRefusals bounds what a port scan can make us keep.
const maxRefusals = 256

// First reports whether this is the first time, for the port, that why is said.
func (r *refusals) First(port uint16, why string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said[port] == why {
		return false
	}
	if r.said == nil || len(r.said) >= maxRefusals {
		r.said = make(map[uint16]string)
	}
	r.said[port] = why
	return true
}
