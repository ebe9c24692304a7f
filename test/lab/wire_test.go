package lab_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/internal/lab/demoapp"
)

// Addresses of the Services in TestWire.
const (
	shopIP    = "10.96.0.40"
	plainIP   = "10.96.0.41"
	dnsServer = "10.96.0.10:53"
)

func wireManifests() string {
	many := `{name: http, port: 80, targetPort: web}, {name: grpc, port: 90, targetPort: web}, {name: other, port: 8081, targetPort: web}, ` +
		`{name: tcp-echo, port: 9000}, {name: undeclared, port: 3306}`
	return app{name: "client", replicas: 1}.String() +
		app{name: "outsider", replicas: 1, bare: true}.String() +
		app{name: "exempt", replicas: 1, annotations: `traffic.sidecar.istio.io/excludeOutboundPorts: "8081"`}.String() +
		app{name: "server", replicas: 1, args: `--tcp, "9000", --greeting, "3306"`}.String() +
		app{name: "plain", replicas: 1, args: `--tcp, "9000", --greeting, "3306"`, bare: true}.String() +
		service("server", shopIP, "app: server", many) +
		service("plain", plainIP, "app: plain", many) +
		object("apps/v1", "StatefulSet", "db", `
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - {name: app, image: fairlead.dev/demo-app, args: [--name, db], ports: [{name: web, containerPort: 8080}]}`) +
		service("db", "", "app: db", "{name: http, port: 8080}", "clusterIP: None")
}

// serviceEntry leads to fixed endpoints, and gets its address from the mesh.
func serviceEntry(name string, endpoint netip.Addr) string {
	return object("networking.istio.io/v1", "ServiceEntry", "external", `
  hosts: [`+name+`]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{name: http, number: 80, protocol: HTTP, targetPort: 8080}]
  endpoints: [{address: `+endpoint.String()+`}]`)
}

func TestWire(t *testing.T) {
	t.Parallel()
	m := startMesh(t, wireManifests())
	t.Run("both_sides_know_who_the_other_is", func(t *testing.T) {
		got := xfcc(m.do(t, client, http.MethodGet, shopIP+":80", "/"))
		for _, want := range []string{"URI=spiffe://cluster.local/ns/shop/sa/client", "By=spiffe://cluster.local/ns/shop/sa/server"} {
			if !strings.Contains(got, want) {
				t.Errorf("X-Forwarded-Client-Cert %q, want %s in it", got, want)
			}
		}
	})
	t.Run("a_client_cannot_claim_an_identity", func(t *testing.T) {
		forged := "By=spiffe://x;URI=spiffe://cluster.local/ns/shop/sa/admin"
		for _, from := range []string{client, "deploy/outsider-v1"} {
			if got := xfcc(m.do(t, from, http.MethodGet, shopIP+":80", "/", "X-Forwarded-Client-Cert: "+forged)); strings.Contains(got, "admin") {
				t.Errorf("the app saw %q of %s", got, from)
			}
		}
	})
	t.Run("the_wire_carries_tls_only", func(t *testing.T) { wireIsTLS(t, m) })
	t.Run("clients_and_servers_without_a_sidecar", func(t *testing.T) {
		for _, tt := range []struct{ name, from, to string }{
			{"unmeshed_to_meshed", "deploy/outsider-v1", shopIP}, {"meshed_to_unmeshed", client, plainIP},
		} {
			a := m.do(t, tt.from, http.MethodGet, tt.to+":80", "/")
			if a.StatusCode != http.StatusOK || xfcc(a) != "" {
				t.Errorf("%s: status %d, certificate %q; want 200 and none", tt.name, a.StatusCode, xfcc(a))
			}
		}
	})
	t.Run("a_server_that_speaks_first", func(t *testing.T) {
		for _, to := range []string{shopIP, plainIP} {
			begun := time.Now()
			got, err := m.converse(t, client, to+":3306", "hello")
			if took := time.Since(begun); err != nil || got != demoapp.Greeting+"hello" || took > patience/2 {
				t.Errorf("%s sent %q, %v, after %s; want greeting and echo at once", to, got, err, took)
			}
		}
	})
	t.Run("tcp_with_half_close", func(t *testing.T) {
		long := strings.Repeat("0123456789abcdef", 64<<10/16)
		for _, port := range []string{":9000", ":3306"} {
			got, err := m.converse(t, client, shopIP+port, long)
			if got = strings.TrimPrefix(got, demoapp.Greeting); err != nil || got != long {
				t.Errorf("port %s: %d bytes came back of %d, %v", port, len(got), len(long), err)
			}
		}
	})
	t.Run("web_socket", func(t *testing.T) {
		for _, hop := range []struct{ name, from, to string }{
			{"one_sidecar_at_the_client", client, plainIP},
			{"one_sidecar_at_the_server", "deploy/outsider-v1", shopIP},
			{"two_sidecars", client, shopIP},
		} {
			t.Run(hop.name, func(t *testing.T) { webSocket(t, m, hop.from, hop.to+":80") })
		}
	})
	t.Run("http2_by_prior_knowledge", func(t *testing.T) {
		for _, port := range []string{":80", ":90"} {
			c := m.client(t, client, shopIP+port)
			c.Transport.(*http.Transport).Protocols = new(http.Protocols)
			c.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
			for range 3 {
				a, err := request(t.Context(), c, http.MethodGet, "http://server"+port+"/h2")
				if err != nil || a.ProtoMajor != 2 || a.echo.Path != "/h2" || xfcc(a) == "" {
					t.Fatalf("port %s: %v, answer %+v", port, err, a)
				}
			}
		}
	})
	t.Run("pods_of_a_statefulset_have_names", func(t *testing.T) {
		for _, name := range []string{"db-0", "db-1"} {
			r := m.call(t, client, "http://"+name+".db:8080/", "--count", "4", "--new-connections")
			if r.OK != 4 || r.Pods[name] != 4 {
				t.Errorf("4 calls of %s: %+v", name, r)
			}
			ip := m.find(t, name).IPs[0].String()
			if xfcc(m.do(t, client, http.MethodGet, ip+":8080", "/")) == "" {
				t.Errorf("the call of %s by its address came in plaintext", name)
			}
		}
		if r := m.call(t, client, "http://db:8080/", "--count", "40", "--new-connections"); r.OK != 40 || len(r.Pods) != 2 {
			t.Errorf("40 calls of the headless name: %+v", r)
		}
	})
	t.Run("dns_answers_what_it_knows_and_asks_for_the_rest", func(t *testing.T) { dnsAnswers(t, m) })
	t.Run("a_service_entry_gets_an_address", func(t *testing.T) {
		m.write(t, "external.yaml", serviceEntry("external.example", m.find(t, "deploy/plain-v1").IPs[0]))
		var addr netip.Addr
		eventually(t, "an address of external.example", func() bool {
			addrs, err := m.resolver(client).LookupNetIP(t.Context(), "ip4", "external.example.")
			if err == nil && len(addrs) == 1 {
				addr = addrs[0]
			}
			return addr.IsValid()
		})
		if !netip.MustParsePrefix("240.240.0.0/16").Contains(addr) {
			t.Errorf("external.example has address %s, want one of 240.240.0.0/16", addr)
		}
		v6, err := m.resolver(client).LookupNetIP(t.Context(), "ip6", "external.example.")
		if err != nil || len(v6) != 1 || !netip.MustParsePrefix("2001:2::/48").Contains(v6[0]) {
			t.Errorf("external.example has IPv6 addresses %v (%v), want one of 2001:2::/48", v6, err)
		} else if a := m.do(t, client, http.MethodGet, netip.AddrPortFrom(v6[0], 80).String(), "/"); a.StatusCode != http.StatusOK || a.echo.Name != "plain" {
			t.Errorf("call of %s: status %d, %q", v6[0], a.StatusCode, a.body)
		}
		if r := m.call(t, client, "http://external.example/", "--count", "10"); r.OK != 10 || r.Pods[m.find(t, "deploy/plain-v1").Name] != 10 {
			t.Errorf("10 calls: %+v", r)
		}
	})
	t.Run("what_the_mesh_does_not_know_passes_through", func(t *testing.T) {
		ip := m.find(t, "deploy/plain-v1").IPs[0].String()
		if a := m.do(t, client, http.MethodGet, ip+":8080", "/"); a.StatusCode != http.StatusOK || a.echo.Name != "plain" {
			t.Errorf("call of an unmeshed pod's address: status %d, %q", a.StatusCode, a.body)
		}
		if got, err := m.converse(t, client, ip+":9000", "raw"); err != nil || got != "raw" {
			t.Errorf("raw TCP to it: %q, %v", got, err)
		}
		if a := m.do(t, client, http.MethodGet, "10.244.0.1:15014", "/healthz/ready"); a.StatusCode != http.StatusOK {
			t.Errorf("call of the node's address: status %d", a.StatusCode)
		}
	})
	t.Run("an_excluded_port_bypasses_the_sidecar", func(t *testing.T) {
		exempt := "deploy/exempt-v1"
		if xfcc(m.do(t, exempt, http.MethodGet, shopIP+":80", "/")) == "" {
			t.Error("port 80 came in plaintext")
		}
		a := m.do(t, exempt, http.MethodGet, shopIP+":8081", "/")
		if a.StatusCode != http.StatusOK || xfcc(a) != "" {
			t.Errorf("port 8081: status %d, certificate %q; want 200 and none", a.StatusCode, xfcc(a))
		}
	})
	t.Run("metrics_of_both_sides", func(t *testing.T) { metricsOfBothSides(t, m) })
}

// wireIsTLS watches the server's wire during calls.
func wireIsTLS(t *testing.T, m *mesh) {
	t.Helper()
	flows, err := m.Capture(t.Context(), lab.CaptureOptions{
		Pod: pod("deploy/server-v1"), Grep: "/very/secret/path",
		Started: func() {
			for range 10 {
				m.do(t, client, http.MethodGet, shopIP+":80", "/very/secret/path")
			}
			if got, err := m.converse(t, client, shopIP+":9000", "/very/secret/path"); err != nil || got != "/very/secret/path" {
				t.Errorf("echo %q, %v", got, err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	from := m.find(t, client).IPs
	carried := 0
	for _, f := range flows {
		if f.Matches > 0 {
			t.Errorf("readable on the wire: %+v", f)
		}
		if !slices.Contains(from, f.Peer.Addr()) || f.BytesIn == 0 {
			continue
		}
		carried += f.BytesIn
		if f.Pod.Port() != 15008 || !strings.HasPrefix(f.FirstIn, "TLS") {
			t.Errorf("a flow from the client is not the mesh's TLS: %+v", f)
		}
	}
	if carried < 1000 {
		t.Errorf("the capture saw %d bytes from the client: %+v", carried, flows)
	}
}

// converse sends text on a new connection, closes its side and reads to the end.
func (m *mesh) converse(t *testing.T, name, address, text string) (string, error) {
	t.Helper()
	conn, err := m.DialPod(t.Context(), pod(name), address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, text)
		if err == nil {
			err = conn.(*net.TCPConn).CloseWrite()
		}
		sent <- err
	}()
	raw, err := io.ReadAll(conn)
	if sendErr := <-sent; err == nil {
		err = sendErr
	}
	return string(raw), err
}

func webSocket(t *testing.T, m *mesh, from, to string) {
	t.Helper()
	conn, err := m.DialPod(t.Context(), pod(from), to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// The key and its answer are the example of RFC 6455, section 1.3.
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("answer %+v", resp)
	}
	for i := range 5 {
		payload := fmt.Sprintf("message %d", i)
		frame := append([]byte{0x81, byte(len(payload))}, payload...) // a final text frame, without mask
		if _, err := conn.Write(frame); err != nil {
			t.Fatal(err)
		}
		back := make([]byte, len(frame))
		if _, err := io.ReadFull(r, back); err != nil || !bytes.Equal(back, frame) {
			t.Fatalf("frame %q came back as %q, %v", frame, back, err)
		}
	}
}

// resolver asks DNS from inside a pod.
func (m *mesh) resolver(name string) *net.Resolver { return m.resolverAt(name, dnsServer) }

// resolverAt asks the DNS server at an address.
func (m *mesh) resolverAt(name, server string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return m.DialPod(ctx, pod(name), server)
	}}
}

func dnsAnswers(t *testing.T, m *mesh) {
	t.Helper()
	r := m.resolver(client)
	db := []netip.Addr{m.find(t, "db-0").IPs[0], m.find(t, "db-1").IPs[0]}
	for _, tt := range []struct {
		name string
		want []netip.Addr
	}{
		{"server.shop.svc.cluster.local.", []netip.Addr{netip.MustParseAddr(shopIP)}},
		{"db.shop.svc.cluster.local.", db},
		{"db-1.db.shop.svc.cluster.local.", db[1:]},
	} {
		got, err := r.LookupNetIP(t.Context(), "ip4", tt.name)
		slices.SortFunc(got, netip.Addr.Compare)
		slices.SortFunc(tt.want, netip.Addr.Compare)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s = %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
	for _, name := range []string{"nobody.shop.svc.cluster.local.", "www.example.invalid."} {
		_, err := r.LookupNetIP(t.Context(), "ip4", name)
		if dnsErr, ok := err.(*net.DNSError); !ok || !dnsErr.IsNotFound { //nolint:errorlint // the resolver gives no other
			t.Errorf("%s: %v, want no such host", name, err)
		}
	}
	// UDP, with the search path, as an app asks.
	if code, out, errOut := m.exec(t, client, "fairlead", "demo-app", "call", "http://server.shop/", "-o", "json"); code != 0 {
		t.Errorf("call by name: %s%s", out, errOut)
	}
}

func metricsOfBothSides(t *testing.T, m *mesh) {
	t.Helper()
	const calls = 7
	for range calls {
		m.do(t, "deploy/exempt-v1", http.MethodGet, shopIP+":80", "/status/404")
	}
	labels := []string{
		`istio_requests_total{`, `source_workload="exempt-v1"`, `source_workload_namespace="shop"`, `destination_workload="server-v1"`,
		`destination_workload_namespace="shop"`, `destination_service="server.shop.svc.cluster.local"`, `destination_service_name="server"`,
		`request_protocol="http"`, `response_code="404"`, `response_flags="-"`,
		`source_principal="spiffe://cluster.local/ns/shop/sa/exempt"`, `destination_principal="spiffe://cluster.local/ns/shop/sa/server"`,
	}
	for _, side := range []struct{ pod, reporter, policy string }{
		{"deploy/exempt-v1", `reporter="source"`, `connection_security_policy="unknown"`},
		{"deploy/server-v1", `reporter="destination"`, `connection_security_policy="mutual_tls"`},
	} {
		for _, page := range []string{"127.0.0.1:15090", "127.0.0.1:15020"} {
			eventually(t, fmt.Sprintf("one line with %d of %s at %s", calls, side.reporter, page), func() bool { // they count behind the answer
				lines := keep(m.do(t, side.pod, http.MethodGet, page, "/stats/prometheus").body, append(labels, side.reporter, side.policy)...)
				return len(lines) == 1 && strings.HasSuffix(lines[0], fmt.Sprintf(" %d", calls))
			})
		}
	}
	for _, family := range []string{"istio_request_duration_milliseconds_count", "istio_tcp_connections_opened_total", "istio_tcp_sent_bytes_total"} {
		if body := m.do(t, client, http.MethodGet, "127.0.0.1:15090", "/stats/prometheus").body; len(keep(body, family+"{", `source_workload="client-v1"`)) == 0 {
			t.Errorf("no %s of the client", family)
		}
	}
	if body := m.do(t, client, http.MethodGet, "127.0.0.1:15090", "/stats/prometheus").body; len(keep(body, `fairlead_dns_questions_total{outcome="answered"}`)) != 1 {
		t.Error("nothing is said of the client's questions to DNS")
	}
}
