package proxy

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/dns"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// backendOf changes the one backend of a service.
func backendOf(rs []plan.Resource, change func(*plan.Backend)) []plan.Resource {
	return with(rs, func(d *plan.Destination) { change(&d.Backends[0]) })
}

// The classic of circuit breaking: one connection, one in the queue, a third is too many.
func TestConnectionPoolOverflows(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		entered, leave := make(chan struct{}, 9), make(chan struct{})
		m.plainApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			entered <- struct{}{}
			<-leave
			fmt.Fprint(w, "ok")
		}))
		orders.apply(backendOf(service(model.HTTP, e), func(b *plan.Backend) { b.MaxConnections, b.MaxPendingRequests = 1, 1 })...)
		c := m.client(orders)
		var wg sync.WaitGroup
		get := func() {
			wg.Go(func() {
				if resp, body := fetch(t, c, "GET", "/", ""); resp.StatusCode != 200 {
					t.Errorf("= %d %q", resp.StatusCode, body)
				}
			})
		}
		limits := orders.directory.Find(plan.AddressName(usersAddr())).Load().Backends[0].Group.Limits()
		get()
		<-entered
		get()
		eventually(t, "one waits", func() bool { return strings.Contains(limits.String(), "waiting 1/1") })
		resp, body := fetch(t, c, "GET", "/", "")
		if resp.StatusCode != 503 || !strings.Contains(body, "overflow") || !strings.Contains(body, "http1MaxPendingRequests") {
			t.Errorf("the third = %d %q", resp.StatusCode, body)
		}
		if got := resp.Header.Get("X-Envoy-Overloaded"); got != "true" {
			t.Errorf("x-envoy-overloaded: %q", got)
		}
		expectMetric(t, orders, `response_code="503",response_flags="UO"`)
		cluster := orders.dump().Clusters[0]
		if diff := cmp.Diff([]admin.LimitDump{
			{Setting: "tcp.maxConnections", Limit: 1, InUse: 1},
			{Setting: "http.http1MaxPendingRequests", Limit: 1, InUse: 1, Overflows: 1},
		}, cluster.Limits); diff != "" {
			t.Errorf("limits (-want +got):\n%s", diff)
		}
		var page strings.Builder
		if err := orders.directory.WriteMetrics(&page); err != nil {
			t.Fatal(err)
		}
		label := `{cluster="` + cluster.Name + `",setting="http.http1MaxPendingRequests"} 1`
		for _, metric := range []string{"limit", "in_use", "overflows_total"} {
			if !strings.Contains(page.String(), "fairlead_connection_pool_"+metric+label) {
				t.Errorf("no %s%s in\n%s", metric, label, page.String())
			}
		}
		close(leave)
		wg.Wait()
	})
}

func TestMaxConnectionsOfTCP(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	e := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
	m.rawServer(e.Addr, func(c *net.TCPConn) { io.Copy(c, c) })
	orders.apply(backendOf(service(model.TCP, e), func(b *plan.Backend) { b.MaxConnections = 1 })...)
	addr := m.entrance(orders, usersAddr())
	for range 3 {
		first := dial(t, addr)
		fmt.Fprint(first, "x\n")
		expectLine(t, bufio.NewReader(first), "x\n")
		expectReset(t, addr)
		first.Close()
		eventually(t, "counted out", func() bool {
			limits := orders.directory.Find(plan.AddressName(usersAddr())).Load().Backends[0].Group.Limits()
			return strings.Contains(limits.String(), "connections 0/1")
		})
	}
}

// An opaque connection that is too old is reset, however busy it is: what is cut is seen to be cut.
func TestMaxConnectionDurationOfTCP(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), func(c *net.TCPConn) { io.Copy(c, c) })
		orders.apply(backendOf(service(model.TCP, e), func(b *plan.Backend) { b.MaxConnectionDuration = 200 * time.Millisecond })...)
		begun := time.Now()
		conn := dial(t, m.entrance(orders, usersAddr()))
		var err error
		line := make([]byte, 2)
		for err == nil {
			if _, err = fmt.Fprint(conn, "x\n"); err == nil {
				_, err = io.ReadFull(conn, line)
			}
		}
		if took := time.Since(begun); errors.Is(err, io.EOF) || took < 200*time.Millisecond {
			t.Errorf("after %s: %v, want a reset after 200ms", took, err)
		}
	})
}

func TestMaxRequestsPerConnection(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	var accepted atomic.Int32
	e := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
	m.countingApp(e.Addr.String(), says("ok"), &accepted)
	orders.apply(backendOf(service(model.HTTP, e), func(b *plan.Backend) { b.MaxRequestsPerConnection = 2 })...)
	c := m.client(orders)
	for range 6 {
		fetch(t, c, "GET", "/", "")
	}
	if n := accepted.Load(); n != 3 {
		t.Errorf("6 requests took %d connections, want 3", n)
	}
}

// A server that closes idle connections is not met with one of them.
func TestStaleConnectionsAreNotUsed(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	e := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
	closed := make(chan struct{}, 10)
	m.rawServer(e.Addr, func(c *net.TCPConn) { // promises keep-alive and breaks the promise
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		c.Close()
		closed <- struct{}{}
	})
	orders.apply(with(service(model.HTTP, e), func(d *plan.Destination) { d.Routes[0].Retry = model.Retry{} })...)
	c := m.client(orders)
	for range 5 {
		if resp, body := fetch(t, c, "POST", "/", "x"); resp.StatusCode != 200 {
			t.Fatalf("= %d %q", resp.StatusCode, body)
		}
		<-closed
	}
}

func TestOriginalDestination(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	dst := netip.AddrPortFrom(m.ip(), 8080)
	m.plainApp(dst, says("the one that was dialled"))
	for _, protocol := range []model.Protocol{model.HTTP, model.TCP, model.Undeclared} {
		rs := with(service(protocol), func(d *plan.Destination) {
			d.Addresses = []netip.Addr{dst.Addr()}
			d.Backends[0].Resolution, d.Backends[0].Shards = model.ResolveNone, nil
		})
		orders.apply(rs...)
		c := m.dialled(m.entrance(orders, dst))
		for range 3 {
			if resp, body := fetch(t, c, "GET", "/", ""); resp.StatusCode != 200 || body != "the one that was dialled" {
				t.Errorf("%s = %d %q", protocol, resp.StatusCode, body)
			}
		}
	}
}

func TestDisabledTLSIsPlain(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.plainApp(app(users), says("plain")) // no mesh port: only a plain connection can arrive
	orders.apply(backendOf(service(model.HTTP, users.endpoint(8080)), func(b *plan.Backend) { b.TLS.Mode = model.TLSDisable })...)
	if resp, body := fetch(t, m.client(orders), "GET", "/", ""); body != "plain" {
		t.Errorf("= %d %q", resp.StatusCode, body)
	}
}

// files are what a DestinationRule's tls block names.
type tlsFiles struct{ ca, cert, key string }

// newTLSFiles makes a CA and a certificate for names in files.
func newTLSFiles(t *testing.T, names ...string) (tlsFiles, tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := tlsFiles{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for name, data := range map[string][]byte{f.ca: certPEM, f.cert: certPEM, f.key: keyPEM} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return f, pair, roots
}

func TestTLSOrigination(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	files, pair, roots := newTLSFiles(t, "api.example.com", "users-service.myapp.svc.cluster.local")
	e := plainEndpoint(netip.AddrPortFrom(m.ip(), 8443))
	l, err := net.Listen("tcp", e.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.TLS.ServerName, " ", len(r.TLS.PeerCertificates), " ", r.Proto)
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: roots},
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	done := make(chan error)
	go func() { done <- srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	c := m.client(orders)
	const host = "users-service.myapp.svc.cluster.local"
	tests := []struct {
		name   string
		tls    model.TLSSettings
		status int
		body   string
	}{
		{"simple", model.TLSSettings{Mode: model.TLSSimple, CACert: files.ca}, 200, host + " 0 HTTP/1.1"},
		{"simple_with_sni", model.TLSSettings{Mode: model.TLSSimple, CACert: files.ca, SNI: "api.example.com"}, 200, "api.example.com 0 HTTP/1.1"},
		{"mutual", model.TLSSettings{Mode: model.TLSMutual, CACert: files.ca, ClientCert: files.cert, Key: files.key}, 200, host + " 1 HTTP/1.1"},
		{"unknown_ca", model.TLSSettings{Mode: model.TLSSimple}, 503, "TLS origination"},
		{"unverified", model.TLSSettings{Mode: model.TLSSimple, InsecureSkipVerify: true}, 200, host},
		{"wrong_name", model.TLSSettings{Mode: model.TLSSimple, CACert: files.ca, SNI: "other.example.com"}, 503, "other.example.com"},
		{"one_of_several_names", model.TLSSettings{Mode: model.TLSSimple, CACert: files.ca, SNI: "any", SubjectAltNames: []string{"x", "api.example.com"}}, 200, "any"},
		{"none_of_the_names", model.TLSSettings{Mode: model.TLSSimple, CACert: files.ca, SubjectAltNames: []string{"x"}}, 503, "subjectAltNames wants one of x"},
		{"no_list_of_the_revoked", model.TLSSettings{Mode: model.TLSSimple, CACert: files.ca, CRL: files.ca}, 503, "caCrl: no list of revoked certificates"},
		{"missing_file", model.TLSSettings{Mode: model.TLSSimple, CACert: "/nowhere.pem"}, 503, "caCertificates: open /nowhere.pem"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			orders.apply(backendOf(service(model.HTTP, e), func(b *plan.Backend) { b.TLS = tt.tls })...)
			resp, body := fetch(t, c, "GET", "/", "")
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("= %d %q, want %d %q", resp.StatusCode, body, tt.status, tt.body)
			}
		})
	}
}

// book is a resolver whose answers a test writes.
type book struct {
	mu    sync.Mutex
	addrs map[string][]netip.Addr
	ttl   time.Duration
	asked chan string
}

func (b *book) Resolve(_ context.Context, host string) (dns.Resolved, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.asked <- host:
	default:
	}
	if a, ok := b.addrs[host]; ok {
		return dns.Resolved{Addrs: a, TTL: b.ttl}, nil
	}
	return dns.Resolved{}, dns.ErrNotFound
}

func (b *book) set(host string, addrs ...netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(addrs) == 0 {
		delete(b.addrs, host)
		return
	}
	b.addrs[host] = addrs
}

func named(host string) []plan.Resource {
	return backendOf(service(model.HTTP), func(b *plan.Backend) {
		b.Resolution, b.Shards = model.ResolveDNS, nil
		b.DNS = []plan.DNSEndpoint{{Host: model.Hostname(host), Port: 8080}}
	})
}

func TestEndpointsByName(t *testing.T) {
	m := newMesh(t)
	a, b := m.ip(), m.ip()
	m.plainApp(netip.AddrPortFrom(a, 8080), says("a"))
	m.plainApp(netip.AddrPortFrom(b, 8080), says("b"))
	names := &book{addrs: map[string][]netip.Addr{"api.example.com": {a}}, asked: make(chan string, 1)}
	orders := m.sidecar("orders", func(o *Options) { o.Resolver = names })
	c := m.client(orders)
	orders.apply(named("api.example.com")...)
	if resp, body := fetch(t, c, "GET", "/", ""); body != "a" { // the first call waits for the answer
		t.Fatalf("= %d %q", resp.StatusCode, body)
	}
	names.set("api.example.com", b)
	eventually(t, "the name's new address in use", func() bool {
		_, body := fetch(t, c, "GET", "/", "")
		return body == "b"
	})
	names.set("api.example.com") // gone: the last answer stays
	<-names.asked
	<-names.asked
	if resp, body := fetch(t, c, "GET", "/", ""); body != "b" {
		t.Errorf("while the name cannot be resolved = %d %q", resp.StatusCode, body)
	}

	orders.apply(named("nowhere.example.com")...)
	resp, body := fetch(t, c, "GET", "/", "")
	if resp.StatusCode != 503 || !strings.HasPrefix(body, "DNS resolution failure") || !strings.Contains(body, "nowhere.example.com") {
		t.Errorf("a name without addresses = %d %q", resp.StatusCode, body)
	}
	expectMetric(t, orders, `response_flags="DF"`)
	if n := orders.directory.Holdings().Hosts; n != 1 {
		t.Errorf("%d names are being resolved, want the one in use", n)
	}
}
