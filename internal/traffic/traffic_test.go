package traffic

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestBucketsHoldWhatTheirBoundsSay compares with a search through the bounds, around each of them and far beyond.
func TestBucketsHoldWhatTheirBoundsSay(t *testing.T) {
	naive := func(d time.Duration) int {
		for i, us := range bounds {
			if d <= time.Duration(us)*time.Microsecond {
				return i
			}
		}
		return len(bounds)
	}
	durations := []time.Duration{-time.Second, 0, 1, time.Microsecond, time.Hour, 1 << 62}
	for _, us := range bounds {
		at := time.Duration(us) * time.Microsecond
		durations = append(durations, at-1, at, at+1, at+at/5)
	}
	for _, d := range durations {
		if got, want := Bucket(d), naive(d); got != want {
			t.Errorf("Bucket(%s) = %d, want %d", d, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	var even, slow, none Histogram
	for ms := 1; ms <= 1000; ms++ {
		even[Bucket(time.Duration(ms)*time.Millisecond)]++
	}
	slow[Buckets-1] = 3
	for _, tt := range []struct {
		name      string
		h         *Histogram
		q         float64
		low, high time.Duration
	}{
		{"nothing_counted", &none, 0.5, 0, 0},
		{"median", &even, 0.5, 480 * time.Millisecond, 520 * time.Millisecond},
		{"p99", &even, 0.99, 970 * time.Millisecond, 1160 * time.Millisecond},
		{"smallest", &even, 0, 0, time.Millisecond},
		{"beyond_the_last_bound", &slow, 0.5, 104857600 * time.Microsecond, 104857600 * time.Microsecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.h.Quantile(tt.q); got < tt.low || got > tt.high {
				t.Errorf("Quantile(%v) = %s, want %s to %s", tt.q, got, tt.low, tt.high)
			}
		})
	}
}

func someSample(r *rand.Rand) (s Sample) {
	for _, n := range s.numbers() {
		if r.IntN(3) == 0 {
			*n = r.Uint64N(1 << r.IntN(40))
		}
	}
	for range r.IntN(6) {
		s.Latency[r.IntN(Buckets)] += r.Uint64N(1000)
	}
	if r.IntN(2) == 0 && s.Latency.Count() >= s.Requests()-s.Responses[2] { // what a sidecar counts: each request once here and there
		s.Responses[2] = 0
		s.Responses[2] = s.Latency.Count() - s.Requests()
	}
	return s
}

func TestReportsComeBackAsTheyWere(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		want := Report{Milliseconds: r.Uint64N(20000), Folded: r.Uint64N(3)}
		clusters := [][]string{{""}, {"", "west", "east"}}[r.IntN(2)]
		for i := range r.IntN(MaxEdges) {
			want.Rows = append(want.Rows, Row{Sample: someSample(r), Edge: Edge{
				Direction: Direction(1 + r.IntN(2)), Service: "users.shop", Route: fmt.Sprint("r", i%3), Protocol: []string{HTTP, GRPC, TCP}[r.IntN(3)],
				Peer: Peer{Cluster: clusters[r.IntN(len(clusters))], Namespace: "shop", Workload: "users", Pod: fmt.Sprint("users-", i)}, NoTLS: []string{"", Disabled}[r.IntN(2)],
			}})
		}
		got, err := Decode(want.Encode())
		if err != nil {
			t.Fatalf("Decode(Encode(%+v)) = %v", want, err)
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Fatalf("Decode(Encode(r)) (-want +got):\n%s", diff)
		}
	}
}

// TestReportOfOneClusterIsAsBefore: control planes that know of no clusters in reports read those that have none.
func TestReportOfOneClusterIsAsBefore(t *testing.T) {
	r := Report{Milliseconds: 10_000, Rows: []Row{{Edge: Edge{Direction: Outbound, Protocol: HTTP, Peer: Peer{Pod: "users-1"}}, Sample: Sample{Open: 1}}}}
	if raw := r.Encode(); raw[0] != 1 {
		t.Errorf("version %d, want 1", raw[0])
	}
	r.Rows[0].Edge.Peer.Cluster = "east"
	if raw := r.Encode(); raw[0] != 2 {
		t.Errorf("version %d with a cluster, want 2", raw[0])
	}
}

// TestReportIsNeverTooLarge: texts come from configuration, and from other workloads' names.
func TestReportIsNeverTooLarge(t *testing.T) {
	var r Report
	for i := range MaxEdges {
		r.Rows = append(r.Rows, Row{
			Edge: Edge{
				Direction: Outbound, Protocol: HTTP, Route: strings.Repeat("é", 600) + strconv.Itoa(i), Backend: strconv.Itoa(i) + strings.Repeat("x", 5000), Service: strconv.Itoa(i) + strings.Repeat("y", 5000),
				Peer: Peer{Workload: strconv.Itoa(i) + strings.Repeat("w", 600), Pod: strconv.Itoa(i) + strings.Repeat("p", 600)},
			},
			Sample: Sample{Responses: [Classes]uint64{2: uint64(i + 1)}},
		})
	}
	raw := r.Encode()
	if len(raw) > MaxReport {
		t.Fatalf("%d bytes", len(raw))
	}
	got, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	var want, sum Sample
	for i := range r.Rows {
		want.Add(&r.Rows[i].Sample)
	}
	for i := range got.Rows {
		sum.Add(&got.Rows[i].Sample)
	}
	if sum != want || got.Folded == 0 {
		t.Errorf("%d requests of %d are in the report, %d edges told to be cut", sum.Requests(), want.Requests(), got.Folded)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := Report{Milliseconds: 1, Rows: []Row{{Edge: Edge{Direction: Inbound, Protocol: TCP}, Sample: Sample{Opened: 1}}}}
	raw := good.Append(nil)
	strange := Report{Rows: []Row{{Edge: Edge{Direction: Inbound, Protocol: "carrier pigeon"}}}}
	nowhere := Report{Rows: []Row{{Edge: Edge{Direction: 3, Protocol: TCP}}}}
	for name, raw := range map[string][]byte{
		"nothing": nil, "another_version": append([]byte{9}, raw[1:]...), "cut_off": raw[:len(raw)-1], "more_behind_it": append(slices.Clip(raw), 0),
		"too_large": make([]byte, MaxReport+1), "unknown_protocol": strange.Append(nil), "unknown_direction": nowhere.Append(nil),
	} {
		if r, err := Decode(raw); !errors.Is(err, errReport) {
			t.Errorf("%s: Decode = %+v, %v", name, r, err)
		}
	}
	newer := Report{Rows: []Row{{Edge: Edge{Direction: Inbound, Protocol: TCP, NoTLS: "A New Reason"}, Sample: Sample{Open: 1}}}}
	got, err := Decode(newer.Append(nil))
	if err != nil || got.Rows[0].Edge.NoTLS != Unknown {
		t.Errorf("a reason that is not known: %+v, %v", got, err)
	}
}

// FuzzDecode: whatever comes is refused, or read to something that is written and read again as the same.
func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 5 {
		report := Report{Milliseconds: 10000}
		for range i {
			edge := Edge{Direction: Outbound, Protocol: HTTP, Service: "a.b", Peer: Peer{Cluster: []string{"", "east"}[i%2]}}
			report.Rows = append(report.Rows, Row{Edge: edge, Sample: someSample(r)})
		}
		f.Add(report.Append(nil))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		first, err := Decode(raw)
		if err != nil {
			return
		}
		again, err := Decode(first.Append(nil))
		if err != nil {
			t.Fatalf("Decode(Append(%+v)) = %v", first, err)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatalf("(-first +again):\n%s", diff)
		}
	})
}

func TestFoldKeepsTheBusiestAndLosesNoCount(t *testing.T) {
	var rows []Row
	add := func(e Edge, requests uint64) {
		e.Direction, e.Protocol = Inbound, HTTP
		rows = append(rows, Row{Edge: e, Sample: Sample{Responses: [Classes]uint64{2: requests}}})
	}
	for i := range 3 {
		add(Edge{Peer: Peer{Workload: "busy", Pod: fmt.Sprint("busy-", i)}}, 1000)
	}
	for i := range 50 {
		add(Edge{Peer: Peer{Workload: "many", Pod: fmt.Sprint("many-", i)}}, 2)
		add(Edge{Peer: Peer{Address: fmt.Sprint("192.0.2.", i)}, NoTLS: NotProvidedByRemote}, 1)
	}
	for i := range 10 {
		add(Edge{Peer: Peer{Workload: fmt.Sprint("rare-", i)}}, 1)
	}
	folded, lost := Fold(rows, 8)
	got := map[string]uint64{}
	for i := range folded {
		e := &folded[i].Edge
		got[e.Peer.Workload+"|"+e.Peer.Pod+"|"+e.Peer.Address] += folded[i].Sample.Requests()
	}
	// Four places are for edges as they are, four for edges without the names of pods, and what is left is one.
	want := map[string]uint64{"busy|busy-0|": 1000, "busy|busy-1|": 1000, "busy|busy-2|": 1000, "many|many-0|": 2, "many||": 98, "||other": 50, "rare-0||": 1, "rare-1||": 1, "other||": 8}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if lost != len(rows)-8 {
		t.Errorf("%d edges lost their name, want %d", lost, len(rows)-8)
	}
}

// TestFoldPutsEqualEdgesTogether: the scopes of a sidecar tell more apart than an edge does.
func TestFoldPutsEqualEdgesTogether(t *testing.T) {
	e := Edge{Direction: Inbound, Protocol: TCP, Service: "db.shop"}
	folded, lost := Fold([]Row{{e, Sample{Open: 1}}, {e, Sample{Open: 2}}}, 8)
	if want := []Row{{e, Sample{Open: 3}}}; !cmp.Equal(folded, want) || lost != 0 {
		t.Errorf("Fold = %+v, %d, want %+v", folded, lost, want)
	}
}

func TestFlowsGiveTheSampleBack(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 100 {
		want := someSample(r)
		var f Flow
		f.Total, f.Latency = TotalOf(&want)
		if got := f.Sample(); got != want {
			t.Fatalf("(-want +got):\n%s", cmp.Diff(want, got))
		}
	}
}

func TestMergeOfReplicas(t *testing.T) {
	at := time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)
	got := Merge([]Answer{
		{At: at, Since: at.Add(-time.Hour), WindowSeconds: 60, Cut: 1, Flows: []Flow{{Pod: "a", Seconds: 40}, {Pod: "moved", Seconds: 20}}, Pods: []Pod{{Namespace: "x", Name: "b"}, {Namespace: "x", Name: "a"}}},
		{At: at.Add(time.Second), Since: at.Add(-time.Minute), WindowSeconds: 60, Cut: 2, Flows: []Flow{{Pod: "b", Seconds: 60}, {Pod: "moved", Seconds: 30}}, Pods: []Pod{{Namespace: "x", Name: "a"}}},
	})
	want := Answer{
		At: at.Add(time.Second), Since: at.Add(-time.Minute), WindowSeconds: 60, Cut: 3, Flows: []Flow{{Pod: "a", Seconds: 40}, {Pod: "moved", Seconds: 50}, {Pod: "b", Seconds: 60}, {Pod: "moved", Seconds: 50}},
		Pods: []Pod{{Namespace: "x", Name: "a"}, {Namespace: "x", Name: "b"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Merge (-want +got):\n%s", diff)
	}
}
