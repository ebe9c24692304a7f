package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// signTimeout bounds one request to the control plane.
	signTimeout = 10 * time.Second
	// minRetry and maxRetry bound the pause after a request that failed. It doubles each time; the maximum is long
	// enough that 1,000 sidecars do not crowd a controller that returns. Towards the end of a certificate it is less.
	minRetry = 200 * time.Millisecond
	maxRetry = 30 * time.Second
	// jitter spreads pauses by a tenth either way, so that workloads started together do not renew together.
	jitter = 0.1
	// clockCheck is how often the wall clock is read while waiting for a renewal. Timers stand still while a machine
	// is suspended, certificates do not.
	clockCheck = time.Minute
)

// SignFunc carries a certificate request (PKCS #10, DER) to the control plane and brings back the chain, leaf first,
// PEM, and whom to trust, which may be empty where that comes by another way (SetTrust).
type SignFunc func(ctx context.Context, csrDER []byte) (chainPEM []byte, said Trust, err error)

// WorkloadOptions configure a Workload.
type WorkloadOptions struct {
	// Sign asks the control plane. Required. It is called from Run only, never twice at once.
	Sign SignFunc
	// ID, where set, is the only identity the workload accepts for itself.
	ID ID
	// Used, where not nil, is given each certificate with its key, and whom to trust, from Run's goroutine before it is in
	// use, and the certificate in use once more when it is to trust others (SetTrust). Its error is that of the rotation, which
	// is tried again, as is what was to be trusted.
	Used func(cert *tls.Certificate, said Trust) error
	// Logger gets one line per rotation and per failure. Required.
	Logger *slog.Logger
}

// Workload holds the identity of one workload: it obtains a certificate, renews it in time, and serves TLS with it.
// The private key is made anew for each certificate and lives in memory only, unless WorkloadOptions.Used keeps it elsewhere.
type Workload struct {
	o         WorkloadOptions
	ready     chan struct{}
	readyOnce sync.Once
	// renew holds one request for an early renewal, trusted the word that others are to be trusted.
	renew, trusted chan struct{}
	// told is the trust that Used was given last. Run's goroutine has it.
	told *trust

	cert  atomic.Pointer[tls.Certificate]
	own   atomic.Pointer[ID] // what cert says
	trust atomic.Pointer[trust]
	// peerDomains are the trust domains whose workloads are peers, beside that of own.
	peerDomains atomic.Pointer[[]string]
	// setting orders writers of trust; readers do not take it.
	setting sync.Mutex
}

// NewWorkload checks the options. Nothing happens before Run.
func NewWorkload(o WorkloadOptions) (*Workload, error) {
	if o.Sign == nil {
		return nil, errors.New("identity: WorkloadOptions.Sign is not set")
	}
	if o.Logger == nil {
		return nil, errors.New("identity: WorkloadOptions.Logger is not set")
	}
	if !o.ID.IsZero() {
		if err := o.ID.Validate(); err != nil {
			return nil, fmt.Errorf("identity: WorkloadOptions.ID: %w", err)
		}
	}
	return &Workload{o: o, ready: make(chan struct{}), renew: make(chan struct{}, 1), trusted: make(chan struct{}, 1)}, nil
}

// Ready is closed when the first certificate and roots are in place.
func (w *Workload) Ready() <-chan struct{} { return w.ready }

// Current describes the certificate in use; the zero value before the first one.
func (w *Workload) Current() CertInfo {
	cert := w.cert.Load()
	if cert == nil {
		return CertInfo{}
	}
	return Describe(cert.Leaf)
}

// Roots describes the roots in use, the mesh's own first, newest first as the control plane sends them. The trust domain of each
// other one is that which it vouches for.
func (w *Workload) Roots() []CertInfo {
	t := w.trust.Load()
	if t == nil {
		return nil
	}
	infos := make([]CertInfo, 0, len(t.own))
	for _, c := range t.own {
		infos = append(infos, Describe(c))
	}
	for _, domain := range slices.Sorted(maps.Keys(t.others)) {
		for _, c := range t.others[domain] {
			info := Describe(c)
			info.TrustDomain = domain
			infos = append(infos, info)
		}
	}
	return infos
}

// AddRoots adds the mesh's own roots to a pool: those that vouch for its control plane.
func (w *Workload) AddRoots(pool *x509.CertPool) {
	if t := w.trust.Load(); t != nil {
		for _, c := range t.own {
			pool.AddCert(c)
		}
	}
}

// SetTrust replaces whom peers are verified against; the bytes are kept. What is not a list of CA certificates is refused and changes nothing. Where
// the own certificate does not chain to the new roots, a new one is asked for at once.
func (w *Workload) SetTrust(said Trust) error {
	w.setting.Lock()
	defer w.setting.Unlock()
	if w.trust.Load().is(&said) {
		return nil
	}
	t, err := newTrust(said)
	if err != nil {
		return err
	}
	w.trust.Store(t)
	poke(w.trusted)
	cert := w.cert.Load()
	if cert == nil {
		return nil
	}
	if _, err := t.verify(chainOf(cert), x509.ExtKeyUsageClientAuth); err != nil {
		w.o.Logger.Warn("own certificate does not chain to the new roots, renewing", slog.Any("error", err))
		poke(w.renew)
	}
	return nil
}

// poke fills a channel of one slot.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// SetPeerDomains replaces the trust domains whose workloads are peers. The workload's own is one in any case.
func (w *Workload) SetPeerDomains(domains []string) {
	domains = slices.Clone(domains)
	w.peerDomains.Store(&domains)
}

// Run obtains the first certificate and then a new one at half of each one's life, until ctx ends, which is its only
// way to return. While the control plane does not answer, the old certificate stays in use.
func (w *Workload) Run(ctx context.Context) error {
	for {
		if !w.obtain(ctx) {
			return ctx.Err()
		}
		now := time.Now()
		due := now.Add(spread(halfLife(now, w.cert.Load().Leaf.NotAfter).Sub(now)))
		if !w.waitUntil(ctx, due) {
			return ctx.Err()
		}
	}
}

// obtain asks until it has a new certificate. It reports false where ctx ended first.
func (w *Workload) obtain(ctx context.Context) bool {
	pause := minRetry
	for attempt := 1; ; attempt++ {
		err := w.rotate(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		wait := spread(pause)
		w.logFailure(ctx, err, attempt, wait)
		pause = min(2*pause, longestPause(w.cert.Load(), time.Now()))
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

// firstRetry bounds the pause while there is no certificate, or one that has ended: so long the workload can call no peer.
const firstRetry = 2 * time.Second

// longestPause is an eighth of the time that the certificate in use has left: a short one must not end in a pause after the
// control plane has come back.
func longestPause(current *tls.Certificate, now time.Time) time.Duration {
	if current == nil {
		return firstRetry
	}
	return min(maxRetry, max(firstRetry, current.Leaf.NotAfter.Sub(now)/8))
}

func (w *Workload) logFailure(ctx context.Context, err error, attempt int, wait time.Duration) {
	attrs := []slog.Attr{slog.Any("error", err), slog.Int("attempt", attempt), slog.Duration("retry_in", wait)}
	cert := w.cert.Load()
	if cert == nil {
		w.o.Logger.LogAttrs(ctx, slog.LevelWarn, "no workload certificate yet", attrs...)
		return
	}
	attrs = append(attrs, slog.Time("not_after", cert.Leaf.NotAfter))
	if time.Now().After(cert.Leaf.NotAfter) {
		w.o.Logger.LogAttrs(ctx, slog.LevelError, "workload certificate has expired and could not be renewed", attrs...)
		return
	}
	w.o.Logger.LogAttrs(ctx, slog.LevelWarn, "workload certificate not renewed, the old one stays in use", attrs...)
}

// rotate makes a key, has it signed, checks what came back and puts it in use.
func (w *Workload) rotate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return err
	}
	chainPEM, said, err := w.o.Sign(ctx, csr)
	if err != nil {
		return fmt.Errorf("sign: %w", ExplainValidity(err, time.Now()))
	}
	chain, err := ParseCertificates(chainPEM)
	if err != nil {
		return fmt.Errorf("signed chain: %w", err)
	}
	if err := w.check(key, chain[0]); err != nil {
		return fmt.Errorf("signed certificate: %w", err)
	}
	if err := w.accept(chain, said); err != nil {
		return err
	}
	cert := TLSCertificate(key, chain)
	if err := w.tell(cert); err != nil {
		return err
	}
	w.use(ctx, cert)
	return nil
}

// tell has Used take a certificate, and whom to trust.
func (w *Workload) tell(cert *tls.Certificate) error {
	if w.o.Used == nil {
		return nil
	}
	t := w.trust.Load()
	if err := w.o.Used(cert, t.said); err != nil {
		return err
	}
	w.told = t
	return nil
}

// tellTrust has Used take whom to trust since the certificate in use was given to it.
func (w *Workload) tellTrust(ctx context.Context) {
	if w.o.Used == nil || w.told == w.trust.Load() {
		return
	}
	if err := w.tell(w.cert.Load()); err != nil {
		w.o.Logger.LogAttrs(ctx, slog.LevelWarn, "new roots are not in use yet", slog.Any("error", err), slog.Duration("retry_in", clockCheck))
		return
	}
	w.o.Logger.LogAttrs(ctx, slog.LevelInfo, "new roots in use", slog.Int("roots", len(w.Roots())))
}

// accept takes the roots over, if the chain that came with them leads to one.
func (w *Workload) accept(chain []*x509.Certificate, said Trust) error {
	w.setting.Lock()
	defer w.setting.Unlock()
	t := w.trust.Load()
	if len(said.Own) > 0 && !t.is(&said) {
		var err error
		if t, err = newTrust(said); err != nil {
			return err
		}
	}
	if _, err := t.verify(chain, x509.ExtKeyUsageClientAuth); err != nil {
		return fmt.Errorf("signed certificate: %w", err)
	}
	w.trust.Store(t)
	return nil
}

// check refuses a leaf that is not for the key that was asked for, or not for the identity that was configured.
func (w *Workload) check(key crypto.Signer, leaf *x509.Certificate) error {
	pub, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || !pub.Equal(key.Public()) {
		return errors.New("it is for another key")
	}
	id, err := certID(leaf)
	if err != nil {
		return err
	}
	if !w.o.ID.IsZero() && id != w.o.ID {
		return &PeerError{Expected: []string{w.o.ID.String()}, Actual: id.String(), Err: ErrWrongIdentity}
	}
	return nil
}

func (w *Workload) use(ctx context.Context, cert *tls.Certificate) {
	if id, err := certID(cert.Leaf); err == nil { // check has seen that it has one
		w.own.Store(&id)
	}
	w.cert.Store(cert)
	// A request for early renewal that arrived meanwhile has just been granted.
	select {
	case <-w.renew:
	default:
	}
	w.readyOnce.Do(func() { close(w.ready) })
	info := Describe(cert.Leaf)
	w.o.Logger.LogAttrs(ctx, slog.LevelInfo, "workload certificate in use",
		slog.String("id", info.ID), slog.String("serial", info.Serial), slog.Time("not_after", info.NotAfter))
}

// waitUntil returns true at due by the wall clock, or earlier where a renewal is asked for; false where ctx ended.
func (w *Workload) waitUntil(ctx context.Context, due time.Time) bool {
	due = due.Round(0) // drop the monotonic reading
	for {
		w.tellTrust(ctx)
		left := due.Sub(time.Now().Round(0))
		if left <= 0 {
			return true
		}
		timer := time.NewTimer(min(left, clockCheck))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-w.renew:
			timer.Stop()
			return true
		case <-w.trusted:
			timer.Stop()
		case <-timer.C:
		}
	}
}

func (w *Workload) certificate() (*tls.Certificate, error) {
	if cert := w.cert.Load(); cert != nil {
		return cert, nil
	}
	return nil, ErrNotReady
}

// chainOf parses what follows the leaf again: it is needed once per rotation of roots.
func chainOf(cert *tls.Certificate) []*x509.Certificate {
	chain := []*x509.Certificate{cert.Leaf}
	for _, der := range cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, c)
		}
	}
	return chain
}

// spread moves d by up to jitter either way.
func spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*mathrand.Float64())) //nolint:gosec // no secret depends on it
}
