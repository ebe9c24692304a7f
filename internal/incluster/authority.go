package incluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/ca"
)

const (
	// pollPeriod is how often the Secrets are read: two small requests per replica, and no permission to watch Secrets.
	// It is short, because the replicas of a rollout may sign with a new CA before older ones have heard of it.
	pollPeriod = 10 * time.Second
	// overlap is how long a new root is handed out before anything is signed below it. Within this time every replica
	// must have read the Secret, every sidecar must have got the roots, and the kubelets must have refreshed the
	// projected ConfigMaps, which takes them a minute or two.
	overlap = 5 * time.Minute
	// expiryWarning is how long before its end a CA certificate is complained about, or a third of its life where that
	// is shorter.
	expiryWarning = 90 * 24 * time.Hour
)

// AuthorityOptions configure an Authority.
type AuthorityOptions struct {
	// Client and Namespace say where the Secrets are. Required.
	Client    *Client
	Namespace string
	// CA has the trust domain, the validity of certificates, and the logger, which is required.
	CA ca.Options
}

// Authority gets the CA from the cluster's Secrets and follows their changes. Its methods are not for concurrent use.
type Authority struct {
	o AuthorityOptions

	// found is the CA as the Secrets have it and next, if any, the one that takes its place at due. given is what was
	// last given out: found with the roots of next and retired.
	found, next, given *ca.CA
	due                time.Time
	retired            []retiredRoots
	// warned is the serial number of the certificate whose near end has been logged.
	warned string
}

// retiredRoots are trusted until the last certificate below them has ended.
type retiredRoots struct {
	pem   []byte
	until time.Time
}

// NewAuthority checks the options. It sends nothing.
func NewAuthority(o AuthorityOptions) (*Authority, error) {
	if o.Client == nil || o.CA.Logger == nil || o.Namespace == "" {
		return nil, errors.New("CA in the cluster: Client, Namespace and CA.Logger are required")
	}
	o.CA.TTL = cmp.Or(o.CA.TTL, ca.DefaultTTL)
	return &Authority{o: o}, nil
}

// LoadOrCreate gives the CA of the Secret cacerts, else that of the Secret fairlead-ca, which it makes where there is
// none: of several replicas that start at once, all get the same. Whatever keeps it from doing so is logged and tried
// again, so that what a user corrects needs no restart. Its only error is that ctx ended.
func (a *Authority) LoadOrCreate(ctx context.Context) (*ca.CA, error) {
	log := a.o.CA.Logger
	again := retry{say: func(ctx context.Context, err error) {
		log.LogAttrs(ctx, slog.LevelError, "no usable CA yet, trying again", slog.Any("error", err))
	}}
	for {
		ca, err := a.find(ctx)
		if err == nil {
			a.found, a.given = ca, ca
			log.LogAttrs(ctx, slog.LevelInfo, "CA in use", attrs(ca)...)
			a.warn(ctx)
			return ca, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		again.report(ctx, err)
		if !again.pause(ctx) {
			return nil, ctx.Err()
		}
	}
}

// Run follows the Secrets after LoadOrCreate and calls use with each CA that takes the place of the former one, until
// ctx ends, which is its only way to return. Other roots are in force at once. Another signer comes in three steps, so
// that no call fails: its root is handed out, five minutes later it signs, and the roots of the former one are given up
// when the last certificate below them has ended. Secrets that are not usable are logged and change nothing.
func (a *Authority) Run(ctx context.Context, use func(*ca.CA)) error {
	again := retry{say: func(ctx context.Context, err error) {
		a.o.CA.Logger.LogAttrs(ctx, slog.LevelError, "cannot read the CA anew, the former one stays in use", slog.Any("error", err))
	}}
	for sleep(ctx, pollPeriod) {
		ca, err := a.find(ctx)
		switch {
		case err == nil:
			again.reset()
			a.step(ctx, ca, time.Now())
		case ctx.Err() == nil:
			again.report(ctx, err)
		}
		if given := a.compose(ctx, time.Now()); !same(given, a.given) {
			a.given = given
			use(given)
		}
		a.warn(ctx)
	}
	return ctx.Err()
}

// step takes in what the Secrets hold now.
func (a *Authority) step(ctx context.Context, ca *ca.CA, now time.Time) {
	log := a.o.CA.Logger
	if ca.SameSigner(a.found) {
		if a.next != nil {
			log.LogAttrs(ctx, slog.LevelInfo, "the new CA is gone again, the former one stays in use", attrs(ca)...)
		} else if !same(ca, a.found) {
			log.LogAttrs(ctx, slog.LevelInfo, "roots changed", attrs(ca)...)
		}
		a.found, a.next = ca, nil
		return
	}
	if a.next == nil || !a.next.SameSigner(ca) {
		a.due = now.Add(overlap)
		if end := a.found.Signer().NotAfter; end.Before(a.due) { // it could not sign that long
			a.due = now
		}
		log.LogAttrs(ctx, slog.LevelInfo, "new CA found, its roots are handed out before it signs",
			append(attrs(ca), slog.Time("signs_from", a.due))...)
	}
	a.next = ca
	if now.Before(a.due) {
		return
	}
	// Nothing below the former roots lives longer than this.
	a.retired = append(a.retired, retiredRoots{pem: a.found.Roots(), until: now.Add(a.o.CA.TTL)})
	a.found, a.next = ca, nil
	log.LogAttrs(ctx, slog.LevelInfo, "new CA in use, the former roots stay trusted until certificates below them have ended",
		append(attrs(ca), slog.Duration("trusted_for", a.o.CA.TTL))...)
}

// compose gives the CA with all roots that peers must know.
func (a *Authority) compose(ctx context.Context, now time.Time) *ca.CA {
	a.retired = slices.DeleteFunc(a.retired, func(r retiredRoots) bool { return now.After(r.until) })
	ca := a.found
	if a.next != nil {
		ca = a.trustAlso(ctx, ca, a.next.Roots())
	}
	for _, r := range a.retired {
		ca = a.trustAlso(ctx, ca, r.pem)
	}
	return ca
}

func (a *Authority) trustAlso(ctx context.Context, ca *ca.CA, roots []byte) *ca.CA {
	more, err := ca.WithRoots(roots)
	if err != nil {
		a.o.CA.Logger.LogAttrs(ctx, slog.LevelError, "roots not added", slog.Any("error", err))
		return ca
	}
	return more
}

func same(a, b *ca.CA) bool { return a.SameSigner(b) && bytes.Equal(a.Roots(), b.Roots()) }

// attrs describe a CA in the log.
func attrs(ca *ca.CA) []slog.Attr {
	signer := ca.Signer()
	return []slog.Attr{
		slog.String("serial", signer.Serial), slog.Time("not_after", signer.NotAfter), slog.Int("roots", ca.RootCount()),
	}
}

// warn says once that the signer needs a successor.
func (a *Authority) warn(ctx context.Context) {
	signer := a.found.Signer()
	early := min(expiryWarning, signer.NotAfter.Sub(signer.NotBefore)/3)
	if a.warned == signer.Serial || time.Until(signer.NotAfter) > early {
		return
	}
	a.warned = signer.Serial
	a.o.CA.Logger.LogAttrs(ctx, slog.LevelWarn, "CA certificate expires soon, put a new one into the Secret",
		slog.String("serial", signer.Serial), slog.Time("not_after", signer.NotAfter))
}
