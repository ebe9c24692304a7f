package healthcheck

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fairlead.dev/fairlead/internal/model"
)

func TestVerdict(t *testing.T) {
	how := &model.HealthCheck{Interval: 10 * time.Second, Timeout: time.Second, UnhealthyThreshold: 3, HealthyThreshold: 2}
	tests := []struct {
		name, outcomes string // + passes, - fails
		want           string // after each: ? unknown, + passing, - failing; then the pause, i interval, t timeout
	}{
		{"one_pass_tells", "+", "+i"},
		{"failures_of_an_app_that_never_passed", "---", "?t ?t -i"},
		{"failures_in_a_row", "+---", "+i +t +t -i"},
		{"a_pass_between_begins_anew", "+--+--", "+i +t +t +i +t +t"},
		{"back_after_as_many_passes", "---++", "?t ?t -i -t +i"},
		{"a_failure_between_begins_anew", "---+-+", "?t ?t -i -t -i -t"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var v verdict
			var got []string
			for _, o := range tt.outcomes {
				var err error
				if o == '-' {
					err = errors.New("fails")
				}
				before := v
				turned := v.observe(how, err, time.Unix(1, 0))
				if changed := before.known != v.known || before.failing != v.failing; turned != changed {
					t.Errorf("%c: turned = %t, want %t", o, turned, changed)
				}
				s := map[bool]string{true: "-", false: "+"}[v.failing]
				if !v.known {
					s = "?"
				}
				got = append(got, s+map[time.Duration]string{how.Interval: "i", how.Timeout: "t"}[v.pause(how)])
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("= %s, want %s", s, tt.want)
			}
		})
	}
}

// fakeApp answers HTTP on connections without sockets, so that tests run in a bubble.
type fakeApp struct {
	mu     sync.Mutex
	status int // 0 hangs
	asked  []time.Duration
	began  time.Time
	open   int
}

func (a *fakeApp) set(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status = status
}

func (a *fakeApp) dial(_ context.Context, addr netip.AddrPort) (net.Conn, error) {
	if addr != netip.MustParseAddrPort("10.1.0.1:8080") {
		return nil, fmt.Errorf("dialled %s", addr)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, time.Since(a.began))
	a.open++
	client, server := net.Pipe()
	status := a.status
	go func() {
		defer func() {
			server.Close()
			a.mu.Lock()
			defer a.mu.Unlock()
			a.open--
		}()
		if _, err := http.ReadRequest(bufio.NewReader(server)); err != nil {
			return
		}
		if status == 0 {
			io.Copy(io.Discard, server) // until the check gives up
			return
		}
		fmt.Fprintf(server, "HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n", status)
	}()
	return client, nil
}

// times gives when the app was asked, and forgets it.
func (a *fakeApp) times() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.asked
	a.asked, a.began = nil, time.Now()
	return out
}

func every10s(policy string) Task {
	return Task{Target: target(policy), How: model.HealthCheck{
		Port: 8080, HTTP: &model.HTTPCheck{Path: "/healthz"}, Interval: 10 * time.Second, Timeout: time.Second, UnhealthyThreshold: 3, HealthyThreshold: 1,
	}}
}

// asFound compares results, but for when the newest check was made.
var asFound = cmp.Options{cmpopts.IgnoreFields(Result{}, "Checked"), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}

func target(policy string) Target {
	return Target{Policy: policy, Addr: netip.MustParseAddrPort("10.1.0.1:8080")}
}

// TestAHangingAppIsFoundAndComesBack follows one check with exact times.
func TestAHangingAppIsFoundAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &fakeApp{status: 200, began: time.Now()}
		var mu sync.Mutex
		var reports [][]Result
		var log bytes.Buffer
		c := New(Options{
			Words: OfPod(), Dial: app.dial, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Report: func(r []Result) {
				mu.Lock()
				defer mu.Unlock()
				reports = append(reports, r)
			},
		})
		take := func() [][]Result {
			mu.Lock()
			defer mu.Unlock()
			out := reports
			reports = nil
			return out
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Run(ctx)
		}()
		start := time.Now()
		c.Set([]Task{every10s("users")})
		time.Sleep(25 * time.Second)
		if diff := cmp.Diff([]time.Duration{0, 10 * time.Second, 20 * time.Second}, app.times()); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([][]Result{{{Target: target("users"), Since: start}}}, take(), asFound); diff != "" {
			t.Errorf("reports (-want +got):\n%s", diff)
		}
		app.set(0)
		time.Sleep(20 * time.Second)
		if diff := cmp.Diff([]time.Duration{5 * time.Second, 6 * time.Second, 7 * time.Second, 17 * time.Second}, app.times()); diff != "" {
			t.Errorf("asked while it hangs (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([][]Result{{{Target: target("users"), Failing: true, Why: "no answer within 1s", Since: start.Add(33 * time.Second)}}}, take(), asFound); diff != "" {
			t.Errorf("reports (-want +got):\n%s", diff)
		}
		var page bytes.Buffer
		if err := c.WriteMetrics(&page); err != nil || !strings.Contains(page.String(), "fairlead_health_check_failing{policy=\"users\"} 1\n") ||
			!strings.Contains(page.String(), "fairlead_health_checks_total{policy=\"users\",result=\"fail\"} 4\n") {
			t.Errorf("metrics: %v\n%s", err, page.String())
		}
		c.Set([]Task{every10s("users")}) // the same once more, as when another part of the policy changes
		app.set(204)
		time.Sleep(10 * time.Second)
		if diff := cmp.Diff([][]Result{{{Target: target("users"), Since: start.Add(52 * time.Second)}}}, take(), asFound); diff != "" {
			t.Errorf("reports when it is back (-want +got):\n%s", diff)
		}
		c.Set(nil)
		synctest.Wait()
		if diff := cmp.Diff([][]Result{{}}, take(), asFound); diff != "" {
			t.Errorf("reports when nothing asks for it any more (-want +got):\n%s", diff)
		}
		app.times()
		time.Sleep(time.Minute)
		if asked := app.times(); asked != nil {
			t.Errorf("asked all the same: %v", asked)
		}
		cancel()
		<-done
		synctest.Wait()
		if app.open != 0 {
			t.Errorf("%d connections are left open", app.open)
		}
		if n := strings.Count(log.String(), "\n"); n != 3 { // passes, fails, passes
			t.Errorf("%d lines in the log, want 3:\n%s", n, log.String())
		}
	})
}

// TestAnotherCheckBeginsAnew: what was found by one check is no finding of another, even of the same policy.
func TestAnotherCheckBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &fakeApp{status: 500, began: time.Now()}
		c := New(Options{Words: OfPod(), Dial: app.dial, Logger: slog.New(slog.DiscardHandler), Report: func([]Result) {}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Run(ctx)
		c.Set([]Task{every10s("users")})
		time.Sleep(5 * time.Second)
		if got := c.Results(); len(got) != 1 || !got[0].Failing || got[0].Why != "HTTP status 500 Internal Server Error" {
			t.Fatalf("= %+v", got)
		}
		next := every10s("users")
		next.How.HTTP = &model.HTTPCheck{Path: "/", Statuses: []int{500}}
		unknown := Task{Target: target("newer")} // what an older sidecar makes of a check that it does not know
		c.Set([]Task{next, unknown})
		synctest.Wait()
		if got := c.Results(); len(got) != 1 || got[0].Failing || got[0].Policy != "users" {
			t.Errorf("= %+v, want that 500 passes, and nothing of the other", got)
		}
	})
}

// TestProbesAreSpreadAndConfirmed: what sidecars check of others begins at different moments, and is said again while nothing
// changes, with the time of the newest check.
func TestProbesAreSpreadAndConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &fakeApp{status: 200, began: time.Now()}
		start := time.Now()
		var mu sync.Mutex
		var said []string
		c := New(Options{
			Words: OfOthers(), Dial: app.dial, Logger: slog.New(slog.DiscardHandler), Confirm: 30 * time.Second,
			Spread: func(timeout time.Duration) time.Duration { return timeout / 2 },
			Report: func(results []Result) {
				mu.Lock()
				defer mu.Unlock()
				line := []string{fmt.Sprintf("%s:", time.Since(start))}
				for _, r := range results {
					line = append(line, fmt.Sprintf("%s %t of %s", r.Addr, r.Failing, r.Checked.Sub(start)))
				}
				said = append(said, strings.Join(line, " "))
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Run(ctx)
		c.Set([]Task{every10s("shop/users")})
		time.Sleep(65 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff([]string{
			"500ms: 10.1.0.1:8080 false of 500ms", "30s: 10.1.0.1:8080 false of 20.5s", "1m0s: 10.1.0.1:8080 false of 50.5s",
		}, said); diff != "" {
			t.Errorf("said (-want +got):\n%s", diff)
		}
		var page bytes.Buffer
		if err := c.WriteMetrics(&page); err != nil || !strings.Contains(page.String(), "fairlead_health_probes_total{policy=\"shop/users\",result=\"pass\"} 7\n") {
			t.Errorf("metrics: %v\n%s", err, page.String())
		}
	})
}
