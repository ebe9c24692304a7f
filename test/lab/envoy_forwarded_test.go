//go:build envoy

package lab_test

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/test/envoy"
)

// forwarding is a forward proxy, and a server behind the PROXY protocol: it answers with what a connection began with, of both versions
// in the words of the first, and then sends back what comes.
const forwarding = `
import ipaddress, socket, struct, threading
def serve(conn):
    lines = conn.makefile("rb")
    first = lines.peek(1)[:1]
    if first == b"\r":
        head = lines.read(16)
        rest = lines.read(struct.unpack(">H", head[14:])[0])
        began = "PROXY2 %s %s\n" % (ipaddress.ip_address(rest[:4]), ipaddress.ip_address(rest[4:8]))
    else:
        began = lines.readline().decode()
        if began.startswith("CONNECT"):
            while lines.readline().strip(): pass
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    conn.sendall(began.encode())
    while True:
        more = lines.read1(65536)
        if not more: break
        conn.sendall(more)
    conn.shutdown(socket.SHUT_WR)
server = socket.create_server(("", 8080))
while True: threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
`

// began sends a line out of a pod, and gives the line that the connection is told to have begun with.
func (m *mesh) began(t *testing.T, from, address string) (string, error) {
	t.Helper()
	conn, err := m.DialPod(t.Context(), pod(from), address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return "", err
	}
	in := bufio.NewReader(conn)
	began, err := in.ReadString('\n')
	if err != nil {
		return began, err
	}
	if back, err := in.ReadString('\n'); back != "hello\n" {
		return began, fmt.Errorf("%q came back, %w", back, err)
	}
	return strings.TrimSpace(began), nil
}

// TestEnvoyForwarded: sidecars of both kinds ask a forward proxy for connections, and tell a server who has called, by the same rules.
func TestEnvoyForwarded(t *testing.T) {
	path, err := envoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	var manifests strings.Builder
	for _, kind := range mixed() {
		manifests.WriteString(app{name: "from-" + kind, replicas: 1, annotations: "fairlead.dev/proxy: " + kind}.String())
	}
	manifests.WriteString(pythonApp("forwarding-bare", "", forwarding))
	rules := map[string]string{
		"10.96.6.1": "tunnel: {targetHost: bank.example.com, targetPort: 443}", "10.96.6.2": "proxyProtocol: {version: V1}", "10.96.6.3": "proxyProtocol: {version: V2}",
	}
	for address, rule := range rules {
		name := "by-" + strings.ReplaceAll(address, ".", "-")
		manifests.WriteString(service(name, address, "app: forwarding-bare", "{name: tcp, port: 443, targetPort: 8080}") +
			object("networking.istio.io/v1", "DestinationRule", name, "  host: "+name+"\n  trafficPolicy: {"+rule+"}"))
	}
	m := startMesh(t, manifests.String(), func(o *lab.UpOptions) { o.Envoy = path })
	for _, kind := range mixed() {
		from := "deploy/from-" + kind + "-v1"
		ip := m.find(t, from).IPs[0].String()
		for address, want := range map[string]string{
			"10.96.6.1": "CONNECT bank.example.com:443 HTTP/1.1", "10.96.6.2": "PROXY TCP4 " + ip + " 10.96.6.2 ", "10.96.6.3": "PROXY2 " + ip + " 10.96.6.3",
		} {
			t.Run(kind+"_"+address, func(t *testing.T) {
				var got string
				var err error
				eventually(t, rules[address]+" to be obeyed", func() bool {
					got, err = m.began(t, from, address+":443")
					return err == nil && strings.HasPrefix(got, want)
				})
			})
		}
	}
}
