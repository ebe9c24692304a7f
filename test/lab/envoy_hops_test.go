//go:build envoy

package lab_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/test/envoy"
)

// relayProgram passes on the bytes of each connection to the same port of another host, and says nothing of its own. What is HTTP is
// so whatever its version. It holds its servers and tasks itself: asyncio refers to a task weakly, and nothing else leads to one whose
// connection has been read to its end, so that a garbage collection would end it in the middle of the answer.
const relayProgram = `
import asyncio, sys

async def pump(source, sink):
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.write_eof()
    except OSError:
        sink.close()

def relay(host, port, tasks):
    async def carry(reader, writer):
        try:
            r, w = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, w), pump(r, writer))
        w.close()
        writer.close()

    def accepted(reader, writer):
        task = asyncio.create_task(carry(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    return accepted

async def main():
    tasks, servers = set(), []
    for pair in sys.argv[2:]:
        own, port = pair.split(":")
        servers.append(await asyncio.start_server(relay(sys.argv[1], int(port), tasks), "0.0.0.0", int(own)))
    await asyncio.gather(*(server.serve_forever() for server in servers))

asyncio.run(main())
`

// relay is a pod whose app is the program, beside a sidecar of a kind, and its Service.
func relay(name, kind, ip, next string) string {
	command, _ := json.Marshal([]string{"python3", "-c", relayProgram, next, "8080:80", "8081:81", "9000:9000"}) // strings always can be
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: shop, labels: {app: %[1]s}, annotations: {fairlead.dev/proxy: %[2]s}}
spec:
  serviceAccountName: %[1]s
  containers:
  - {name: app, image: any, command: %[3]s, readinessProbe: {tcpSocket: {port: 9000}, periodSeconds: 1}}
---`, name, kind, command) + service(name, ip, "app: "+name, hopPorts)
}

const hopPorts = "{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 81, targetPort: 8081}, {name: tcp-echo, port: 9000}"

// TestEnvoyHops has calls go by three sidecars, of both kinds in turn, all of whom take mutual TLS alone. An Envoy routes by the name
// that is called, which a relay does not change: so a rule says where its calls go.
func TestEnvoyHops(t *testing.T) {
	path, err := envoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	manifests := []string{object("security.istio.io/v1", "PeerAuthentication", "default", "  mtls: {mode: STRICT}")}
	for i, middle := range mixed() {
		ends := mixed()[1-i]
		proxy := "fairlead.dev/proxy: " + ends
		end, hop := "end-"+middle, "middle-"+middle
		address := fmt.Sprint("10.96.6.", 1+i)
		server := app{name: end, replicas: 1, annotations: proxy, args: `--http, "8080,8081", --tcp, "9000"`, ports: "{name: tcp, containerPort: 9000}"}
		manifests = append(manifests, app{name: "begin-" + middle, replicas: 1, annotations: proxy}.String(), server.String(),
			service(end, address, "app: "+end, hopPorts), relay(hop, middle, fmt.Sprint("10.96.7.", 1+i), address),
			virtualService(hop, "\n  http:\n  - match: [{sourceLabels: {app: "+hop+"}}]\n    route: [{destination: {host: "+end+"}}]\n  - route: [{destination: {host: "+hop+"}}]"))
	}
	m := startMesh(t, strings.Join(manifests, ""), func(o *lab.UpOptions) { o.Envoy = path })
	for i, middle := range mixed() {
		t.Run("by_"+middle, func(t *testing.T) { m.hops(t, middle, fmt.Sprint("10.96.7.", 1+i)) })
	}
}

// hops makes calls by a relay beside a kind of sidecar, and looks at who is who at each.
func (m *mesh) hops(t *testing.T, middle, address string) {
	t.Helper()
	from, hop := "deploy/begin-"+middle+"-v1", "middle-"+middle
	for _, way := range []struct {
		name, url string
		args      []string
	}{
		{"h1", "http://" + hop + "/", nil},
		{"h2", "http://" + hop + ":81/", []string{"--http2"}},
		{"grpc", "http://" + hop + ":81/demo.Demo/Stream?count=1", []string{"--grpc"}},
	} {
		t.Run(way.name, func(t *testing.T) {
			r := m.call(t, from, append([]string{way.url, "--count", "1000", "--concurrency", "8"}, way.args...)...)
			if r.OK != 1000 {
				t.Errorf("of 1000 calls %d failed, %v: %v", r.Failed, r.Statuses, r.Errors)
			}
		})
	}
	t.Run("tcp", func(t *testing.T) {
		for range 1000 {
			if err := m.echoes(t, from, address+":9000"); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("who_calls", func(t *testing.T) {
		for _, port := range []string{"80", "81"} {
			a := m.do(t, from, http.MethodGet, address+":"+port, "/", "Host: "+hop, "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/shop/sa/forged")
			got := a.echo.Headers["X-Forwarded-Client-Cert"]
			found := caller.FindAllStringSubmatch(strings.Join(got, ","), -1)
			if len(found) != 1 || found[0][1] != "spiffe://cluster.local/ns/shop/sa/"+hop {
				t.Errorf("port %s: the app at the end is told that %q calls, want %s alone", port, got, hop)
			}
		}
	})
	t.Run("what_is_counted", func(t *testing.T) {
		first, last := "begin-"+middle, "end-"+middle
		if middle == "envoy" { // the sidecars of the ends count by Istio's names
			m.counts(t, from, `reporter="source"`, principal("source", first), principal("destination", hop))
			m.counts(t, "deploy/"+last+"-v1", `reporter="destination"`, principal("source", hop), principal("destination", last))
			return
		}
		m.counts(t, hop, `reporter="destination"`, principal("source", first), principal("destination", hop))
		m.counts(t, hop, `reporter="source"`, principal("source", hop), principal("destination", last))
	})
}

func principal(side, account string) string {
	return side + `_principal="spiffe://cluster.local/ns/shop/sa/` + account + `"`
}

// counts wants a sidecar to have counted requests and connections between who is named.
func (m *mesh) counts(t *testing.T, name string, labels ...string) {
	t.Helper()
	out := m.cli(t, "proxy-config", "metrics", name, "-n", "shop")
	for _, metric := range []string{"istio_requests_total{", "istio_tcp_connections_opened_total{"} {
		found := false
		for line := range strings.Lines(out) {
			all := strings.HasPrefix(line, metric)
			for _, label := range labels {
				all = all && strings.Contains(line, label)
			}
			found = found || all
		}
		if !found {
			t.Errorf("%s has counted no %s with %q", name, metric, labels)
		}
	}
}
