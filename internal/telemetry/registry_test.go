package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/model"
)

// clock is a time that a test moves.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time       { return time.Unix(1_000_000, c.ns.Load()) }
func (c *clock) pass(d time.Duration) { c.ns.Add(int64(d)) }

func timed(r *Registry) *clock {
	c := new(clock)
	r.now = c.now
	return c
}

func calls(host string) Labels {
	return Labels{Reporter: Source, Host: model.Hostname(host), Protocol: "http"}
}

// value gives the sum of a metric's series whose labels hold all parts; false where there is none.
func value(tb testing.TB, r *Registry, metric string, parts ...string) (sum float64, printed bool) {
	tb.Helper()
	var b strings.Builder
	if err := r.WriteMetrics(&b); err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, metric+"{") && !strings.HasPrefix(line, metric+" ") ||
			slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
		if err != nil {
			tb.Fatal(err)
		}
		sum, printed = sum+v, true
	}
	return sum, printed
}

// Whatever is used, rests, is scraped and is used again in whatever order: what is printed is what a plain counter says.
// A scope that is let go of while it rests may begin anew, as one of a restarted sidecar does.
func TestSeriesCountLikeAPlainCounter(t *testing.T) {
	const kinds = 4
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			r := NewRegistry("x")
			c := timed(r)
			var (
				http         [kinds]*HTTPScope
				tcp          [kinds]*TCPScope
				total, since [kinds]float64 // all, and since it was let go of and left
				released     [kinds]bool
				open         [kinds]int
				used         [kinds]time.Time
			)
			for range 300 {
				i := rnd.IntN(kinds)
				host := fmt.Sprint("host", i)
				if http[i] == nil {
					http[i], tcp[i] = r.HTTP(calls(host)), r.TCP(calls(host))
				}
				if again := r.HTTP(calls(host)); again != http[i] {
					t.Fatal("two scopes for equal labels")
				}
				switch rnd.IntN(5) {
				case 0, 1:
					http[i].Observe(&Record{Code: 200})
					tcp[i].Opened()
					open[i]++
					if rnd.IntN(2) == 0 {
						tcp[i].Closed()
						open[i]--
					}
					if released[i] && c.now().Sub(used[i]) > idle {
						since[i] = 0
					}
					total[i]++
					since[i]++
					used[i], released[i] = c.now(), false
				case 2:
					c.pass(time.Duration(rnd.Int64N(int64(idle))))
				case 3:
					if open[i] == 0 { // what is open is held by its connection
						http[i], tcp[i], released[i] = nil, nil, true
						runtime.GC()
					}
				case 4:
					for ; open[i] > 0; open[i]-- {
						tcp[i].Closed()
					}
				}
				v, printed := value(t, r, "istio_requests_total", `destination_service="`+host+`"`)
				busy := !used[i].IsZero() && c.now().Sub(used[i]) <= idle
				if v != total[i] && v != since[i] && printed || busy && !printed {
					t.Fatalf("%s: %v requests (printed %v), want %v, or %v if it began anew", host, v, printed, total[i], since[i])
				}
				if printed {
					total[i], since[i] = v, v
				}
			}
		})
	}
}

func TestQuietConnectionsComeBack(t *testing.T) {
	r := NewRegistry("x")
	c := timed(r)
	s := r.TCP(calls("mysql"))
	s.Opened()
	s.Closed()
	c.pass(idle + time.Second)
	if _, printed := value(t, r, "istio_tcp_connections_opened_total"); printed {
		t.Error("still printed after ten idle minutes")
	}
	s.Opened()
	s.Bytes(5, 7)
	for metric, want := range map[string]float64{
		"istio_tcp_connections_opened_total": 2, "istio_tcp_connections_closed_total": 1,
		"istio_tcp_received_bytes_total": 5, "istio_tcp_sent_bytes_total": 7,
	} {
		if got, _ := value(t, r, metric, "mysql"); got != want {
			t.Errorf("%s = %v, want %v", metric, got, want)
		}
	}
	c.pass(10 * idle)
	if _, printed := value(t, r, "istio_tcp_connections_opened_total"); !printed {
		t.Error("a series with an open connection has left")
	}
}

// Observations that meet the moment in which their series is let go of are not lost.
func TestCountingWhileSeriesExpire(t *testing.T) {
	r := NewRegistry("x")
	c := timed(r)
	const each = 2000
	http, tcp := r.HTTP(calls("users")), r.TCP(calls("users"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range each {
				http.Observe(&Record{Code: 200})
				tcp.Opened()
				tcp.Closed()
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		c.pass(idle + time.Second)
		r.WriteMetrics(new(bytes.Buffer))
		select {
		case <-done:
			running = false
		default:
		}
	}
	http.Observe(&Record{Code: 200})
	tcp.Opened()
	for metric, want := range map[string]float64{"istio_requests_total": 4*each + 1, "istio_tcp_connections_opened_total": 4*each + 1, "istio_tcp_connections_closed_total": 4 * each} {
		if got, _ := value(t, r, metric); got != want {
			t.Errorf("%s = %v, want %v", metric, got, want)
		}
	}
}

// More callers than a scrape can take, whether of the mesh or not.
func TestTooManySeriesAreFolded(t *testing.T) {
	r := NewRegistry("x")
	c := timed(r)
	const callers, requests = 6000, 2
	held := make([]*TCPScope, 0, callers)
	for i := range callers {
		l := calls("users")
		l.Reporter, l.Source.Name = Destination, fmt.Sprint("caller", i)
		s, tcp := r.HTTP(l), r.TCP(l)
		for range requests {
			s.Observe(&Record{Code: 200})
		}
		tcp.Opened()
		held = append(held, tcp)
	}
	if got, _ := value(t, r, "istio_requests_total"); got != callers*requests {
		t.Errorf("%v requests in all, want %d", got, callers*requests)
	}
	const beyond = callers - maxScopes
	if got, _ := value(t, r, "istio_requests_total", `source_workload="overflow"`, `destination_service="overflow"`, `reporter="destination"`); got != beyond*requests {
		t.Errorf("%v requests folded, want %d", got, beyond*requests)
	}
	if got, _ := value(t, r, "fairlead_metrics_folded_total"); got != beyond*(requests+1) {
		t.Errorf("%v observations said to be folded, want %d", got, beyond*(requests+1))
	}
	for _, tcp := range held {
		tcp.Bytes(1, 0)
		tcp.Closed()
	}
	for metric, want := range map[string]float64{"opened_total": beyond, "closed_total": beyond} {
		if got, _ := value(t, r, "istio_tcp_connections_"+metric, `source_workload="overflow"`); got != want {
			t.Errorf("%s folded: %v, want %v", metric, got, want)
		}
	}

	// Room is made without a scrape.
	c.pass(idle + time.Second)
	l := calls("users")
	l.Source.Name = "another"
	r.HTTP(l).Observe(&Record{Code: 200})
	if n := len(r.http.printed); n != 1 {
		t.Errorf("%d series are printed, want the one that is in use", n)
	}
	clear(held)
	runtime.GC()
	c.pass(sweepEvery)
	r.TCP(l)
	l.Source.Name = "one more"
	r.HTTP(l)
	if n := len(r.http.known); n > 2 {
		t.Errorf("%d scopes are remembered although nothing refers to them", n)
	}
}

func TestTooManyCodesAreFolded(t *testing.T) {
	r := NewRegistry("x")
	s := r.HTTP(calls("users"))
	for code := 100; code < 1000; code++ {
		for grpc := range 17 {
			s.Observe(&Record{Code: code, GRPCStatus: strconv.Itoa(grpc)})
		}
	}
	if got, _ := value(t, r, "istio_requests_total"); got != 900*17 {
		t.Errorf("%v requests in all, want %d", got, 900*17)
	}
	if got, _ := value(t, r, "istio_requests_total", `response_code="unknown"`); got != 900*17-maxCells {
		t.Errorf("%v requests with unknown code, want %d", got, 900*17-maxCells)
	}
	if n := len(s.cells.list()); n != maxCells+1 {
		t.Errorf("%d cells, want %d", n, maxCells+1)
	}
}

// pieces is a writer that notes how much it got at once, and fails after some.
type pieces struct {
	largest, total, fail int
}

var errGone = errors.New("the scraper went away")

func (p *pieces) Write(b []byte) (int, error) {
	if p.total += len(b); p.fail > 0 && p.total > p.fail {
		return 0, errGone
	}
	p.largest = max(p.largest, len(b))
	return len(b), nil
}

func TestScrapesAreWrittenInPieces(t *testing.T) {
	r := NewRegistry("x")
	for i := range 200 {
		r.HTTP(calls(fmt.Sprint("host", i))).Observe(&Record{Code: 200})
	}
	var p pieces
	if err := r.WriteMetrics(&p); err != nil || p.total < 100*pieceSize || p.largest > 2*pieceSize {
		t.Errorf("WriteMetrics = %v: %d bytes, the largest piece %d", err, p.total, p.largest)
	}
	p = pieces{fail: pieceSize * 3}
	if err := r.WriteMetrics(&p); !errors.Is(err, errGone) || p.total > p.fail+2*pieceSize {
		t.Errorf("WriteMetrics = %v after %d bytes", err, p.total)
	}
}

// FuzzLabel checks that every value comes back, and that nothing in it can end the value, the line, or the scrape.
func FuzzLabel(f *testing.F) {
	for _, s := range []string{"", "users", "x\"y\\z\n", "\xff\xfe", "\"} 1\nforged{a=\"", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := string(label(nil, "a", s))
		if !utf8.ValidString(got) || strings.Contains(got, "\n") {
			t.Fatalf("label(%q) = %q", s, got)
		}
		inner := strings.TrimSuffix(strings.TrimPrefix(got, `a="`), `"`)
		back := strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n").Replace(inner)
		want := strings.ToValidUTF8(s, "\uFFFD")
		if s == "" {
			want = "unknown"
		}
		if len([]rune(back)) < len([]rune(want)) || utf8.ValidString(s) && back != want {
			t.Fatalf("label(%q) = %q, read back %q", s, got, back)
		}
		if end := strings.ReplaceAll(strings.ReplaceAll(inner, `\\`, ""), `\"`, ""); strings.Contains(end, `"`) {
			t.Fatalf("label(%q) = %q ends early", s, got)
		}
	})
}

// What the sidecar uses itself is on its page by Istio's names for it.
func TestThePageTellsWhatTheProcessUses(t *testing.T) {
	runtime.GC() // a first one, of which the heap is what it left
	r := NewRegistry("test")
	for _, name := range []string{"go_goroutines", "go_gc_heap_live_bytes", "process_open_fds", "process_resident_memory_bytes", "process_cpu_seconds_total"} {
		if got, ok := value(t, r, "istio_agent_"+name); !ok || got <= 0 {
			t.Errorf("istio_agent_%s = %g, %t", name, got, ok)
		}
	}
}
