package telemetry

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/traffic"
)

// called is a record of a request that ended well, as the caller's sidecar makes it.
func called(r *Registry, pod string) *Record {
	l := labels(Source)
	l.DestinationPrincipal = "spiffe://cluster.local/ns/myapp/sa/users"
	return &Record{
		Reporter: Source, Duration: 3 * time.Millisecond, Client: netip.MustParseAddrPort("10.0.0.1:4000"), Endpoint: netip.MustParseAddrPort("10.0.0.2:8080"),
		Cluster: "outbound|80||users-service.myapp.svc.cluster.local", Route: "default", Protocol: "HTTP/1.1", Code: 200, Received: 5, Sent: 7,
		HTTP: r.HTTP(l), Tries: 1, Peer: &plan.WorkloadInfo{Namespace: "myapp", Name: "users-v1", Pod: pod, Cluster: "east"}, MutualTLS: true,
	}
}

// came is that of an opaque connection from an address, as the called sidecar makes it.
func came(r *Registry, from string) *Record {
	l := labels(Destination)
	l.Source, l.SourcePrincipal, l.MutualTLS = plan.WorkloadInfo{}, "", false
	return &Record{
		Reporter: Destination, Client: netip.MustParseAddrPort(from), Endpoint: netip.MustParseAddrPort("10.0.0.2:9000"), Cluster: "inbound|9000||",
		TCP: r.TCP(l), NoTLS: traffic.NotProvidedByRemote,
	}
}

func byPod(r *traffic.Report) map[string]traffic.Sample {
	got := map[string]traffic.Sample{}
	for i := range r.Rows {
		got[r.Rows[i].Edge.Peer.Pod] = r.Rows[i].Sample
	}
	return got
}

func TestEdgesNameBothSides(t *testing.T) {
	begin := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	r, e := NewRegistry(""), NewEdges(begin)
	e.Record(called(r, "users-v1-a"))
	retried := called(r, "users-v1-a")
	retried.Tries, retried.Code, retried.Flags, retried.Duration = 3, 504, "URX,UT", time.Second
	e.Record(retried)
	unreached := called(r, "")
	unreached.Peer, unreached.MutualTLS, unreached.Endpoint, unreached.Code, unreached.Flags, unreached.Tries = nil, false, netip.AddrPort{}, 503, "UH", 0
	e.Record(unreached)
	connection := came(r, "10.0.3.7:5000")
	e.Opened(connection)
	connection.Received, connection.Sent = 11, 13
	e.Record(connection)
	e.Record(&Record{}) // of a call that no series counts

	const backend = "outbound|80||users-service.myapp.svc.cluster.local"
	want := &traffic.Report{Milliseconds: 10_000, Rows: []traffic.Row{
		{
			Edge:   traffic.Edge{Direction: traffic.Outbound, Service: "users-service.myapp", Route: "default", Backend: backend, Protocol: "http", Peer: traffic.Peer{Identity: "spiffe://cluster.local/ns/myapp/sa/users"}},
			Sample: traffic.Sample{Responses: [traffic.Classes]uint64{5: 1}, Failures: 1, Received: 5, Sent: 7},
		},
		{
			Edge: traffic.Edge{
				Direction: traffic.Outbound, Service: "users-service.myapp", Route: "default", Backend: backend, Protocol: "http",
				Peer: traffic.Peer{Cluster: "east", Namespace: "myapp", Workload: "users-v1", Pod: "users-v1-a", Identity: "spiffe://cluster.local/ns/myapp/sa/users"},
			},
			Sample: traffic.Sample{Responses: [traffic.Classes]uint64{2: 1, 5: 1}, Failures: 1, Retries: 2, Timeouts: 1, Received: 10, Sent: 14},
		},
		{
			Edge: traffic.Edge{
				Direction: traffic.Inbound, Service: "users-service.myapp", Backend: "inbound|9000||", Protocol: "tcp", NoTLS: "Not Provided By Remote",
				Peer: traffic.Peer{Address: "10.0.3.7"},
			},
			Sample: traffic.Sample{Opened: 1, Received: 11, Sent: 13},
		},
	}}
	for _, i := range []int{0, 1, 1} {
		d := 3 * time.Millisecond
		if want.Rows[i].Sample.Latency.Count() == 1 {
			d = time.Second
		}
		want.Rows[i].Sample.Latency[traffic.Bucket(d)]++
	}
	if diff := cmp.Diff(want, e.Report(begin.Add(10*time.Second))); diff != "" {
		t.Errorf("Report (-want +got):\n%s", diff)
	}
	if again := e.Report(begin.Add(20 * time.Second)); len(again.Rows) != 0 || again.Milliseconds != 10_000 {
		t.Errorf("what was reported is reported again: %+v", again)
	}
}

// TestOpenConnectionsAreReportedWhileTheyLast: a pool of database connections is open for hours.
func TestOpenConnectionsAreReportedWhileTheyLast(t *testing.T) {
	at := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	r, e := NewRegistry(""), NewEdges(at)
	rec, moved := came(r, "10.0.3.7:5000"), int64(0)
	rec.Moved = func() (received, sent int64) { return moved, 2 * moved }
	e.Opened(rec)
	var sum traffic.Sample
	for step := range 2 * quietReports {
		moved += 10
		got := e.Report(at)
		if len(got.Rows) != 1 || got.Rows[0].Sample.Open != 1 || got.Rows[0].Sample.Received != 10 || got.Rows[0].Sample.Sent != 20 {
			t.Fatalf("report %d: %+v", step, got)
		}
		sum.Then(&got.Rows[0].Sample)
	}
	rec.Received, rec.Sent = moved+1, 2*moved+1
	e.Record(rec)
	last := e.Report(at)
	sum.Then(&last.Rows[0].Sample)
	if want := (traffic.Sample{Opened: 1, Received: uint64(moved + 1), Sent: uint64(2*moved + 1)}); sum != want {
		t.Errorf("all reports together: %+v, want %+v", sum, want)
	}
}

// TestQuietEdgesAreForgottenAndLoseNothing: a call that counts in an edge while it is taken out is in the next report.
func TestQuietEdgesAreForgottenAndLoseNothing(t *testing.T) {
	at := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	r, e := NewRegistry(""), NewEdges(at)
	rec := called(r, "a")
	e.Record(rec)
	held := e.of(rec)
	for range quietReports + 1 {
		e.Report(at)
	}
	if n := len(e.known()); n != 0 {
		t.Fatalf("%d edges are kept", n)
	}
	held.count(rec)
	e.Record(rec)
	if got := byPod(e.Report(at))["a"]; got.Requests() != 2 {
		t.Errorf("%d requests are reported, want 2", got.Requests())
	}
}

// TestStrangersDoNotGrowTheEdges: a client outside the mesh has as many addresses as it likes.
func TestStrangersDoNotGrowTheEdges(t *testing.T) {
	at := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	r, e := NewRegistry(""), NewEdges(at)
	const strangers = 10 * maxEdges
	var addr [4]byte
	for i := range uint32(strangers) {
		binary.BigEndian.PutUint32(addr[:], 0xc0000000+i)
		rec := came(r, "10.0.0.1:1")
		rec.Client = netip.AddrPortFrom(netip.AddrFrom4(addr), 1)
		e.Opened(rec)
		e.Record(rec)
	}
	if n := len(e.known()); n != maxEdges+1 {
		t.Errorf("%d edges are kept", n)
	}
	report, opened := e.Report(at), uint64(0)
	for i := range report.Rows {
		opened += report.Rows[i].Sample.Opened
	}
	if opened != strangers || report.Folded == 0 || len(report.Rows) > traffic.MaxEdges+2 {
		t.Errorf("%d connections in %d rows, %d edges cut", opened, len(report.Rows), report.Folded)
	}
}

// TestEdgesCountWithoutLoss: from many goroutines, while reports are taken.
func TestEdgesCountWithoutLoss(t *testing.T) {
	at := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	r, e := NewRegistry(""), NewEdges(at)
	const callers, calls = 8, 2000
	var calling sync.WaitGroup
	for i := range callers {
		calling.Go(func() {
			for range calls {
				e.Record(called(r, string(rune('a'+i%3))))
			}
		})
	}
	done := make(chan struct{})
	go func() { calling.Wait(); close(done) }()
	sum := uint64(0)
	take := func() {
		for _, s := range byPod(e.Report(at)) {
			sum += s.Requests()
		}
	}
	for range quietReports - 1 { // there are seconds between two reports, and no call is about to count for so long
		take()
	}
	<-done
	take()
	if sum != callers*calls {
		t.Errorf("%d of %d calls are reported", sum, callers*calls)
	}
}

// TestEdgesAllocateNothing for a call over an edge that is known.
func TestEdgesAllocateNothing(t *testing.T) {
	r, e := NewRegistry(""), NewEdges(time.Now())
	rec := called(r, "a")
	e.Record(rec)
	if n := testing.AllocsPerRun(1000, func() { e.Record(rec) }); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}

func BenchmarkEdges(b *testing.B) {
	r, e := NewRegistry(""), NewEdges(time.Now())
	rec := called(r, "a")
	b.ReportAllocs()
	for b.Loop() {
		e.Record(rec)
	}
}
