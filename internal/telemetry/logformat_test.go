package telemetry

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
)

// odd is a call in which everything is known, and a client has sent what could end a line.
func odd() *Record {
	r := entry()
	r.Header = head{"user-agent": "cu\"rl\n8", "x-forwarded-proto": "https", "x-long": "abcdefgh", "x-envoy-original-path": "/shown?a=b"}
	r.Answer, r.Trailer = head{"content-type": "text/html", "x-empty": ""}, head{"grpc-message": "no way"}
	r.Flags, r.Failure, r.GRPCStatus, r.Tries = "UF,URX", "refused", "4", 2
	r.Trace.ID = [16]byte{0xab, 15: 1}
	r.Reporter = Source
	r.Onward, r.Own, r.Proven = "HTTP/2", "spiffe://mesh/ns/myapp/sa/orders", "spiffe://mesh/ns/myapp/sa/users"
	return r
}

func TestLogFormatText(t *testing.T) {
	opaque := &Record{Start: entry().Start, HeadAfter: -1}
	for _, tt := range []struct {
		format, want, opaque string
	}{
		{"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%", "GET /shown?a=b HTTP/1.1", "- - -"},
		{"%REQ(:AUTHORITY)% %REQ(:SCHEME)% %REQ(none?x-long):3%|%REQ(X-LONG)%", "users-service:8080 https abc|abcdefgh", "- http -|-"},
		{`"%REQ(USER-AGENT)%"`, `"cu\x22rl\x0a8"`, `"-"`},
		{"%RESP(Content-Type)% %RESP(:status)% %RESP(x-empty)% %TRAILER(grpc-message):2%", "text/html 200 - no", "- - - -"},
		{"%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", "200 via_upstream UF,URX UpstreamConnectionFailure,UpstreamRetryLimitExceeded", "0 - - -"},
		{"%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%", "1 2 3 2 1", "0 0 0 - -"},
		{"%START_TIME% %START_TIME(%Y/%m/%d %H:%M:%S.%3f %s)%", "2026-01-02T03:04:05.006Z 2026/01/02 03:04:05.006 1767323045", "2026-01-02T03:04:05.006Z 2026/01/02 03:04:05.006 1767323045"},
		{"%START_TIME(%E6S)% %EMIT_TIME(%s%9f)%", "05.006000 1767323045009000000", "05.006000 1767323045006000000"},
		{"%UPSTREAM_HOST% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT% %UPSTREAM_CLUSTER%", "10.244.0.7:8080 10.244.0.7 8080 outbound|8080|v1|users-service.myapp.svc.cluster.local", "- - - -"},
		{"%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%", "10.244.0.5:41000 10.244.0.5 8080", "- - -"},
		{"%UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %ROUTE_NAME%", "refused 2 default", "- - -"},
		{"%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%", "DeadlineExceeded DEADLINE_EXCEEDED 4 4", "- - - -"},
		{"%PATH% %PATH(NQ)% %PATH(NQ:PATH):4% %PATH(WQ:ORIG)% %PATH(:PATH)%", "/shown?a=b /shown /api /shown?a=b /api/user/123", "- - - - -"},
		{"%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH):3% %ACCESS_LOG_TYPE% %DOWNSTREAM_DIRECT_LOCAL_PORT% %VIRTUAL_CLUSTER_NAME%", "/sh DownstreamEnd 8080 -", "- TcpConnectionEnd - -"},
		{"%UPSTREAM_PROTOCOL% %UPSTREAM_PEER_URI_SAN% %UPSTREAM_LOCAL_URI_SAN%", "HTTP/2 spiffe://mesh/ns/myapp/sa/users spiffe://mesh/ns/myapp/sa/orders", "- - -"},
		{"%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_LOCAL_URI_SAN% %QUERY_PARAM(a)%", "- - -", "- - -"}, // a caller's own app has no certificate
		{"%TRACE_ID% %SPAN_ID% %HOSTNAME% %REQUESTED_SERVER_NAME% 100%%\n", "ab000000000000000000000000000001 - pod-1 - 100%", "- - pod-1 - 100%"},
	} {
		f := NewLogFormat(&model.LogFormat{Text: tt.format}, "pod-1")
		if got := string(f.Append(nil, odd())); got != tt.want+"\n" {
			t.Errorf("%s: %q, want %q", tt.format, got, tt.want)
		}
		if got := string(f.Append(nil, opaque)); got != tt.opaque+"\n" {
			t.Errorf("%s of an opaque connection: %q, want %q", tt.format, got, tt.opaque)
		}
	}
}

// TestLogFormatJSON: an operator alone keeps its type, and is null where nothing is known.
func TestLogFormatJSON(t *testing.T) {
	f := NewLogFormat(&model.LogFormat{Labels: []model.LogLabel{
		{Key: "code", Format: "%RESPONSE_CODE%"},
		{Key: "agent \"x\"", Format: "%REQ(USER-AGENT)%"},
		{Key: "gone", Format: "%REQ(GONE)%"},
		{Key: "mixed", Format: "%RESPONSE_CODE%: \"%REQ(GONE)%\"\té"},
		{Key: "text", Format: "ok"},
		{Key: "nothing", Format: ""},
		{Key: "flags", Format: "%RESPONSE_FLAGS%"},
		{Key: "upstream", Format: "%UPSTREAM_HOST%"},
		{Key: "after", Format: "%RESPONSE_DURATION%"},
	}}, "pod-1")
	line := f.Append(nil, odd())
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	want := map[string]any{
		"code": 200., `agent "x"`: "cu\"rl\n8", "gone": nil, "mixed": "200: \"-\"\té", "text": "ok", "nothing": "", "flags": "UF,URX",
		"upstream": "10.244.0.7:8080", "after": 2.,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%q (-want +got):\n%s", line, diff)
	}
	if strings.Count(string(line), "\n") != 1 {
		t.Errorf("%q is not a line", line)
	}
}

// TestUnknownFormat: what a sidecar does not know of a format is written as not known; the rest stays.
func TestUnknownFormat(t *testing.T) {
	f := NewLogFormat(&model.LogFormat{Labels: []model.LogLabel{{Key: "a", Format: "%OF_A_LATER_VERSION%"}, {Key: "code", Format: "%RESPONSE_CODE%"}}}, "")
	if got := string(f.Append(nil, entry())); got != `{"a":null,"code":200}`+"\n" {
		t.Error(got)
	}
}

// TestLogIdentities: the called side knows its client by its certificate, and calls its own app without one.
func TestLogIdentities(t *testing.T) {
	r := odd()
	r.Reporter = Destination
	f := NewLogFormat(&model.LogFormat{Text: "%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_LOCAL_URI_SAN% %UPSTREAM_PEER_URI_SAN% %UPSTREAM_LOCAL_URI_SAN%"}, "")
	if got, want := string(f.Append(nil, r)), "spiffe://mesh/ns/myapp/sa/users spiffe://mesh/ns/myapp/sa/orders - -\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestLogQuery: of several values the first, decoded, and then escaped as the line demands.
func TestLogQuery(t *testing.T) {
	f := NewLogFormat(&model.LogFormat{Text: "<%QUERY_PARAM(a b):4%>", Labels: []model.LogLabel{{Key: "q", Format: "%QUERY_PARAM(a b)%"}, {Key: "m", Format: "<%QUERY_PARAM(a b)%>"}}}, "")
	for _, tt := range []struct{ path, text, json, value string }{
		{"/", "<->", `{"q":null,"m":"<->"}`, "<>"},
		{"/?b=1&a+b=x&a%20b=y", "<x>", `{"q":"x","m":"<x>"}`, "<x>"},
		{"/?a+b", "<>", `{"q":"","m":"<>"}`, "<>"},
		{"/?a%20b=1%2b+%41%4&", "<1+ A>", `{"q":"1+ A%4","m":"<1+ A%4>"}`, "<1+ A>"},
		{"/?a%20b=%22%0a%5c%ff", `<\x22\x0a\` + "\xff>", `{"q":"\"\u000a\\` + "\ufffd" + `","m":"<\\x22\\x0a\\` + "\ufffd" + `>"}`, "<\"\n\\\xff>"},
	} {
		r := odd()
		r.Path = []byte(tt.path)
		line := string(f.AppendLine(nil, r))
		if value := string(f.AppendValue(nil, r)); line != tt.text || value != tt.value {
			t.Errorf("%s: %q and %q, want %q and %q", tt.path, line, value, tt.text, tt.value)
		}
		if got := string(f.Append(nil, r)); got != tt.json+"\n" {
			t.Errorf("%s: %s, want %s", tt.path, got, tt.json)
		}
	}
}

// FuzzLogFormat: whatever the format, and whatever a client sends, a call is one line, and JSON where that is asked for.
func FuzzLogFormat(f *testing.F) {
	f.Add("%REQ(x-a)% \"%PROTOCOL%\"", "a\"b\n", "/p")
	f.Add("%START_TIME(%s)%%RESPONSE_FLAGS_LONG%", "", "\xff")
	f.Add("%TRACE_ID%%%\t", "é", "")
	f.Add("%QUERY_PARAM(a):3%", "", "/?a=%0a%22&b")
	f.Fuzz(func(t *testing.T, format, value, path string) {
		if _, err := model.ParseLogFormat(format); err != nil || !utf8.ValidString(format) || strings.ContainsAny(format, "\r\n") {
			return
		}
		r := odd()
		r.Header, r.Path = head{"x-a": value, "user-agent": value}, []byte(path)
		if line := NewLogFormat(&model.LogFormat{Text: format}, "h").Append(nil, r); format != "" && strings.Count(string(line), "\n") != 1 {
			t.Errorf("%q by %q is not a line", line, format)
		}
		line := NewLogFormat(&model.LogFormat{Labels: []model.LogLabel{{Key: "a", Format: format}, {Key: "b", Format: format + " %REQ(x-a)%"}}}, "h").Append(nil, r)
		if !json.Valid(line) || strings.Count(string(line), "\n") != 1 {
			t.Errorf("%q by %q is no JSON", line, format)
		}
	})
}

// TestLogFormatAllocatesNothing: beyond the buffer.
func TestLogFormatAllocatesNothing(t *testing.T) {
	text := NewLogFormat(&model.LogFormat{Text: "%START_TIME% %REQ(x-long)% %RESPONSE_FLAGS_LONG% %UPSTREAM_HOST% %GRPC_STATUS% %TRACE_ID% %DURATION%"}, "h")
	object := NewLogFormat(&model.LogFormat{Labels: []model.LogLabel{
		{Key: "a", Format: "%REQ(x-long)%"},
		{Key: "b", Format: "%RESPONSE_CODE% %PROTOCOL%"},
		{Key: "c", Format: "%START_TIME(%s.%3f)%"},
		{Key: "d", Format: "%QUERY_PARAM(a b)%"},
		{Key: "e", Format: "%UPSTREAM_PROTOCOL% %UPSTREAM_PEER_URI_SAN% %QUERY_PARAM(a b)%"},
	}}, "h")
	r := odd()
	r.Path = []byte("/?a+b=1%222")
	r.Header, r.Answer, r.Trailer = nil, nil, nil // the test's own allocate
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(1000, func() { buf = object.Append(text.Append(buf[:0], r), r) }); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}
