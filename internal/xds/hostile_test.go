package xds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"fairlead.dev/fairlead/internal/clientlog"
)

// protocols open a stream of each.
var protocols = []struct {
	name string
	open func(*world, string) *client
}{
	{"state_of_the_world", (*world).states},
	{"deltas", (*world).differences},
}

// byEach runs a test with clients of each protocol.
func byEach(t *testing.T, run func(t *testing.T, open func(*world, string) *client)) {
	t.Helper()
	t.Parallel()
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			run(t, p.open)
		})
	}
}

// refuse says no to a response.
func (c *client) refuse(h heard, why string, names ...string) {
	c.t.Helper()
	if c.sotw != nil {
		c.say(&discovery.DiscoveryRequest{TypeUrl: h.typ.URL(), ResourceNames: names, ResponseNonce: h.nonce, ErrorDetail: refusal(why)})
		return
	}
	c.sayDelta(&discovery.DeltaDiscoveryRequest{TypeUrl: h.typ.URL(), ResponseNonce: h.nonce, ErrorDetail: refusal(why)})
}

// greet sends a first request by hand.
func (c *client) greet(who *core.Node, url string) {
	c.t.Helper()
	if c.sotw != nil {
		c.say(&discovery.DiscoveryRequest{Node: who, TypeUrl: url})
		return
	}
	c.sayDelta(&discovery.DeltaDiscoveryRequest{Node: who, TypeUrl: url})
}

// end waits for the end of the stream and gives its status.
func (c *client) end() error {
	for {
		var err error
		if c.sotw != nil {
			_, err = c.sotw.Recv()
		} else {
			_, err = c.delta.Recv()
		}
		if err != nil {
			return err
		}
	}
}

// TestEndlessRefusals: a client that says no over and over, each time for another reason, is worth one line for a response and 32 in
// all, is sent nothing again by it, and others get theirs.
func TestEndlessRefusals(t *testing.T) {
	byEach(t, func(t *testing.T, open func(*world, string) *client) {
		w := start(t, Options{}, change{"rds/r", "1"}, change{"eds/e", "1"})
		c, other := open(w, "hostile"), open(w, "other")
		c.ask(Routes, "r")
		h := c.hear()
		for i := range 10_000 {
			c.refuse(h, fmt.Sprint("reason ", i), "r")
		}
		c.ask(Endpoints, "e") // what comes next is this, and not the routes again
		c.expect("EDS e=1", "e")
		if n := w.log.count("refuses its configuration"); n != 1 {
			t.Errorf("%d lines about 10,000 refusals of one response, want 1", n)
		}
		other.ask(Routes, "r")
		other.expect("RDS r=1", "r")
		const rounds = 4 * clientlog.Lines
		for i := range rounds {
			version := fmt.Sprint("v", i)
			w.change(change{"rds/r", version})
			if h = c.hear(); h.text != "RDS r="+version {
				t.Fatalf("response %q, want version %s", h.text, version)
			}
			c.refuse(h, fmt.Sprint("reason ", i), "r")
			other.expect("RDS r="+version, "r")
		}
		if n := w.log.count("refuses its configuration"); n != clientlog.Lines {
			t.Errorf("%d lines about a client that refuses %d responses, want %d", n, rounds, clientlog.Lines)
		}
		w.until("the other in force", func(l []ClientStatus) bool { return len(l) == 2 && l[1].Synced() && !l[0].Synced() })
	})
}

// TestGarbage: types and nonces that are made up, each another one, are worth so many lines, and what is asked for among them is answered.
func TestGarbage(t *testing.T) {
	byEach(t, func(t *testing.T, open func(*world, string) *client) {
		w := start(t, Options{}, change{"cds/a", "1"})
		c := open(w, "hostile")
		c.ask(Cluster)
		c.expect("CDS a=1")
		for i := range 5_000 {
			c.greet(nil, fmt.Sprint("type.googleapis.com/", i))
			c.refuse(heard{typ: Cluster, nonce: fmt.Sprint("garbage-", i)}, "?", "a")
		}
		c.ask(Endpoints, "a")
		if c.delta != nil { // the state of the world has no word for it
			c.expect("EDS -a")
		}
		w.change(change{"cds/a", "2"})
		c.expect("CDS a=2")
		if n := w.log.count("was not sent"); n != 1 {
			t.Errorf("%d lines about nonces, want 1", n)
		}
		if n := w.log.count("level=WARN"); n != clientlog.Lines+1 {
			t.Errorf("%d lines, want %d and the one that says that there will be no more", n, clientlog.Lines)
		}
	})
}

// TestANodeThatSaysTooMuch: of what a client says of itself little is kept; what is too large or nested too deeply ends its stream.
func TestANodeThatSaysTooMuch(t *testing.T) {
	byEach(t, func(t *testing.T, open func(*world, string) *client) {
		w := start(t, Options{}, change{"cds/a", "1"})
		long := strings.Repeat("x", 1<<20)
		fields := map[string]*structpb.Value{"GENERATOR": structpb.NewStringValue(long)}
		for i := range 1000 {
			fields[fmt.Sprint("field-", i)] = structpb.NewStringValue(long[:1000])
		}
		c := open(w, "talkative")
		c.greet(&core.Node{Id: long[:512<<10], UserAgentName: long[:512<<10], Metadata: &structpb.Struct{Fields: fields}}, Cluster.URL())
		c.expect("CDS a=1")
		list := w.until("the client", func(l []ClientStatus) bool { return len(l) == 1 && len(l[0].Types) == 1 })
		if n := list[0].Node; max(len(n.ID), len(n.Agent), len(n.Generator)) > 2*maxReason {
			t.Errorf("%d, %d and %d bytes are kept of what it says of itself", len(n.ID), len(n.Agent), len(n.Generator))
		}

		tooLarge := open(w, "larger")
		tooLarge.greet(&core.Node{Id: strings.Repeat(long, 4)}, Cluster.URL())
		if err := tooLarge.end(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a node of 4 MiB: %v", err)
		}
		deep := structpb.NewNullValue()
		for range 20_000 {
			deep = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{deep}})
		}
		nested := open(w, "nested")
		nested.greet(&core.Node{Id: "x", Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"x": deep}}}, Cluster.URL())
		if err := nested.end(); status.Code(err) != codes.Internal {
			t.Errorf("a node of 20,000 levels: %v", err)
		}
		w.change(change{"cds/a", "2"})
		c.expect("CDS a=2")
	})
}

// from dials the server from an address of loopback and opens a stream with the token.
func (w *world) from(addr, who string) *client {
	w.t.Helper()
	return w.open(w.dialFrom(addr), who)
}

func (w *world) dialFrom(addr string) *grpc.ClientConn {
	w.t.Helper()
	dial := func(ctx context.Context, to string) (net.Conn, error) {
		return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}).DialContext(ctx, "tcp", to)
	}
	conn, err := grpc.NewClient("passthrough:///"+w.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

func (w *world) open(conn *grpc.ClientConn, who string) *client {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*patience) // for as long as others come
	w.t.Cleanup(cancel)
	if who != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+who)
	}
	s, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return &client{t: w.t, cancel: cancel, sotw: s}
}

// tries opens n streams one after the other on one connection, keeps those that are served, and counts how the others end.
func (w *world) tries(n int, addr, who string) (served int, ends map[codes.Code]int) {
	w.t.Helper()
	ends = make(map[codes.Code]int)
	conn := w.dialFrom(addr)
	for range n {
		c := w.open(conn, who)
		err := c.sotw.Send(&discovery.DiscoveryRequest{Node: node, TypeUrl: Cluster.URL()})
		if err != nil && !errors.Is(err, io.EOF) { // then the status comes by Recv
			w.t.Fatal(err)
		}
		if _, err = c.sotw.Recv(); err == nil {
			served++
			continue
		}
		c.cancel()
		ends[status.Code(err)]++
	}
	return served, ends
}

// TestAThousandStreams: a client has 64, an address may call 128 times and then slowly; who is turned away is worth one line for each
// of the reasons, and a client at another address is served.
func TestAThousandStreams(t *testing.T) {
	t.Parallel()
	w := start(t, Options{}, change{"cds/a", "1"})
	served, ends := w.tries(1000, "127.0.0.2", "greedy")
	if served != maxStreams || ends[codes.ResourceExhausted] != 1000-maxStreams {
		t.Errorf("of 1,000 streams %d were served, the others ended with %v; want %d", served, ends, maxStreams)
	}
	if n := w.log.count("xds client turned away"); n != 2 {
		t.Errorf("%d lines, want one about its streams and one about its address", n)
	}
	other := w.from("127.0.0.3", "other")
	other.ask(Cluster)
	other.expect("CDS a=1")
}

// TestStrangers: who proves nothing is turned away by an answer, and worth one line for its address, 32 for all of them.
func TestStrangers(t *testing.T) {
	t.Parallel()
	w := start(t, Options{}, change{"cds/a", "1"})
	if served, ends := w.tries(100, "127.0.0.2", ""); served != 0 || ends[codes.Unauthenticated] != 100 {
		t.Errorf("of 100 strangers %d were served, the others ended with %v", served, ends)
	}
	if n := w.log.count("xds client turned away"); n != 1 {
		t.Errorf("%d lines about one stranger, want 1", n)
	}
	for i := range 2 * clientlog.Lines {
		w.tries(1, fmt.Sprint("127.0.1.", 1+i), "")
	}
	if n := w.log.count("xds client turned away"); n != clientlog.Lines {
		t.Errorf("%d lines about strangers, want %d", n, clientlog.Lines)
	}
	c := w.from("127.0.0.2", "known")
	c.ask(Cluster)
	c.expect("CDS a=1")
	if list := w.server.Status(); len(list) != 1 || slices.ContainsFunc(list, func(c ClientStatus) bool { return c.Peer.Pod != "known" }) {
		t.Errorf("streams: %s, want that of the known client", printed(list))
	}
}
