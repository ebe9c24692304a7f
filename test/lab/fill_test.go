package lab_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"golang.org/x/net/http2"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/identity"
)

const filledIP = "10.96.0.111"

// TestFilledSidecar: a peer with a good certificate has as many requests under way as it gets, each with a body, in a sidecar
// with 64 MB of memory. It is told that there are too many; another peer loses no call, and the sidecar stays within its limit.
func TestFilledSidecar(t *testing.T) {
	t.Parallel()
	const victim = "deploy/server-v1"
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "attacker", replicas: 1, bare: true}.String()+
		app{name: "server", replicas: 1, annotations: "fairlead.dev/proxy-memory-limit: 64Mi"}.String()+
		service("server", filledIP, "app: server", http80))
	ip := m.find(t, victim).IPs[0].String()
	credentials := m.identityOf(t, "attacker").ClientConfig("spiffe://cluster.local/ns/shop/sa/server")
	const conns, each = 4, 300
	full := attack{name: "fill", port: "15008", conns: conns, run: func(ctx context.Context, plain net.Conn) int64 {
		conn := tls.Client(plain, credentials)
		if err := conn.HandshakeContext(ctx); err != nil {
			t.Logf("attacker: %v", err)
			return 0
		}
		head, begun, allowed := attackHead("/?delay=60s", [2]string{"x-fairlead-target", ip + ":8080/h1"}), 0, newAllowance()
		return floodHTTP2(allowed.watch(conn), nil, func(f *http2.Framer, id uint32, _ []byte) error {
			begun++
			if begun > each {
				<-ctx.Done() // what was begun goes on
				return ctx.Err()
			}
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndHeaders: true}); err != nil {
				return err
			}
			if err := allowed.take(16 << 10); err != nil {
				return err
			}
			return f.WriteData(id, false, make([]byte, 16<<10))
		})
	}}
	end := m.attack(t, full, "deploy/attacker-v1", ip)
	refusals := func(of string) []string {
		all := m.do(t, client, http.MethodGet, ip+":15090", "/stats/prometheus").body
		return keep(all, "istio_requests_total{", `response_flags="OM"`, "/sa/"+of)
	}
	eventually(t, "the attacker to be told that it has too much under way", func() bool { return len(refusals("attacker")) > 0 })
	load := []string{"http://" + filledIP + "/", "--rate", "50", "--concurrency", "4", "--timeout", "10s", "--for", attackTime().String()}
	r := m.call(t, client, load...)
	t.Logf("the other peer: %d calls, %d failed, p50 %.1f ms, p99 %.1f ms, slowest %.0f ms", r.Requests, r.Failed, r.P50, r.P99, r.Max)
	if r.Failed > 0 || r.OK < 20 {
		t.Errorf("the other peer: %+v", r)
	}
	if lost := refusals("client"); len(lost) > 0 {
		t.Errorf("calls of the other peer were refused: %q", lost)
	}
	opened, sent := end()
	most := m.memory(t, victim, "VmHWM:")
	t.Logf("%d connections, %d requests on them; the sidecar has had %.1f MB at most", opened, sent, float64(most)/1000)
	if most > attackedMemory*1000 {
		t.Errorf("the sidecar has had %d kB, want at most %d MB", most, attackedMemory)
	}
	if p := m.find(t, victim); p.Restarts > 0 {
		t.Errorf("the pod was restarted %d times", p.Restarts)
	}
}

// identityOf gives the means to prove an identity of namespace shop to peers, signed by the lab's own authority.
func (m *mesh) identityOf(t *testing.T, account string) *identity.Workload {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	authority, err := ca.LoadOrCreate(filepath.Join(m.StateDir(), "controller"), ca.Options{TrustDomain: "cluster.local", Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	w, err := identity.NewWorkload(identity.WorkloadOptions{Logger: log, Sign: func(_ context.Context, csr []byte) (chain []byte, said identity.Trust, err error) {
		request, err := x509.ParseCertificateRequest(csr)
		if err != nil {
			return nil, identity.Trust{}, err
		}
		chain, err = authority.Sign(request, identity.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: account}, 0)
		return chain, identity.Trust{Own: authority.Roots()}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case <-w.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("no certificate: %v", err)
	}
	return w
}
