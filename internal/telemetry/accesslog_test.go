package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// head is the head of a request.
type head map[string]string

func (h head) Get(name string) []byte {
	if v, ok := h[name]; ok {
		return []byte(v)
	}
	return nil
}
func (h head) Len() int                    { return 0 }
func (h head) At(int) (name, value []byte) { return nil, nil }

func entry() *Record {
	return &Record{
		Start:  time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC),
		Method: []byte("GET"), Path: []byte("/api/user/123"), Protocol: "HTTP/1.1",
		Authority: []byte("users-service:8080"), Header: head{"user-agent": "curl/8", "x-request-id": "id-1"},
		Code: 200, Details: "via_upstream", Received: 1, Sent: 2, Duration: 3 * time.Millisecond, HeadAfter: 2 * time.Millisecond,
		Endpoint: netip.MustParseAddrPort("10.244.0.7:8080"), Cluster: "outbound|8080|v1|users-service.myapp.svc.cluster.local",
		Dialled: netip.MustParseAddrPort("10.96.0.5:8080"), Client: netip.MustParseAddrPort("10.244.0.5:41000"),
		Route: "default",
	}
}

func TestAppendText(t *testing.T) {
	want := `[2026-01-02T03:04:05.006Z] "GET /api/user/123 HTTP/1.1" 200 - via_upstream - "-" 1 2 3 2 "-" "curl/8" "id-1" ` +
		`"users-service:8080" "10.244.0.7:8080" outbound|8080|v1|users-service.myapp.svc.cluster.local - 10.96.0.5:8080 10.244.0.5:41000 - default` + "\n"
	if got := string(AppendText(nil, entry())); got != want {
		t.Errorf("AppendText =\n%s want\n%s", got, want)
	}
	e := entry()
	e.Path, e.HeadAfter = []byte("/a\"b\nc"), -1
	got := string(AppendText(nil, e))
	if !strings.Contains(got, `/a\x22b\x0ac`) || strings.Count(got, "\n") != 1 {
		t.Errorf("a path must not break the line: %q", got)
	}
}

func TestAppendJSONIsJSONWhateverTheClientSent(t *testing.T) {
	e := entry()
	e.Header = head{"user-agent": "a\"\\\n\x00\xffé"}
	var got map[string]any
	if err := json.Unmarshal(AppendJSON(nil, e), &got); err != nil {
		t.Fatalf("%v in %s", err, AppendJSON(nil, e))
	}
	for k, want := range map[string]any{
		"user_agent": "a\"\\\n\x00\ufffdé", "response_code": 200.0, "upstream_service_time": 2.0, "x_forwarded_for": nil,
		"upstream_host": "10.244.0.7:8080", "response_flags": "-", "start_time": "2026-01-02T03:04:05.006Z",
	} {
		if got[k] != want {
			t.Errorf("%s = %v, want %v", k, got[k], want)
		}
	}
	if len(got) != 24 {
		t.Errorf("%d keys, want Istio's 24", len(got))
	}
}

func TestAccessLogFlushesAndDropsRatherThanBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := NewAccessLog(&out, "host")
		l.Record(entry())
		l.SetFormat(plan.AccessLogText, &model.LogFormat{})
		l.Record(entry())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		time.Sleep(2 * logFlushEvery) // the bubble's clock: passes at once
		synctest.Wait()
		if n := strings.Count(out.String(), "\n"); n != 1 {
			t.Errorf("%d lines after a second, want 1: the first came while the log was off", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for l.dropped.Load() == 0 {
			l.Record(entry())
		}
		if len(l.buf) > 2*logBound {
			t.Errorf("buffer grew to %d bytes", len(l.buf))
		}
	})
}

// gone is standard output that nothing reads any more.
type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestAccessLogCountsWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewAccessLog(gone{}, "host")
		l.SetFormat(plan.AccessLogText, &model.LogFormat{})
		for range 3 {
			l.Record(entry())
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		time.Sleep(2 * logFlushEvery)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		var page strings.Builder
		if err := l.WriteMetrics(&page); err != nil || !strings.HasSuffix(page.String(), "\nfairlead_access_log_dropped_lines_total 3\n") {
			t.Errorf("WriteMetrics = %q, %v; want 3 lines", page.String(), err)
		}
	})
}

// lines gives what a log writes of calls from both sides.
func lines(t *testing.T, l *AccessLog, records ...*Record) (written int) {
	t.Helper()
	for _, r := range records {
		l.Record(r)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	written = bytes.Count(l.buf, []byte{'\n'})
	l.buf = nil
	return written
}

func TestTelemetryDecidesWhatIsLogged(t *testing.T) {
	client, failed := entry(), entry()
	client.Reporter, failed.Reporter, failed.Code = Source, Destination, 503
	l := NewAccessLog(io.Discard, "host")
	all := []*Record{client, failed}
	for _, step := range []struct {
		name string
		do   func()
		want int
	}{
		{"off", func() {}, 0},
		{"objects switch it on where the mesh has it off", func() {
			l.SetTelemetry(&plan.Telemetry{
				Client: plan.Recording{LogsSaid: true, Logs: []plan.AccessLog{{Provider: plan.StandardOutput}}}, Server: plan.Recording{LogsSaid: true},
			})
		}, 1},
		{"nothing said is the mesh's switch", func() { l.SetTelemetry(&plan.Telemetry{}) }, 0},
		{"which is on now", func() { l.SetFormat(plan.AccessLogJSON, &model.LogFormat{}) }, 2},
		{"another provider's lines are not ours", func() {
			l.SetTelemetry(&plan.Telemetry{Client: plan.Recording{LogsSaid: true, Logs: []plan.AccessLog{{Provider: "elsewhere", Collector: &model.TraceProvider{}}}}})
		}, 1},
		{"a filter", func() {
			errors := plan.AccessLog{Provider: plan.StandardOutput, FilterText: "errors", Filter: condition(t, "response.code >= 500").program}
			said := plan.Recording{LogsSaid: true, Logs: []plan.AccessLog{errors}}
			l.SetTelemetry(&plan.Telemetry{Client: said, Server: said})
		}, 1},
		{"no objects any more", func() { l.SetTelemetry(nil) }, 2},
	} {
		step.do()
		if got := lines(t, l, all...); got != step.want {
			t.Errorf("%s: %d lines, want %d", step.name, got, step.want)
		}
	}
	l.SetTelemetry(&plan.Telemetry{Client: plan.Recording{LogsSaid: true, Logs: []plan.AccessLog{{Provider: plan.StandardOutput, FilterText: "connection.mtls"}}}})
	if form, filter := l.Describe(Source); form != "json" || filter != "connection.mtls" {
		t.Errorf("Describe(source) = %s, %q", form, filter)
	}
}
