package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/telemetry"
)

// refusalLog counts the connections that were refused before they carried anything, and tells the operator. A stranger
// can be refused as often as it likes: of each reason the log gets one line a minute.
type refusalLog struct {
	metrics *telemetry.Registry
	log     *slog.Logger
	// own is what a peer sees of the workload's certificate.
	own func() ownCertificate

	mu   sync.Mutex
	said map[telemetry.Refusal]time.Time // guarded by mu
}

// ownCertificate is what there is to say where a peer does not accept it: TLS does not tell whether for its root or for its time.
type ownCertificate struct {
	root, domain, cluster string
	notBefore, notAfter   time.Time
}

// ownCertificateOf tells that of a proxy's workload.
func ownCertificateOf(p *Proxy) func() ownCertificate {
	return func() ownCertificate {
		c := p.identity.Current()
		return ownCertificate{p.identity.Root(), c.TrustDomain, p.self.Place().Cluster, c.NotBefore, c.NotAfter}
	}
}

// explain says what to look at in the cluster of the peer.
func (c ownCertificate) explain(err error, now time.Time) error {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	return fmt.Errorf("%w: the peer does not accept the certificate of this workload, whose root is %s of cluster %q: is it trusted in the peer's cluster, for trust domain %s? "+
		"It is valid from %s to %s, the clock here says %s: does the peer's?", err, c.root, c.cluster, c.domain, stamp(c.notBefore), stamp(c.notAfter), stamp(now))
}

// saidAgain is when a reason that goes on is worth another line.
const saidAgain = time.Minute

// count notes a refusal and gives the level at which it is to be logged.
func (r *refusalLog) count(why telemetry.Refusal) slog.Level {
	r.metrics.Refused(why)
	if r.due(why) {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// peer notes a peer that did not prove who it is, on either end of a mesh connection.
func (r *refusalLog) peer(ctx context.Context, remote string, err error) {
	why := peerRefusal(err)
	if identity.RefusedByPeer(err) {
		err = r.own().explain(err, time.Now())
	}
	r.log.LogAttrs(ctx, r.count(why), "peer refused",
		slog.String("remote", remote), slog.String("reason", why.String()), slog.Any("error", err))
}

// notRedirected notes a connection to a port of the sidecar that takes redirected ones only.
func (r *refusalLog) notRedirected(ctx context.Context, err error) {
	r.log.LogAttrs(ctx, r.count(telemetry.OwnPort), "connection refused", slog.Any("error", err))
}

// misdirected notes an inbound connection that is none to the workload.
func (r *refusalLog) misdirected(ctx context.Context, why telemetry.Refusal, remote, dst netip.AddrPort) {
	r.log.LogAttrs(ctx, r.count(why), "inbound connection refused",
		slog.String("remote", remote.String()), slog.String("destination", dst.String()), slog.String("reason", why.String()))
}

// tooMany notes a connection for which there is no room.
func (r *refusalLog) tooMany(ctx context.Context, conn net.Conn) {
	r.log.LogAttrs(ctx, r.count(telemetry.TooMany), "too many connections", slog.String("remote", conn.RemoteAddr().String()))
}

// abusive notes a connection of an address so many of whose connections wait for their turn that it cannot.
func (r *refusalLog) abusive(ctx context.Context, conn net.Conn) {
	r.log.LogAttrs(ctx, r.count(telemetry.Abuse), "too many connections of a client that was told to calm down",
		slog.String("remote", conn.RemoteAddr().String()))
}

// slowed notes that the connections of an address have to wait from now on.
func (r *refusalLog) slowed(ctx context.Context, remote netip.AddrPort) {
	level := slog.LevelDebug
	if r.due(telemetry.Abuse) {
		level = slog.LevelWarn
	}
	r.log.LogAttrs(ctx, level, "client told to calm down, its next connections are accepted slowly", slog.String("remote", remote.String()))
}

func (r *refusalLog) due(why telemetry.Refusal) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if last, ok := r.said[why]; ok && now.Sub(last) < saidAgain {
		return false
	}
	if r.said == nil {
		r.said = make(map[telemetry.Refusal]time.Time)
	}
	r.said[why] = now
	return true
}

func peerRefusal(err error) telemetry.Refusal {
	var peer *identity.PeerError
	switch {
	case !errors.As(err, &peer):
		return telemetry.FailedHandshake
	case errors.Is(err, identity.ErrNoCertificate):
		return telemetry.NoCertificate
	case errors.Is(err, identity.ErrForeignDomain):
		return telemetry.ForeignTrustDomain
	case errors.Is(err, identity.ErrWrongIdentity):
		return telemetry.WrongIdentity
	}
	return telemetry.UntrustedCertificate
}
