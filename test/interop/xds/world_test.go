package xds

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

// here is the pod that all clients are, by their address.
const here = `
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: west, topology.kubernetes.io/zone: a}}
---
apiVersion: v1
kind: Pod
metadata: {name: here, namespace: myapp, labels: {app: here}}
spec: {nodeName: n1, serviceAccountName: here, containers: [{name: app, image: any}]}
status: {podIP: 127.0.0.1, podIPs: [{ip: 127.0.0.1}], phase: Running}
`

// port is that of all Services and their servers, unless a test says otherwise.
const port = "8080"

// number has each server get another address, and each case other names.
var number atomic.Int32

// world is the part of the mesh that one case has.
type world struct {
	t    *testing.T
	host string // short name of its Service
	file string
	seen []string // manifests
}

func newWorld(t *testing.T) *world {
	t.Helper()
	name := fmt.Sprintf("case-%d", number.Add(1))
	w := &world{t: t, host: name, file: filepath.Join(os.Getenv(manifestsVariable), name+".yaml")}
	t.Cleanup(func() { os.Remove(w.file) })
	return w
}

// apply adds manifests to those of the case, in which HOST is its host. They are put in place as editors do it.
func (w *world) apply(manifests ...string) {
	w.t.Helper()
	w.seen = append(w.seen, manifests...)
	w.write(strings.Join(w.seen, "\n---\n"))
}

// replace puts a manifest in the place of the one that was applied last.
func (w *world) replace(manifest string) {
	w.t.Helper()
	w.seen[len(w.seen)-1] = manifest
	w.write(strings.Join(w.seen, "\n---\n"))
}

func (w *world) write(all string) {
	w.t.Helper()
	temporary := filepath.Join(filepath.Dir(filepath.Dir(w.file)), filepath.Base(w.file)+".tmp")
	if err := os.WriteFile(temporary, []byte(strings.ReplaceAll(all, "HOST", w.host)), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(temporary, w.file); err != nil {
		w.t.Fatal(err)
	}
}

// rule is a VirtualService for the host.
func rule(http string) string {
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: HOST, namespace: myapp}\nspec:\n  hosts: [HOST]\n  http: " + http
}

// policy is a DestinationRule for the host with subsets v1 and v2.
func policy(traffic string) string {
	return "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: HOST, namespace: myapp}\nspec:\n  host: HOST\n" +
		"  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]\n  trafficPolicy: " + traffic
}

// to is a route to a subset.
func to(subset string) string { return "route: [{destination: {host: HOST, subset: " + subset + "}}]" }

// server is a gRPC server that says its name, which is also its version.
type server struct {
	name, ip, zone string
	stop           func()
}

// address gives one that no other server of a case has; those of cases that have ended come round again.
func address() string {
	return fmt.Sprintf("%s.%d", os.Getenv(networkVariable), 10+number.Add(1)%240)
}

// serve starts servers at addresses of their own. One called flaky answers nothing but what is tried again.
func (w *world) serve(names ...string) []server {
	w.t.Helper()
	var out []server
	for _, name := range names {
		ip := address()
		out = append(out, w.serveAt(name, ip+":"+port))
	}
	return out
}

func (w *world) serveAt(name, address string) server {
	w.t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		w.t.Fatal(err)
	}
	s := grpc.NewServer(says(name))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(listener) }() //nolint:errcheck // ends when it is stopped
	stop := func() { s.Stop(); <-done }
	w.t.Cleanup(stop)
	ip, _, _ := strings.Cut(address, ":")
	return server{name: name, ip: ip, stop: stop}
}

func says(name string) grpc.ServerOption {
	return grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		if name == "flaky" && len(md.Get("grpc-previous-rpc-attempts")) == 0 {
			return nil, status.Error(codes.Unavailable, "not the first time")
		}
		if err := grpc.SetHeader(ctx, metadata.Pairs("x-backend", name)); err != nil {
			return nil, err
		}
		return next(ctx, req)
	})
}

// service is the host with its servers behind it.
func service(ports string, servers ...server) string {
	var b strings.Builder
	n := number.Add(1)
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Service\nmetadata: {name: HOST, namespace: myapp}\nspec: {clusterIP: 10.96.%d.%d, selector: {app: HOST}, ports: [%s]}\n",
		1+n>>8, n&0xff, ports)
	for _, s := range servers {
		pod := "HOST-" + strings.ReplaceAll(s.ip, ".", "-")
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: myapp, labels: {app: HOST, version: %[2]s}}
spec: {serviceAccountName: HOST, containers: [{name: app, image: any}]}
status: {podIP: %[3]s, podIPs: [{ip: %[3]s}], phase: Running}
`, pod, s.name, s.ip)
	}
	b.WriteString("---\n" + slice("1", servers...))
	return b.String()
}

const onePort = "{name: grpc, port: " + port + "}"

// slice is an EndpointSlice of the host.
func slice(name string, servers ...server) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: HOST-%s, namespace: myapp, labels: {kubernetes.io/service-name: HOST}}
addressType: IPv4
ports: [{name: grpc, port: %s}]
endpoints:
`, name, port)
	for _, s := range servers {
		zone := ""
		if s.zone != "" {
			zone = ", zone: " + s.zone
		}
		fmt.Fprintf(&b, "- {addresses: [%s], conditions: {ready: true}, targetRef: {kind: Pod, name: HOST-%s, namespace: myapp}%s}\n", s.ip, strings.ReplaceAll(s.ip, ".", "-"), zone)
	}
	return b.String()
}

// target is what an app dials, by the host's whole name.
func (w *world) target() string { return "xds:///" + w.host + ".myapp.svc.cluster.local:" + port }

// eventually asks until ok.
func eventually(t *testing.T, what string, ok func() (string, bool)) {
	t.Helper()
	last := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		said, is := ok()
		if is {
			return
		}
		last = said
	}
	t.Fatalf("%s: never; last: %s", what, last)
}

// only waits until a number of calls in a row are answered by just those that are named, all of them.
func only(t *testing.T, c caller, names ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("calls to be answered by %q alone", names), func() (string, bool) {
		r := c.call(t, 40)
		got := make([]string, 0, len(names))
		for name := range r.Answered {
			got = append(got, name)
		}
		slices.Sort(got)
		return fmt.Sprint(r), r.Failed == 0 && slices.Equal(got, names)
	})
}
