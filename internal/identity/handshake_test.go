package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

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
			clientErr: "expected spiffe://cluster.local/ns/myapp/sa/users, got spiffe://cluster.local/ns/myapp/sa/users: its root " + nameOf(otherCA) + " is not trusted here",
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
			clientErr: "its root " + nameOf(ca) + " is not trusted here",
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
			serverErr: "got spiffe://cluster.local/ns/myapp/sa/orders: its root " + nameOf(otherCA) + " is not trusted here",
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
			if refused := RefusedByPeer(h.serverErr); refused != (tc.clientErr != "") {
				t.Errorf("the server sees that its certificate was refused: %v, of %v", refused, h.serverErr)
			}
		})
	}
}

// nameOf is how messages call a root.
func nameOf(a *authority) string { return RootName([]*x509.Certificate{a.signer}) }

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

func TestVerifiedChainsAreBoundedAndExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		tr, err := newTrust(Trust{Own: ca.roots()})
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

func BenchmarkHandshake(b *testing.B) {
	ca := newAuthority(b)
	client, server := readyWorkload(b, ca, orders), readyWorkload(b, ca, users)
	clientConfig, serverConfig := client.ClientConfig(users.String()), server.ServerConfig()
	b.ReportAllocs()
	for b.Loop() {
		handshake(b, clientConfig, serverConfig).must(b)
	}
}
