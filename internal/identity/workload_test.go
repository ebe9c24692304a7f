package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// signWith is a control plane: it signs whatever it gets for id, unless down says otherwise.
type signWith struct {
	ca    *authority
	id    ID
	ttl   time.Duration
	down  atomic.Bool
	calls atomic.Int64
}

func (s *signWith) sign(_ context.Context, csrDER []byte) (chain, roots []byte, err error) {
	s.calls.Add(1)
	if s.down.Load() {
		return nil, nil, errors.New("connection refused")
	}
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, nil, err
	}
	chain, err = s.ca.sign(csr, s.id, s.ttl)
	return chain, s.ca.roots(), err
}

// runWorkload starts a Workload and stops it when the test ends; it may not be ready yet.
func runWorkload(tb testing.TB, o WorkloadOptions) *Workload {
	tb.Helper()
	if o.Logger == nil {
		o.Logger = quiet()
	}
	w, err := NewWorkload(o)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			tb.Errorf("Run = %v, want %v", err, context.Canceled)
		}
	})
	return w
}

func readyWorkload(tb testing.TB, ca *authority, id ID) *Workload {
	tb.Helper()
	s := &signWith{ca: ca, id: id}
	w := runWorkload(tb, WorkloadOptions{Sign: s.sign, ID: id})
	<-w.Ready()
	return w
}

// shake is what came of a handshake.
type shake struct {
	client, server       *tls.Conn
	clientErr, serverErr error
}

func (h shake) must(tb testing.TB) shake {
	tb.Helper()
	if h.clientErr != nil || h.serverErr != nil {
		tb.Fatalf("handshake: client %v, server %v", h.clientErr, h.serverErr)
	}
	return h
}

// handshake connects the two configurations and gives both ends with each side's error. A TLS 1.3 client learns of
// its own refusal only when it reads, so the client reads one byte that an accepting server sends.
func handshake(tb testing.TB, client, server *tls.Config) shake {
	tb.Helper()
	near, far := tcpPair(tb)
	return handshakeOver(tb, near, far, client, server)
}

// tcpPair gives both ends of a loopback connection. Refusals need its buffers: both sides may write at once.
func tcpPair(tb testing.TB) (near, far net.Conn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		tb.Fatal(err)
	}
	return near, far
}

func handshakeOver(tb testing.TB, near, far net.Conn, client, server *tls.Config) shake {
	tb.Helper()
	tb.Cleanup(func() { near.Close(); far.Close() })
	c, s := tls.Client(near, client), tls.Server(far, server)
	serverDone := make(chan error, 1)
	go func() {
		err := s.HandshakeContext(tb.Context())
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		if err != nil {
			far.Close()
		}
		serverDone <- err
	}()
	clientErr := c.HandshakeContext(tb.Context())
	if clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 1))
	}
	if clientErr != nil {
		near.Close()
	}
	return shake{c, s, clientErr, <-serverDone}
}

func echo(tb testing.TB, h shake) {
	tb.Helper()
	go func() { _, _ = h.client.Write([]byte("ping")) }()
	got := make([]byte, 4)
	if _, err := io.ReadFull(h.server, got); err != nil || string(got) != "ping" {
		tb.Errorf("read %q, %v, want ping", got, err)
	}
}

var (
	users  = ID{"cluster.local", "myapp", "users"}
	orders = ID{"cluster.local", "myapp", "orders"}
)

func TestHandshakeProvesBothIdentities(t *testing.T) {
	ca := newAuthority(t)
	client, server := readyWorkload(t, ca, orders), readyWorkload(t, ca, users)
	h := handshake(t, client.ClientConfig("spiffe://other/ns/a/sa/b", users.String()), server.ServerConfig()).must(t)
	echo(t, h)
	for _, side := range []struct {
		name string
		conn *tls.Conn
		want ID
	}{{"client", h.client, users}, {"server", h.server, orders}} {
		cs := side.conn.ConnectionState()
		if got, err := PeerID(&cs); got != side.want {
			t.Errorf("%s sees %v, %v, want %v", side.name, got, err, side.want)
		}
		if cs.Version != tls.VersionTLS13 || cs.NegotiatedProtocol != ALPNMesh || cs.CurveID != tls.X25519 {
			t.Errorf("%s: version %x, protocol %q, curve %v", side.name, cs.Version, cs.NegotiatedProtocol, cs.CurveID)
		}
	}
}

func TestHandshakeRefuses(t *testing.T) {
	ca, otherCA := newAuthority(t), newAuthority(t)
	client, server := readyWorkload(t, ca, orders), readyWorkload(t, ca, users)
	stranger := readyWorkload(t, otherCA, users)
	expired := ca.certificate(t, workloadTemplate(users, time.Nanosecond))
	plainServer := ca.certificate(t, &x509.Certificate{DNSNames: []string{"controller"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	serverWith := func(cert *tls.Certificate) *tls.Config {
		c := server.ServerConfig()
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }
		return c
	}
	clientWith := func(cert *tls.Certificate) *tls.Config {
		c := client.ClientConfig(users.String())
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		return c
	}
	old := client.ClientConfig(users.String())
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for _, tc := range []struct {
		name           string
		client, server *tls.Config
		// the first complaint, of the client or of the server
		clientErr, serverErr string
	}{
		{
			name: "server_is_someone_else", client: client.ClientConfig("spiffe://cluster.local/ns/myapp/sa/payments"), server: server.ServerConfig(),
			clientErr: "expected spiffe://cluster.local/ns/myapp/sa/payments, got spiffe://cluster.local/ns/myapp/sa/users: wrong identity",
		},
		{
			name: "nobody_expected", client: client.ClientConfig(), server: server.ServerConfig(),
			clientErr: "wrong identity",
		},
		{
			name: "server_of_another_root", client: client.ClientConfig(users.String()), server: stranger.ServerConfig(),
			clientErr: "expected spiffe://cluster.local/ns/myapp/sa/users, got spiffe://cluster.local/ns/myapp/sa/users: x509: certificate signed by unknown authority",
		},
		{
			name: "expired_server", client: client.ClientConfig(users.String()), server: serverWith(expired),
			clientErr: "got spiffe://cluster.local/ns/myapp/sa/users: the certificate expired at",
		},
		{
			name: "server_without_spiffe_id", client: client.ClientConfig(users.String()), server: serverWith(plainServer),
			clientErr: "got a peer without a SPIFFE ID: the certificate has 0 URI names",
		},
		{
			name: "client_of_another_root", client: stranger.ClientConfig(users.String()), server: server.ServerConfig(),
			// The client refuses first: it does not know the server's root either.
			clientErr: "unknown authority",
		},
		{
			name: "expired_client", client: clientWith(expired), server: server.ServerConfig(),
			serverErr: "expected any workload of the mesh, got spiffe://cluster.local/ns/myapp/sa/users: the certificate expired at",
		},
		{
			name: "client_without_certificate", client: clientWith(&tls.Certificate{}), server: server.ServerConfig(),
			serverErr: "client didn't provide a certificate",
		},
		{
			name: "client_with_foreign_certificate", client: clientWith(sign(t, otherCA, orders)), server: server.ServerConfig(),
			serverErr: "got spiffe://cluster.local/ns/myapp/sa/orders: x509: certificate signed by unknown authority",
		},
		{name: "tls_1_2", client: old, server: server.ServerConfig(), serverErr: "unsupported versions"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := handshake(t, tc.client, tc.server)
			if tc.clientErr != "" {
				wantError(t, h.clientErr, tc.clientErr)
			} else {
				wantError(t, h.serverErr, tc.serverErr)
			}
			if h.clientErr == nil || h.serverErr == nil {
				t.Errorf("client: %v, server: %v, want both refused", h.clientErr, h.serverErr)
			}
		})
	}
}

func TestHandshakeBeforeTheFirstCertificate(t *testing.T) {
	w, err := NewWorkload(WorkloadOptions{Sign: (&signWith{}).sign, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	h := handshake(t, &tls.Config{InsecureSkipVerify: true}, w.ServerConfig())
	if !errors.Is(h.serverErr, ErrNotReady) {
		t.Errorf("server error %v, want %v", h.serverErr, ErrNotReady)
	}
	if got := w.Current(); got != (CertInfo{}) || got.Valid(time.Now()) {
		t.Errorf("Current() = %+v, want nothing", got)
	}
}

func TestRunRotatesWhileTrafficFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		client, server := readyWorkload(t, ca, orders), readyWorkload(t, ca, users)
		clientConfig, serverConfig := client.ClientConfig(users.String()), server.ServerConfig()
		near, far := net.Pipe()
		established := handshakeOver(t, near, far, clientConfig, serverConfig).must(t)
		before, beforeKey := server.Current(), server.cert.Load().PrivateKey
		time.Sleep(certTTL * 4 / 10)
		if got := server.Current(); got != before {
			t.Errorf("rotated before half life: %+v", got)
		}
		time.Sleep(certTTL * 2 / 10)
		synctest.Wait()
		after := server.Current()
		if after.Serial == before.Serial || !after.NotAfter.After(before.NotAfter) {
			t.Errorf("after half life: %+v, still like %+v", after, before)
		}
		if server.cert.Load().PrivateKey == beforeKey {
			t.Error("the key was used again")
		}
		echo(t, established)
		near, far = net.Pipe()
		renewed := handshakeOver(t, near, far, clientConfig, serverConfig).must(t)
		echo(t, renewed)
		if got := renewed.client.ConnectionState().PeerCertificates[0].SerialNumber.Text(16); got != after.Serial {
			t.Errorf("new connection shows serial %s, want %s", got, after.Serial)
		}
	})
}

func TestRunKeepsTheOldCertificateWhileTheControlPlaneIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &signWith{ca: newAuthority(t), id: users}
		w := runWorkload(t, WorkloadOptions{Sign: s.sign, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		<-w.Ready()
		before := w.Current()
		s.down.Store(true)
		time.Sleep(certTTL * 3 / 4)
		synctest.Wait()
		if got := w.Current(); got != before {
			t.Errorf("Current() = %+v, want the old %+v", got, before)
		}
		// A quarter of a day at one request per 30 s, give or take the jitter.
		if n := s.calls.Load(); n < 500 || n > 1000 {
			t.Errorf("%d requests while the control plane was away", n)
		}
		s.down.Store(false)
		time.Sleep(2 * maxRetry)
		synctest.Wait()
		if got := w.Current(); got.Serial == before.Serial {
			t.Error("not renewed after the control plane came back")
		}
		for _, want := range []string{"the old one stays in use", "connection refused", "not_after="} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log does not mention %q", want)
			}
		}
		if strings.Contains(log.String(), "PRIVATE") {
			t.Error("the log contains a key")
		}
	})
}

func TestRunSaysWhenTheCertificateHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &signWith{ca: newAuthority(t), id: users}
		w := runWorkload(t, WorkloadOptions{Sign: s.sign, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		<-w.Ready()
		s.down.Store(true)
		time.Sleep(certTTL + time.Minute)
		synctest.Wait()
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "has expired") {
			t.Error("no error in the log")
		}
		if w.Current().Valid(time.Now()) {
			t.Error("Current() calls an expired certificate valid")
		}
	})
}

func TestRunRefusesWhatTheControlPlaneShouldNotSend(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	foreign := sign(t, ca, users)
	for _, tc := range []struct {
		name string
		sign SignFunc
		log  string
	}{
		{name: "another_identity", sign: (&signWith{ca: ca, id: orders}).sign, log: "wrong identity"},
		{name: "a_certificate_for_another_key", sign: func(context.Context, []byte) ([]byte, []byte, error) {
			return EncodeCertificates(foreign.Leaf), ca.roots(), nil
		}, log: "for another key"},
		{name: "roots_that_do_not_fit", sign: func(ctx context.Context, csr []byte) ([]byte, []byte, error) {
			chain, _, err := (&signWith{ca: ca, id: users}).sign(ctx, csr)
			return chain, other.roots(), err
		}, log: "unknown authority"},
		{name: "noise", sign: func(context.Context, []byte) ([]byte, []byte, error) { return []byte("hm"), nil, nil }, log: "no PEM block"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				w := runWorkload(t, WorkloadOptions{Sign: tc.sign, ID: users, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				time.Sleep(time.Second)
				synctest.Wait()
				if got := w.Current(); got.Serial != "" {
					t.Errorf("Current() = %+v, want nothing", got)
				}
				if !strings.Contains(log.String(), tc.log) {
					t.Errorf("log does not mention %q:\n%s", tc.log, log.String())
				}
			})
		})
	}
}

func TestSetRootsRotatesTheRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		oldCA, newCA := newAuthority(t), newAuthority(t)
		s := &signWith{ca: oldCA, id: users}
		calls := 0
		w := runWorkload(t, WorkloadOptions{Logger: quiet(), Sign: func(ctx context.Context, csr []byte) ([]byte, []byte, error) {
			calls++
			if calls > 1 {
				s = &signWith{ca: newCA, id: users}
			}
			chain, _, err := s.sign(ctx, csr)
			if calls == 1 {
				return chain, oldCA.roots(), err
			}
			return chain, nil, err
		}})
		<-w.Ready()
		both := append(newCA.roots(), oldCA.roots()...)
		if err := w.SetRoots(both); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if calls != 1 || len(w.Roots()) != 2 {
			t.Fatalf("with both roots: %d requests, %d roots, want 1 and 2", calls, len(w.Roots()))
		}
		if err := w.SetRoots(newCA.roots()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if calls != 2 {
			t.Errorf("%d requests after the old root went, want 2", calls)
		}
		if _, err := w.trust.Load().verify(chainOf(w.cert.Load()), x509.ExtKeyUsageServerAuth); err != nil {
			t.Error(err)
		}
		if err := w.SetRoots([]byte("noise")); err == nil {
			t.Error("SetRoots(noise) was accepted")
		}
		if err := w.SetRoots(EncodeCertificates(w.cert.Load().Leaf)); err == nil {
			t.Error("SetRoots(leaf) was accepted")
		}
		if len(w.Roots()) != 1 {
			t.Errorf("%d roots after refused ones, want 1", len(w.Roots()))
		}
	})
}

func TestVerifiedChainsAreBoundedAndExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		tr, err := newTrust(ca.roots())
		if err != nil {
			t.Fatal(err)
		}
		cert := ca.certificate(t, workloadTemplate(users, time.Hour))
		for range 2 {
			if id, err := tr.verify(chainOf(cert), x509.ExtKeyUsageClientAuth); id != users || err != nil {
				t.Fatalf("verify = %q, %v", id, err)
			}
		}
		if len(tr.verified) != 1 {
			t.Errorf("%d verdicts kept, want 1", len(tr.verified))
		}
		for i := range 2 * maxVerified {
			tr.remember(verifiedKey{leaf: [32]byte{byte(i), byte(i >> 8)}}, verifiedPeer{notAfter: time.Now().Add(time.Hour)})
		}
		if len(tr.verified) > maxVerified {
			t.Errorf("%d verdicts kept, want at most %d", len(tr.verified), maxVerified)
		}
		time.Sleep(time.Hour + time.Second)
		_, err = tr.verify(chainOf(cert), x509.ExtKeyUsageClientAuth)
		wantError(t, err, "expired")
	})
}

func TestNewWorkloadRefuses(t *testing.T) {
	ok := (&signWith{}).sign
	for _, tc := range []struct {
		name string
		o    WorkloadOptions
		err  string
	}{
		{name: "no_sign", o: WorkloadOptions{Logger: quiet()}, err: "Sign is not set"},
		{name: "no_logger", o: WorkloadOptions{Sign: ok}, err: "Logger is not set"},
		{name: "half_an_id", o: WorkloadOptions{Sign: ok, Logger: quiet(), ID: ID{TrustDomain: "td"}}, err: "namespace"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := NewWorkload(tc.o)
			wantError(t, err, tc.err)
		})
	}
}

func BenchmarkHandshake(b *testing.B) {
	ca := newAuthority(b)
	client, server := readyWorkload(b, ca, orders), readyWorkload(b, ca, users)
	clientConfig, serverConfig := client.ClientConfig(users.String()), server.ServerConfig()
	b.ReportAllocs()
	for b.Loop() {
		handshake(b, clientConfig, serverConfig).must(b)
	}
}

func TestRunSaysThatTheClocksDiffer(t *testing.T) {
	id := ID{"cluster.local", "myapp", "users"}
	now := time.Now()
	for _, tc := range []struct {
		name       string
		from, span time.Duration
		want       []string
	}{
		{name: "control_plane_an_hour_ahead", from: time.Hour, span: 25 * time.Hour, want: []string{
			"the certificate is not valid before " + stamp(now.Add(time.Hour)), "the clock here says ", "check the clocks of this machine and of the control plane",
		}},
		{name: "control_plane_two_days_behind", from: -48 * time.Hour, span: -24 * time.Hour, want: []string{
			"the certificate expired at " + stamp(now.Add(-24*time.Hour)), "the clock here says ", "or the clocks differ",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// What a control plane with another clock signs, and what it shows in the handshake.
			ca := newAuthority(t)
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			shown := &x509.Certificate{NotBefore: now.Add(tc.from), NotAfter: now.Add(tc.span), URIs: []*url.URL{id.URI()}}
			der, err := x509.CreateCertificate(rand.Reader, shown, ca.signer, key.Public(), ca.key)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			tr, err := newTrust(ca.roots())
			if err != nil {
				t.Fatal(err)
			}
			_, signed := tr.verify([]*x509.Certificate{leaf}, x509.ExtKeyUsageClientAuth)

			var log bytes.Buffer
			w, err := NewWorkload(WorkloadOptions{
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
				Sign: func(context.Context, []byte) (chain, roots []byte, err error) {
					pool := x509.NewCertPool()
					pool.AppendCertsFromPEM(ca.roots())
					_, err = leaf.Verify(x509.VerifyOptions{Roots: pool})
					return nil, nil, fmt.Errorf("certificate from 10.0.0.1:15012: tls: failed to verify certificate: %w", err)
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			handshaken := w.rotate(t.Context())
			wantError(t, handshaken, "sign: certificate from 10.0.0.1:15012: tls: failed to verify certificate: the certificate ")
			for _, want := range tc.want {
				wantError(t, signed, want)
				wantError(t, handshaken, want)
			}
			if _, ok := errors.AsType[x509.CertificateInvalidError](handshaken); !ok {
				t.Errorf("%v hides the error of crypto/x509", handshaken)
			}
		})
	}
}
