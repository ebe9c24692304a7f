package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/telemetry"
)

// peerRefusals counts the peers that did not prove who they are, on either end of a mesh connection, and tells the
// operator. A stranger can be refused as often as it likes: of each reason the log gets one line a minute.
type peerRefusals struct {
	metrics *telemetry.Registry
	log     *slog.Logger

	mu   sync.Mutex
	said map[telemetry.Refusal]time.Time // guarded by mu
}

// saidAgain is when a reason that goes on is worth another line.
const saidAgain = time.Minute

// refused takes the error of a handshake with the peer at remote.
func (p *peerRefusals) refused(ctx context.Context, remote string, err error) {
	why := refusal(err)
	p.metrics.Refused(why)
	level := slog.LevelDebug
	if p.due(why) {
		level = slog.LevelWarn
	}
	p.log.LogAttrs(ctx, level, "peer refused", slog.String("remote", remote), slog.String("reason", why.String()), slog.Any("error", err))
}

func (p *peerRefusals) due(why telemetry.Refusal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if last, ok := p.said[why]; ok && now.Sub(last) < saidAgain {
		return false
	}
	if p.said == nil {
		p.said = make(map[telemetry.Refusal]time.Time)
	}
	p.said[why] = now
	return true
}

func refusal(err error) telemetry.Refusal {
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
