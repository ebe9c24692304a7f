package xds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"fairlead.dev/fairlead/internal/net/h2server"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// memory is a Source whose views all see the same.
type memory struct {
	mu      sync.Mutex
	content map[Type]map[string]Resource // guarded by mu, as the next
	watched map[Key]int
	gate    atomic.Pointer[func()] // runs before each answer
	idle    chan struct{}
}

func newMemory() *memory {
	m := &memory{content: make(map[Type]map[string]Resource), watched: make(map[Key]int), idle: make(chan struct{}, 1)}
	for t := Cluster; t < types; t++ {
		m.content[t] = make(map[string]Resource)
	}
	return m
}

// before has f run before each answer, also of a server that serves already.
func (m *memory) before(f func()) { m.gate.Store(&f) }

// Watch implements Source.
func (m *memory) Watch(_ context.Context, keys []Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		m.watched[k]++
	}
	return nil
}

// Unwatch implements Source.
func (m *memory) Unwatch(keys []Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		m.watched[k]--
		if m.watched[k] <= 0 {
			delete(m.watched, k)
		}
	}
	if len(m.watched) == 0 {
		select {
		case m.idle <- struct{}{}:
		default:
		}
	}
}

// Answers implements Source.
func (m *memory) Answers(keys []Key) []Answer {
	if gate := m.gate.Load(); gate != nil {
		(*gate)()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	answers := make([]Answer, len(keys))
	for i, k := range keys {
		switch r, ok := m.content[k.Type][k.Name]; {
		case m.watched[k] == 0:
			answers[i].Unknown = true
		case k.Name == All:
			for _, n := range slices.Sorted(maps.Keys(m.content[k.Type])) {
				answers[i].Resources = append(answers[i].Resources, m.content[k.Type][n])
			}
		case ok:
			answers[i].Resources = []Resource{r}
		}
	}
	return answers
}

// change is "cds/name" and a version; an empty version takes the resource away.
type change struct{ name, version string }

func split(name string) (Type, string) {
	kind, name, _ := strings.Cut(name, "/")
	for t := Cluster; t < types; t++ {
		if strings.EqualFold(t.String(), kind) {
			return t, name
		}
	}
	panic("no such type: " + kind)
}

// put changes the content, and gives the keys that have changed.
func (m *memory) put(changes ...change) (keys []Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		t, name := split(c.name)
		_, had := m.content[t][name]
		if c.version == "" {
			delete(m.content[t], name)
		} else {
			m.content[t][name] = Resource{Name: name, Version: c.version, Body: body(t, name, c.version)}
		}
		keys = append(keys, Key{View: "view", Type: t, Name: name})
		if _, has := m.content[t][name]; t.whole() && (had || has) {
			keys = append(keys, Key{View: "view", Type: t, Name: All})
		}
	}
	return keys
}

// body is a cluster with endpoints of its own, where it is to be one.
func body(t Type, name, version string) []byte {
	c := &clusterv3.Cluster{Name: name, AltStatName: version}
	if t == Cluster && !strings.HasPrefix(name, "static") {
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
	}
	b, err := proto.Marshal(c)
	if err != nil {
		panic(err)
	}
	return b
}

// world is a Server with its source, on a port of its own.
type world struct {
	t      *testing.T
	server *Server
	memory *memory
	addr   string
	log    *lines
}

// lines is where the server writes.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), part)
}

func start(t *testing.T, o Options, content ...change) *world {
	t.Helper()
	w := &world{t: t, memory: newMemory(), log: &lines{}}
	w.memory.put(content...)
	if o.Source = w.memory; o.Sights != nil {
		o.Source = byView{w.memory}
	}
	o.Logger = slog.New(slog.NewTextHandler(w.log, nil))
	o.Authenticate = func(r *http.Request) (Peer, error) {
		who, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return Peer{}, grpcstatus.Error(codes.Unauthenticated, "the call carries no bearer token")
		}
		return Peer{Namespace: "ns", Pod: who}, nil
	}
	o.View = func(_ context.Context, _ Peer, n Node) (View, error) {
		if n.ID == "" {
			return "", grpcstatus.Error(codes.InvalidArgument, "the first request names no node")
		}
		return "view", nil
	}
	o.Hold = cmp.Or(o.Hold, patience)
	server, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = listener.Addr().String()
	h := &h2server.Server{Handler: server, Logger: slog.New(slog.DiscardHandler)}
	var wg sync.WaitGroup
	wg.Go(func() { h.Serve(context.WithoutCancel(t.Context()), listener) })
	t.Cleanup(func() {
		server.Close()
		h.Shutdown(context.WithoutCancel(t.Context()))
		wg.Wait()
		server.Wait()
		if left := len(w.memory.watched); left != 0 {
			t.Errorf("%d keys are still watched", left)
		}
	})
	return w
}

// change changes the content and tells the server.
func (w *world) change(changes ...change) { w.server.Changed(w.memory.put(changes...)) }

// client is one call of a raw client.
type client struct {
	t      *testing.T
	cancel context.CancelFunc
	sotw   discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	delta  discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func (w *world) dial(who string) (discovery.AggregatedDiscoveryServiceClient, context.Context, context.CancelFunc) {
	w.t.Helper()
	conn, err := grpc.NewClient(w.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	if who != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+who)
	}
	over := func() { cancel(); conn.Close() }
	w.t.Cleanup(over)
	return discovery.NewAggregatedDiscoveryServiceClient(conn), ctx, over
}

// states opens a stream of the state of the world; differences one of deltas.
func (w *world) states(who string) *client {
	w.t.Helper()
	ads, ctx, cancel := w.dial(who)
	s, err := ads.StreamAggregatedResources(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return &client{t: w.t, cancel: cancel, sotw: s}
}

func (w *world) differences(who string) *client {
	w.t.Helper()
	ads, ctx, cancel := w.dial(who)
	s, err := ads.DeltaAggregatedResources(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return &client{t: w.t, cancel: cancel, delta: s}
}

var node = &core.Node{Id: "sidecar~10.0.0.9~client.myapp~myapp.svc.cluster.local"}

// ask sends the first request of a type.
func (c *client) ask(t Type, names ...string) {
	c.t.Helper()
	if c.sotw != nil {
		c.say(&discovery.DiscoveryRequest{Node: node, TypeUrl: t.URL(), ResourceNames: names})
		return
	}
	c.sayDelta(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: t.URL(), ResourceNamesSubscribe: names})
}

func (c *client) say(r *discovery.DiscoveryRequest) {
	c.t.Helper()
	c.sent(c.sotw.Send(r))
}

func (c *client) sayDelta(r *discovery.DeltaDiscoveryRequest) {
	c.t.Helper()
	c.sent(c.delta.Send(r))
}

// sent looks at how sending went. A stream that the server has ended already says so by io.EOF, and receiving says why.
func (c *client) sent(err error) {
	c.t.Helper()
	if err != nil && !errors.Is(err, io.EOF) {
		c.t.Fatal(err)
	}
}

// heard is a response of either protocol.
type heard struct {
	typ            Type
	nonce, version string
	text           string // "CDS a=1 b=1 -c"
}

// hear waits for a response.
func (c *client) hear() heard {
	c.t.Helper()
	var h heard
	var parts []string
	if c.sotw != nil {
		r, err := c.sotw.Recv()
		if err != nil {
			c.t.Fatal(err)
		}
		h = heard{typ: TypeOf(r.GetTypeUrl()), nonce: r.GetNonce(), version: r.GetVersionInfo()}
		for _, res := range r.GetResources() {
			m := &clusterv3.Cluster{}
			if err := proto.Unmarshal(res.GetValue(), m); err != nil || res.GetTypeUrl() != r.GetTypeUrl() {
				c.t.Fatalf("a resource of type %s in a response of %s: %v", res.GetTypeUrl(), r.GetTypeUrl(), err)
			}
			parts = append(parts, m.GetName()+"="+m.GetAltStatName())
		}
	} else {
		r, err := c.delta.Recv()
		if err != nil {
			c.t.Fatal(err)
		}
		h = heard{typ: TypeOf(r.GetTypeUrl()), nonce: r.GetNonce(), version: r.GetSystemVersionInfo()}
		for _, res := range r.GetResources() {
			parts = append(parts, res.GetName()+"="+res.GetVersion())
		}
		for _, n := range r.GetRemovedResources() {
			parts = append(parts, "-"+n)
		}
	}
	h.text = strings.Join(append([]string{h.typ.String()}, parts...), " ")
	return h
}

// expect waits for a response, and confirms it: of the state of the world with the names that the client wants.
func (c *client) expect(want string, names ...string) heard {
	c.t.Helper()
	h := c.hear()
	if h.text != want {
		c.t.Fatalf("response %q, want %q", h.text, want)
	}
	if c.sotw != nil {
		c.say(&discovery.DiscoveryRequest{TypeUrl: h.typ.URL(), ResourceNames: names, VersionInfo: h.version, ResponseNonce: h.nonce})
	} else {
		c.sayDelta(&discovery.DeltaDiscoveryRequest{TypeUrl: h.typ.URL(), ResponseNonce: h.nonce})
	}
	return h
}

// refusal is a client's word that it does not like a response.
func refusal(why string) *status.Status {
	return &status.Status{Code: int32(codes.InvalidArgument), Message: why}
}

// until waits for a status that is as it should be: the stream's goroutine publishes it when it rests.
func (w *world) until(what string, ok func([]ClientStatus) bool) []ClientStatus {
	w.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		list := w.server.Status()
		if ok(list) {
			return list
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("status never had %s: %s", what, printed(list))
		}
	}
}

func printed(list []ClientStatus) string {
	var b strings.Builder
	for _, c := range list {
		fmt.Fprintf(&b, "\n%s", c.Peer)
		for _, t := range c.Types {
			fmt.Fprintf(&b, " %s{%d names, %d held, synced %t, refusal %v}", t.Type, t.Names, t.Resources, t.Synced, t.Refusal)
		}
	}
	return b.String()
}

// allSynced is a status in which every client has everything that it has asked for: of one whose first question is not answered yet
// nothing is said.
func allSynced(list []ClientStatus) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(c ClientStatus) bool { return len(c.Types) == 0 || !c.Synced() })
}
