package controlplane

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/incluster"
	"fairlead.dev/fairlead/internal/spiffebundle"
)

// BundleEndpointOptions say where the SPIFFE bundle of the mesh's trust domain is published, to whoever asks: roots are no secret.
type BundleEndpointOptions struct {
	// Listen is its address; empty for none. A listener given takes its place.
	Listen   string
	Listener net.Listener
	// CertFile and KeyFile are a certificate of the address's name, PEM, and its key, read anew when they change (profile https_web).
	// Without them the endpoint is known by the SPIFFE ID of the control plane's workload (profile https_spiffe).
	CertFile, KeyFile string
}

const (
	// bundleConnections bounds those at a time who ask for the bundle, bundleTime what each of their steps takes.
	bundleConnections, bundleTime = 100, 10 * time.Second
	// certPause is how long a certificate from files is shown before they are looked at again.
	certPause = 10 * time.Second
	// bundleVersionFile in the state directory has the number of the version of the roots that was published last.
	bundleVersionFile = "spiffe-bundle-version.json"
)

// check says what is wrong with the options.
func (o *BundleEndpointOptions) check() error {
	switch {
	case (o.CertFile == "") != (o.KeyFile == ""):
		return errors.New("SPIFFE bundle endpoint: a certificate and its key go together")
	case o.CertFile != "" && o.Listen == "" && o.Listener == nil:
		return errors.New("SPIFFE bundle endpoint: there is a certificate, and no address to listen at")
	}
	return nil
}

// bundleEndpoint publishes the bundle.
type bundleEndpoint struct {
	o         *BundleEndpointOptions
	authority *authority
	backing   backing
	// id is whom the endpoint is known as where it has no certificate from files.
	id  identity.ID
	log *slog.Logger
}

func newBundleEndpoint(p *ControlPlane) *bundleEndpoint {
	id := identity.ID{TrustDomain: p.o.TrustDomain, Namespace: p.o.namespace(), ServiceAccount: controllerService}
	return &bundleEndpoint{o: &p.o.BundleEndpoint, authority: p.authority, backing: p.backing, id: id, log: p.o.Logger}
}

// run is a part of the control plane. It listens once there is a CA.
func (b *bundleEndpoint) run(ctx context.Context) error {
	if b.o.Listen == "" && b.o.Listener == nil || !b.authority.wait(ctx) {
		return nil
	}
	l := b.o.Listener
	if l == nil {
		var err error
		if l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", b.o.Listen); err != nil {
			return named("SPIFFE bundle endpoint", err)
		}
	}
	s := &http.Server{
		Handler: spiffebundle.NewPublisher(spiffebundle.PublisherOptions{Ask: b.ask, Tell: b.tell}),
		// Strangers come here: each step has an end, and so has what one of them sends.
		ReadHeaderTimeout: bundleTime, ReadTimeout: bundleTime, WriteTimeout: bundleTime, IdleTimeout: bundleTime, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
	}
	profile := "https_web"
	if b.o.CertFile == "" {
		profile, s.TLSConfig = "https_spiffe", ca.WorkloadServerConfig(b.authority.current, b.id)
	} else {
		files := &certFiles{cert: b.o.CertFile, key: b.o.KeyFile, log: b.log}
		s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return files.get() }}
	}
	b.log.InfoContext(ctx, "the SPIFFE bundle of the trust domain is published", "address", l.Addr().String(), "profile", profile, "spiffe_id", b.id.String())
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	return named("SPIFFE bundle endpoint", s.ServeTLS(netutil.LimitListener(l, bundleConnections), "", ""))
}

// ask gives what is to be published by now.
func (b *bundleEndpoint) ask(ctx context.Context) (spiffebundle.Version, error) {
	pem, sequence, err := b.backing.publishedRoots(ctx, b.authority.current())
	if err != nil {
		return spiffebundle.Version{}, err
	}
	roots, err := identity.ParseRoots(pem)
	return spiffebundle.Version{Roots: roots, Sequence: sequence}, err
}

func (b *bundleEndpoint) tell(fault error) {
	if fault == nil {
		b.log.Info("the SPIFFE bundle is published as it is by now again")
		return
	}
	b.log.Warn("the SPIFFE bundle is published as it was, not as it may be by now", slog.Any("error", fault))
}

// publishedRoots implements backing.
func (c *cluster) publishedRoots(ctx context.Context, _ *ca.CA) (pem []byte, version uint64, err error) {
	return incluster.PublishedRoots(ctx, c.client, c.o.Namespace)
}

// publishedRoots implements backing. The number of the version is kept beside the CA, and is the time in seconds, or more: so it rises also
// where the file is lost.
func (f *files) publishedRoots(_ context.Context, own *ca.CA) (pem []byte, version uint64, err error) {
	pem = own.Roots()
	version, err = versionOf(filepath.Join(f.stateDir, bundleVersionFile), pem, time.Now())
	return pem, version, err
}

// rootsVersion is what the file of versions has.
type rootsVersion struct {
	Sequence uint64 `json:"sequence"`
	Roots    string `json:"roots"` // SHA-256
}

// versionOf gives the number of the version that roots are, and writes it down where they are others than before.
func versionOf(path string, roots []byte, now time.Time) (uint64, error) {
	sum := sha256.Sum256(roots)
	next := rootsVersion{Sequence: uint64(max(1, now.Unix())), Roots: hex.EncodeToString(sum[:])}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return 0, err
	default:
		var last rootsVersion
		if err := json.Unmarshal(text, &last); err != nil {
			return 0, fmt.Errorf("%s: %w: delete it, the next version is numbered by the time", path, err)
		}
		if last.Roots == next.Roots {
			return last.Sequence, nil
		}
		next.Sequence = max(next.Sequence, last.Sequence+1)
	}
	if text, err = json.Marshal(next); err != nil {
		return 0, err
	}
	return next.Sequence, writeFile(path, append(text, '\n'))
}

// certFiles is a certificate that is kept in files. It is safe for concurrent use.
type certFiles struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex // guards what follows
	last   *tls.Certificate
	looked time.Time
	fault  string
}

// get gives the certificate. Files that cannot be read, as while they are replaced, leave the former one.
func (c *certFiles) get() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.last != nil && now.Sub(c.looked) < certPause {
		return c.last, nil
	}
	c.looked = now
	newer, err := tls.LoadX509KeyPair(c.cert, c.key)
	if text := errorText(err); text != c.fault {
		if c.fault = text; err != nil {
			c.log.Warn("the certificate of the SPIFFE bundle endpoint cannot be read, the former one is shown", slog.String("error", text))
		}
	}
	if err == nil {
		c.last = &newer
	}
	if c.last == nil {
		return nil, err
	}
	return c.last, nil
}
