package upstream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// shortLived is a certificate that ends so long from now.
func shortLived(tb testing.TB, life time.Duration) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A connection takes no requests beyond the certificate that its server has shown, and what it carries has a grace.
func TestMutualConnectionsEndWithTheCertificate(t *testing.T) {
	const life = time.Minute
	synctest.Test(t, func(t *testing.T) {
		var running sync.WaitGroup
		defer running.Wait()
		var dialled int
		dial := func(context.Context, netip.AddrPort) (net.Conn, error) {
			dialled++
			near, far := net.Pipe()
			server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{shortLived(t, life)}, NextProtos: []string{"h2", "http/1.1"}})
			running.Go(func() { // what is sent is read and never answered
				buf := make([]byte, 1<<10)
				for {
					if _, err := server.Read(buf); err != nil {
						far.Close()
						return
					}
				}
			})
			return near, nil
		}
		s := New(Options{
			Plain: dial, Run: func(f func(context.Context)) { running.Go(func() { f(t.Context()) }) },
			Credentials: func(string) *tls.Config { return &tls.Config{InsecureSkipVerify: true} },
			Grace:       10 * time.Second, Buffers: new(h1.Buffers), Pool: new(h2.Pool),
		})
		way := s.Reach(Target{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Mutual: true, Identity: "spiffe://a", Policy: Policy{idle: time.Hour}})
		get := func() *Conn {
			t.Helper()
			c, err := way.Pool.Get(t.Context(), Pooled, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		idle, busy := get(), get()
		stream, err := way.Pool.OpenHTTP2(t.Context(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		way.Pool.Put(idle)
		time.Sleep(life - time.Second)
		if again := get(); again != idle {
			t.Error("a connection was not used although the certificate is good")
		} else {
			way.Pool.Put(again)
		}
		if dialled != 3 {
			t.Fatalf("%d connections, want 3", dialled)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		next := get()
		if next == idle {
			t.Error("an idle connection was used beyond the certificate of its server")
		}
		way.Pool.Put(busy)
		if s.Holdings().Idle != 0 {
			t.Error("a connection was kept beyond the certificate of its server")
		}
		other, err := way.Pool.OpenHTTP2(t.Context(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		other.Close()
		if dialled != 5 {
			t.Errorf("%d connections, want one more of each protocol", dialled)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if err := stream.Receive(new(httpx.Response)); err == nil {
			t.Error("a stream outlived the grace")
		}
		stream.Close()
		way.Pool.Put(next)
		way.Release()
		s.close()
	})
}

// A server of requests that ends TLS itself knows no name for bytes: it is asked again without any, and has to prove who it is as well.
func TestBytesToServerOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running sync.WaitGroup
		defer running.Wait()
		var refused, dialled int
		own := shortLived(t, time.Hour)
		dial := func(context.Context, netip.AddrPort) (net.Conn, error) {
			dialled++
			near, far := net.Pipe()
			running.Go(func() {
				defer far.Close()
				server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"h2"}})
				if server.Handshake() == nil {
					server.Write([]byte("hello"))
				}
			})
			return near, nil
		}
		s := New(Options{
			Plain: dial, Run: func(func(context.Context)) {}, Refused: func(context.Context, string, error) { refused++ },
			Credentials: func(peer string) *tls.Config {
				return &tls.Config{InsecureSkipVerify: peer == "spiffe://a", ServerName: "b"}
			},
			Buffers: new(h1.Buffers), Pool: new(h2.Pool),
		})
		target := Target{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Mutual: true, Identity: "spiffe://a"}
		way := s.Reach(target)
		conn, err := way.Pool.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.LimitReader(conn, 5))
		if string(got) != "hello" || dialled != 2 || refused != 0 {
			t.Errorf("read %q, %v, by %d connections, %d refused", got, err, dialled, refused)
		}
		conn.Close()
		target.Identity = "spiffe://b"
		other := s.Reach(target)
		if _, err := other.Pool.Dial(t.Context()); err == nil || dialled != 4 || refused != 1 {
			t.Errorf("a server that is somebody else: %v, %d connections, %d refused", err, dialled, refused)
		}
		way.Release()
		other.Release()
		s.close()
	})
}
