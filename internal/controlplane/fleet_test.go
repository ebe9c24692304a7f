package controlplane

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ads "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"fairlead.dev/fairlead/internal/xds"
)

// fleetVariable makes a process of this test the fleet of clients: "ADDRESS ENVOYS".
const fleetVariable = "FAIRLEAD_TEST_FLEET"

// TestStandardFleet has Envoys, sidecars that follow everything by deltas, hear of endpoints that come and go. They are in a process of
// their own. FAIRLEAD_ENVOYS and FAIRLEAD_SERVICES say how many there are, FAIRLEAD_EVENTS how often an endpoint
// comes or goes: make bench-xds.
func TestStandardFleet(t *testing.T) {
	if of := os.Getenv(fleetVariable); of != "" {
		runFleet(t, of)
		return
	}
	envoys, services := fromEnvironment(t, "FAIRLEAD_ENVOYS", 20), fromEnvironment(t, "FAIRLEAD_SERVICES", 20)
	w := start(t, "pods.yaml", fleetPods(envoys), "services.yaml", fleetServices(services), "slice.yaml", fleetSlice(0, 3))
	before := heap()
	f := startFleet(t, w.plain, envoys)
	began := time.Now()
	f.line(t, "ready")
	t.Logf("%d Envoys with %d services each: %.1f s until all have everything, %.0f KiB of heap per Envoy",
		envoys, services, time.Since(began).Seconds(), float64(heap()-before)/1024/float64(envoys))

	writeHeap(t)
	events := fromEnvironment(t, "FAIRLEAD_EVENTS", 20)
	var took []time.Duration
	cpu := processTime(t)
	for i := range events {
		at := time.Now()
		w.write(t, "slice.yaml", fleetSlice(0, 3+(i+1)%2))
		last, err := strconv.ParseInt(f.line(t, "acknowledged"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Unix(0, last).Sub(at))
	}
	cpu = processTime(t) - cpu
	slices.Sort(took)
	f.in.Close()
	var responses, endpoints, bytes int
	var theirs time.Duration
	if _, err := fmt.Sscanf(f.line(t, "heard"), "%d %d %d %d", &responses, &endpoints, &bytes, &theirs); err != nil {
		t.Fatal(err)
	}
	if responses == 0 {
		t.Fatal("the Envoys have heard nothing")
	}
	t.Logf("endpoint event → last acknowledgement: shortest %s, median %s, longest %s; %.1f ms of the control plane's CPU per event, %.1f of the Envoys'; %d bytes per Envoy and event",
		took[0], took[events/2], took[events-1], cpu.Seconds()*1000/float64(events), theirs.Seconds()*1000/float64(events), bytes/responses)
	if responses != events*envoys || endpoints != responses {
		t.Errorf("%d responses, %d of them endpoints, want one of endpoints for each of %d Envoys and %d events", responses, endpoints, envoys, events)
	}
	if bytes/responses > 400 {
		t.Errorf("%d bytes per response, want 400 at most", bytes/responses)
	}
}

func fromEnvironment(t *testing.T, name string, initial int) int {
	t.Helper()
	if os.Getenv(name) == "" {
		return initial
	}
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil || n < 1 || n > 60_000 {
		t.Fatalf("%s=%s", name, os.Getenv(name))
	}
	return n
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// writeHeap writes the profile of the heap to the file that FAIRLEAD_HEAP names, if it does.
func writeHeap(t *testing.T) {
	t.Helper()
	name := os.Getenv("FAIRLEAD_HEAP")
	if name == "" {
		return
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := pprof.WriteHeapProfile(f); err != nil {
		t.Fatal(err)
	}
}

func processTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fleetAddress is that of an Envoy's pod: all of 127.0.0.0/8 is this machine.
func fleetAddress(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 1, byte(i / 250), byte(1 + i%250)})
}

// fleetPods are of workloads with three pods each, on fifty nodes.
func fleetPods(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `apiVersion: v1
kind: Pod
metadata: {name: envoy-%d, namespace: myapp, labels: {app: envoy-%d, pod-template-hash: h%[2]d}, annotations: {fairlead.dev/status: injected}}
spec: {serviceAccountName: envoy, nodeName: n%d, containers: [{name: app, image: x}]}
status: {podIP: %s, phase: Running}
---
`, i, i/3, i%50, fleetAddress(i))
	}
	return b.String()
}

func fleetServices(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata: {name: s-%d, namespace: myapp}
spec: {clusterIP: 10.96.%d.%d, ports: [{name: http, port: 80, targetPort: 8080}]}
---
`, i, i/250, 1+i%250)
		if i > 0 {
			b.WriteString(fleetSlice(i, 3))
		}
	}
	return b.String()
}

func fleetSlice(service, endpoints int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-%[1]d-abc, namespace: myapp, labels: {kubernetes.io/service-name: s-%[1]d}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
`, service)
	for i := range endpoints {
		fmt.Fprintf(&b, "- {addresses: [10.%d.%d.%d], conditions: {ready: true}}\n", 1+service/250, service%250, 1+i)
	}
	return b.String() + "---\n"
}

// fleet is the process of the clients.
type fleet struct {
	in  io.Closer
	out *bufio.Scanner
}

func startFleet(t *testing.T, addr string, envoys int) *fleet {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), self, "-test.run=^TestStandardFleet$", "-test.v")
	cmd.Env, cmd.Stderr = append(os.Environ(), fmt.Sprintf("%s=%s %d", fleetVariable, addr, envoys)), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the fleet: %v", err)
		}
	})
	return &fleet{in: in, out: bufio.NewScanner(out)}
}

// fleetPatience is how long a line of the fleet may take; three hundred Envoys had everything after 17 s, on a busy machine.
const fleetPatience = 5 * time.Minute

// line waits for a line of the fleet that begins with a word, and gives the rest. A fleet that says nothing is ended.
func (f *fleet) line(t *testing.T, word string) string {
	t.Helper()
	late := time.AfterFunc(fleetPatience, func() { f.in.Close() })
	defer late.Stop()
	for f.out.Scan() {
		if rest, ok := strings.CutPrefix(f.out.Text(), "fleet "+word); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("the fleet ended without saying %q: %v", word, f.out.Err())
	return ""
}

// heardByFleet is what all clients together have heard since they were ready.
type heardByFleet struct {
	mu                          sync.Mutex
	envoys, ready               int // guarded by mu, as the next
	responses, endpoints, bytes int
	since                       time.Duration // CPU of the process when they were ready
	cpu                         func() time.Duration
}

// runFleet is the process: it ends when its standard input does.
func runFleet(t *testing.T, of string) {
	addr, number, _ := strings.Cut(of, " ")
	envoys, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	all := &heardByFleet{envoys: envoys, cpu: func() time.Duration { return processTime(t) }}
	var clients sync.WaitGroup
	room := make(chan struct{}, 8) // that are given everything at a time
	for i := range envoys {
		clients.Go(func() {
			room <- struct{}{}
			if err := all.follow(ctx, addr, i, func() { <-room }); err != nil && ctx.Err() == nil {
				fmt.Printf("fleet failed: %v\n", err)
				os.Exit(1)
			}
		})
	}
	io.Copy(io.Discard, os.Stdin)
	took := processTime(t) - all.since
	cancel()
	clients.Wait()
	fmt.Printf("fleet heard %d %d %d %d\n", all.responses, all.endpoints, all.bytes, took)
}

// follow is one Envoy: it asks for everything, and acknowledges what it hears.
func (h *heardByFleet) follow(ctx context.Context, addr string, number int, served func()) error {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)),
		// Envoy's windows do not change. Where they may, grpc sends a PING with most messages, to measure: the server would have to answer it.
		grpc.WithInitialWindowSize(16<<20), grpc.WithInitialConnWindowSize(24<<20),
		grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(fleetAddress(number), 0))}
			return d.DialContext(ctx, "tcp", to)
		}))
	if err != nil {
		return err
	}
	defer conn.Close()
	s, err := ads.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	node := &core.Node{
		Id: fmt.Sprintf("sidecar~%s~envoy-%d.myapp~myapp.svc.cluster.local", fleetAddress(number), number), UserAgentName: "envoy",
		Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"INTERCEPTION_MODE": structpb.NewStringValue("REDIRECT")}},
	}
	if err := s.Send(&ads.DeltaDiscoveryRequest{Node: node, TypeUrl: xds.Cluster.URL()}); err != nil {
		return err
	}
	missing := map[xds.Type]int{xds.Cluster: 1, xds.Listener: 1, xds.Routes: 1}
	for ready := false; ; {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		if err := s.Send(&ads.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}); err != nil {
			return err
		}
		typ := xds.TypeOf(r.GetTypeUrl())
		if ready {
			h.note(typ, r)
			continue
		}
		missing[typ] -= len(r.GetResources())
		if err := fleetAsks(s, typ, r, missing); err != nil {
			return err
		}
		ready = true
		for _, n := range missing {
			ready = ready && n <= 0
		}
		if ready {
			served()
			h.isReady()
		}
	}
}

// fleetAsks sends what follows from a response.
func fleetAsks(s ads.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, typ xds.Type, r *ads.DeltaDiscoveryResponse, missing map[xds.Type]int) error {
	if typ == xds.Listener {
		return s.Send(&ads.DeltaDiscoveryRequest{TypeUrl: xds.Routes.URL(), ResourceNamesSubscribe: []string{"80"}})
	}
	if typ != xds.Cluster {
		return nil
	}
	var names []string
	for _, res := range r.GetResources() {
		c := &clusterv3.Cluster{}
		if err := proto.Unmarshal(res.GetResource().GetValue(), c); err != nil {
			return err
		}
		if c.GetType() == clusterv3.Cluster_EDS {
			names = append(names, c.GetName())
		}
	}
	missing[xds.Endpoints] += len(names)
	if err := s.Send(&ads.DeltaDiscoveryRequest{TypeUrl: xds.Endpoints.URL(), ResourceNamesSubscribe: names}); err != nil {
		return err
	}
	return s.Send(&ads.DeltaDiscoveryRequest{TypeUrl: xds.Listener.URL()})
}

func (h *heardByFleet) isReady() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready++
	if h.ready == h.envoys {
		h.since = h.cpu()
		fmt.Println("fleet ready")
	}
}

func (h *heardByFleet) note(typ xds.Type, r *ads.DeltaDiscoveryResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.responses++
	h.bytes += proto.Size(r)
	if typ == xds.Endpoints {
		h.endpoints++
	}
	if h.responses%h.envoys == 0 {
		fmt.Printf("fleet acknowledged %d\n", time.Now().UnixNano())
	}
}
