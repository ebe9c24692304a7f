package telemetry

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestWhatFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    Record
		want bool
	}{
		{"answered", Record{Protocol: "HTTP/1.1", Code: 200, Details: "via_upstream"}, false},
		{"not_found_by_the_app", Record{Protocol: "HTTP/1.1", Code: 404, Details: "via_upstream"}, false},
		{"delayed_on_purpose", Record{Protocol: "HTTP/1.1", Code: 200, Flags: "DI"}, false},
		{"grpc_not_found", Record{Protocol: "HTTP/2", Code: 200, GRPCStatus: "5"}, false},
		{"connection", Record{Received: 3, Sent: 4}, false},
		{"the_app_fails", Record{Protocol: "HTTP/1.1", Code: 500}, true},
		{"no_route", Record{Protocol: "HTTP/1.1", Code: 404, Flags: "NR"}, true},
		{"fault_beside_a_delay", Record{Protocol: "HTTP/1.1", Code: 418, Flags: "DI,FI"}, true},
		{"cut_before_an_answer", Record{Protocol: "HTTP/2"}, true},
		{"cut_in_the_answer", Record{Protocol: "HTTP/2", Code: 200, Flags: "UC"}, true},
		{"grpc_unavailable", Record{Protocol: "HTTP/2", Code: 200, GRPCStatus: "14"}, true},
		{"refused_connection", Record{Failure: "strict"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f Failures
			f.Record(&tt.r)
			if recent, total := f.Recent(); (total == 1) != tt.want || (len(recent) == 1) != tt.want {
				t.Errorf("%d remembered of %d, want it: %v", len(recent), total, tt.want)
			}
		})
	}
}

type oneField struct{ name, value string }

func (h oneField) Len() int                    { return 1 }
func (h oneField) At(int) (name, value []byte) { return []byte(h.name), []byte(h.value) }

func (h oneField) Get(name string) []byte {
	if name != h.name {
		return nil
	}
	return []byte(h.value)
}

func TestFailuresKeepTheLast(t *testing.T) {
	var f Failures
	r := Record{
		Reporter: Source, Start: time.Unix(1, 0), Duration: time.Second, HeadAfter: -1,
		Client: netip.MustParseAddrPort("10.0.0.1:40000"), Endpoint: netip.MustParseAddrPort("10.0.0.2:8080"),
		Protocol: "HTTP/1.1", Method: []byte("GET"), Authority: []byte("users"), Header: oneField{"x-request-id", "id"},
		Code: 503, Flags: "UF", Cause: "refused", HTTP: NewRegistry("").HTTP(labels(Source)),
	}
	for i := range KeptFailures + 7 {
		r.Path = []byte(fmt.Sprint("/", i))
		f.Record(&r)
	}
	recent, total := f.Recent()
	if len(recent) != KeptFailures || total != KeptFailures+7 {
		t.Fatalf("%d remembered of %d", len(recent), total)
	}
	for i, got := range recent {
		if want := fmt.Sprint("/", KeptFailures+7-1-i); got.Path != want {
			t.Fatalf("failure %d is of %s, want %s", i, got.Path, want)
		}
	}
	want := Failure{
		Reporter: Source, Start: r.Start, Duration: r.Duration, Client: r.Client, Endpoint: r.Endpoint, Source: "orders-service.myapp",
		Destination: "users-v1.myapp", Protocol: "HTTP/1.1", Method: "GET", Path: recent[0].Path, Authority: "users", RequestID: "id",
		Code: 503, Flags: "UF", Cause: "refused",
	}
	if recent[0] != want {
		t.Errorf("got  %+v\nwant %+v", recent[0], want)
	}
}

// A client chooses what stands in a request: it must not choose how much is kept.
func TestFailuresAreBounded(t *testing.T) {
	long := strings.Repeat("é", 100_000)
	var f Failures
	f.Record(&Record{
		Protocol: "HTTP/2", Code: 500, Method: []byte(long), Path: []byte(long), Authority: []byte(long), Header: oneField{"x-request-id", long}, Cause: long,
	})
	recent, _ := f.Recent()
	got := &recent[0]
	for what, text := range map[string]string{"method": got.Method, "path": got.Path, "authority": got.Authority, "id": got.RequestID, "cause": got.Cause} {
		if len(text) > keptPath+len("…") || !strings.HasSuffix(text, "…") || !utf8.ValidString(text) {
			t.Errorf("%s: %d bytes are kept: …%q", what, len(text), text[max(0, len(text)-9):])
		}
	}
}

func TestFailuresAllocateNothing(t *testing.T) {
	var f Failures
	good := &Record{Protocol: "HTTP/1.1", Code: 200}
	bad := &Record{Protocol: "HTTP/1.1", Code: 503, Flags: "UH", Path: []byte("/api"), Authority: []byte("users"), Cause: "no healthy upstream"}
	for range KeptFailures {
		f.Record(bad)
	}
	if n := testing.AllocsPerRun(100, func() { f.Record(good); f.Record(bad) }); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}
