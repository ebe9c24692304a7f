package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Mutual TLS to the port of an app whose server is no sidecar of ours: a gRPC library with xDS, or a sidecar of another kind
// (docs/adr/0022-peers-of-other-kinds.md). What is sent inside is what a plain connection would carry: such a peer has proven
// who it is, and knows nothing of the marks between sidecars.

// TakesMutual reports whether the backend's policy has an endpoint that it does not reach by the mesh transport called by mutual
// TLS: because the endpoint takes it, or because a rule demands it.
func TakesMutual(b *plan.Backend, e *plan.Endpoint) bool {
	switch b.TLS.Mode {
	case model.TLSUnset:
		return e.Mutual
	case model.TLSIstioMutual:
		return true
	case model.TLSDisable, model.TLSSimple, model.TLSMutual:
	}
	return false
}

// istioNames are the ALPN names by which Istio's sidecars say that a connection is the mesh's, before the one that the server's
// library knows. alpn is what the proxy will speak, "" for bytes. Whichever of them is chosen, that is what is spoken.
func istioNames(alpn string) []string {
	if alpn == "" {
		return []string{"istio"}
	}
	return []string{"istio-" + alpn, "istio", alpn}
}

// opener opens a connection and secures it, or closes it.
type opener func(context.Context, func(context.Context, net.Conn) (net.Conn, error)) (net.Conn, error)

// proof is who a server must prove to be, and by which name it is asked for where a gateway needs one.
type proof struct{ peer, serverName string }

// openMutual opens a connection by mutual TLS to who must prove to be whom. A server that knows none of Istio's names is asked
// again without any where bytes are meant: it may be one of requests, to which a connection is made in case it speaks first.
func (s *Set) openMutual(ctx context.Context, alpn string, whom proof, open opener) (net.Conn, error) {
	offering := func(names []string) (net.Conn, error) {
		return open(ctx, func(ctx context.Context, conn net.Conn) (net.Conn, error) {
			return s.secureMutual(ctx, conn, names, whom)
		})
	}
	conn, err := offering(istioNames(alpn))
	if err != nil && alpn == "" && knowsNone(err) {
		return offering(nil)
	}
	return conn, err
}

// secureMutual begins mutual TLS on a new connection, which is closed where the server does not prove to be who is expected.
func (s *Set) secureMutual(ctx context.Context, conn net.Conn, offers []string, whom proof) (net.Conn, error) {
	remote := conn.RemoteAddr().String()
	if whom.peer == "" {
		conn.Close()
		return nil, fmt.Errorf("mutual TLS with %s: %w", remote, errNobodyExpected)
	}
	config := s.o.Credentials(whom.peer)
	if config.NextProtos = offers; whom.serverName != "" {
		config.ServerName = whom.serverName
	}
	below := &noticingEnd{Conn: conn}
	secured := tls.Client(below, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		if !knowsNone(err) {
			s.o.Refused(ctx, remote, err)
		}
		return nil, fmt.Errorf("mutual TLS with %s: %w", remote, err)
	}
	return &originConn{Conn: secured, below: below}, nil
}

// knowsNone reports whether a server knows no protocol that was offered: the alert no_application_protocol (RFC 7301 §3.2), of which
// crypto/tls gives nothing but the words.
func knowsNone(err error) bool {
	var alert *net.OpError
	return errors.As(err, &alert) && alert.Op == "remote error" && alert.Err.Error() == "tls: no application protocol"
}

// errNobodyExpected means that there is nobody whom a server could prove to be.
var errNobodyExpected = errors.New("the control plane did not say which identity to expect")

// provenUntil is when the server of a connection stops being who it has proven to be.
func provenUntil(conn net.Conn) time.Time {
	c, ok := conn.(*originConn)
	if !ok {
		return time.Time{}
	}
	state := c.ConnectionState()
	return identity.PeerExpiry(&state)
}

// isExpired reports whether a connection is to take no more requests, for its server's certificate has ended.
func (c *Conn) isExpired(now time.Time) bool { return !c.expires.IsZero() && !now.Before(c.expires) }
