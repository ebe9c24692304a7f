package proxy

import (
	"errors"
	"strconv"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// A peer's sidecar vouches that a stream it sends as opaque holds no requests. It is not believed: what is relayed meets
// no rule of this sidecar, and may hold an X-Forwarded-Client-Cert of the peer's own making.

// errHiddenRequest ends an opaque stream that turns out to be HTTP.
var errHiddenRequest = errors.New("a peer sends HTTP as an opaque stream")

// refusesOpaque says why a port takes no opaque streams, "" where it does.
func refusesOpaque(port plan.InboundPort) string {
	switch port.Protocol {
	case model.HTTP, model.HTTP2, model.GRPC, model.GRPCWeb:
		return "port " + strconv.Itoa(int(port.Port)) + " is declared " + port.Protocol.String() + " and takes requests only"
	case model.Undeclared, model.TCP, model.TLS, model.UDP:
	}
	return ""
}

// vouched is the client's end of an opaque stream to a port whose protocol is not declared.
type vouched struct {
	call.Tunnel

	seen   []byte // of the client's first bytes, while undecided
	server *speaker
	passed bool
}

// speaker is the server's end. One that speaks first is none of HTTP, whatever its client says later.
type speaker struct {
	call.Tunnel

	first  []byte // of its first bytes, while undecided
	heard  bool
	spoken atomic.Bool
}

// vouch puts both ends of an opaque stream under watch.
func vouch(client, server call.Tunnel) (watchedClient, watchedServer call.Tunnel) {
	s := &speaker{Tunnel: server}
	return &vouched{Tunnel: client, server: s}, s
}

// Read gives what the client sent, as long as it cannot be a request.
func (v *vouched) Read(p []byte) (int, error) {
	n, err := v.Tunnel.Read(p)
	if v.passed || n == 0 {
		return n, err
	}
	if v.server.spoken.Load() {
		v.passed, v.seen = true, nil
		return n, err
	}
	v.seen = append(v.seen, p[:min(n, netio.SniffLimit)]...)
	switch netio.Unclaimed.Sniff(v.seen) {
	case netio.HTTP1, netio.HTTP2:
		return 0, errHiddenRequest
	case netio.TLS, netio.Opaque:
		v.passed, v.seen = true, nil
	case netio.NeedMore: // what has come so far is harmless without what may follow
	}
	return n, err
}

// Read gives what the server sent.
func (s *speaker) Read(p []byte) (int, error) {
	n, err := s.Tunnel.Read(p)
	if s.heard || n == 0 {
		return n, err
	}
	s.first = append(s.first, p[:min(n, greetingSize)]...)
	switch netio.SpeaksHTTP(s.first) {
	case netio.NeedMore:
	case netio.HTTP1, netio.HTTP2:
		s.heard, s.first = true, nil
	case netio.TLS, netio.Opaque:
		s.spoken.Store(true)
		s.heard, s.first = true, nil
	}
	return n, err
}
