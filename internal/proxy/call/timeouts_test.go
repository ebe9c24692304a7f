package call

import (
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func TestTimeoutsDue(t *testing.T) {
	begun := time.Unix(1000, 0)
	at := func(s int) time.Time { return begun.Add(time.Duration(s) * time.Second) }
	const s = time.Second
	tests := []struct {
		name string
		t    timeouts
		m    progress
		want time.Time
	}{
		{"none", timeouts{}, progress{whole: at(1), try: at(1)}, time.Time{}},
		{"a request that is still coming has all the time", timeouts{request: 5 * s, try: s, backend: s}, progress{try: at(0)}, time.Time{}},
		{"but for a deadline", timeouts{deadline: 3 * s, request: 5 * s}, progress{try: at(0)}, at(3)},
		{"from when it has come", timeouts{request: 5 * s}, progress{whole: at(2), try: at(0)}, at(7)},
		{"the first of both", timeouts{deadline: 9 * s, request: 5 * s}, progress{whole: at(2), try: at(0)}, at(7)},
		{"a first try from when the request has come", timeouts{request: 50 * s, try: 3 * s}, progress{whole: at(2), try: at(0)}, at(5)},
		{"a further one from its beginning", timeouts{request: 50 * s, try: 3 * s}, progress{whole: at(2), try: at(6)}, at(9)},
		{"until the head of its answer", timeouts{request: 50 * s, try: 3 * s}, progress{whole: at(2), try: at(6), answered: true}, at(52)},
		{"a try that is the last one if it takes longer", timeouts{try: 3 * s, backend: 9 * s, response: 4 * s}, progress{whole: at(2), try: at(6), answered: true}, at(10)},
		{"which an upload does not shorten", timeouts{response: 4 * s}, progress{try: at(0)}, time.Time{}},
		{"or until its end", timeouts{try: 3 * s, backend: 4 * s}, progress{whole: at(2), try: at(6), answered: true}, at(10)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.m.begun = begun
			if got := tt.t.due(tt.m); !got.Equal(tt.want) {
				t.Errorf("= %v, want %v", got, tt.want)
			}
		})
	}
}

func grpcRequest(timeout string) *httpx.Request {
	req := new(httpx.Request)
	req.Fields.AddString("content-type", "application/grpc+proto")
	req.Fields.AddString(grpcTimeoutField, timeout)
	return req
}

func TestGRPCDeadline(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"1S": time.Second, "250m": 250 * time.Millisecond, "99999999n": 99999999, "2H": 2 * time.Hour, "3M": 3 * time.Minute, "7u": 7 * time.Microsecond,
		"0m": time.Nanosecond, "99999999H": 1<<63 - 1,
		"": 0, "S": 0, "1": 0, "1s": 0, "-1S": 0, "+1S": 0, "1.5S": 0, "100000000m": 0, "1 S": 0,
	} {
		if got, ok := grpcDeadline(grpcRequest(value)); got != want || ok != (want > 0) {
			t.Errorf("%q = %v %v, want %v", value, got, ok, want)
		}
	}
	req := grpcRequest("1S")
	req.Fields.Set("content-type", "text/plain")
	if got, ok := grpcDeadline(req); ok {
		t.Errorf("of what is not gRPC: %v", got)
	}
}

func TestAppendGRPCTimeout(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Nanosecond: "1u", 1500 * time.Microsecond: "1500u", time.Second: "1000000u", 99 * time.Second: "99000000u",
		100 * time.Second: "100000m", 28 * time.Hour: "100800S", 1<<63 - 1: "2562047H",
	} {
		if got := string(appendGRPCTimeout(nil, d)); len(got) > 9 || got != want && d != 1<<63-1 {
			t.Errorf("%v = %s, want %s", d, got, want)
		}
	}
}

func TestParseMillis(t *testing.T) {
	for value, want := range map[string]time.Duration{"0": 0, "1": time.Millisecond, "1500": 1500 * time.Millisecond} {
		if got, ok := parseMillis([]byte(value)); !ok || got != want {
			t.Errorf("%q = %v %v", value, got, ok)
		}
	}
	for _, value := range []string{"", "1s", "-1", "1.5", " 1", "0x1", "123456789012345678901"} {
		if got, ok := parseMillis([]byte(value)); ok {
			t.Errorf("%q = %v", value, got)
		}
	}
	if got, ok := parseMillis([]byte("99999999999999999999")); !ok || got < 24*time.Hour {
		t.Errorf("a long one = %v %v", got, ok)
	}
}

// Whatever a client writes: no panic, nothing negative, and what is passed on is no longer than what came.
func FuzzTimeoutFields(f *testing.F) {
	for _, seed := range []string{"1S", "250m", "99999999H", "0u", "x", "-1S", "1500", "18446744073709551616"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if d, ok := parseMillis([]byte(value)); ok && d < 0 {
			t.Errorf("parseMillis = %v", d)
		}
		d, ok := grpcDeadline(grpcRequest(value))
		if !ok {
			return
		}
		if d <= 0 {
			t.Fatalf("grpcDeadline = %v", d)
		}
		sent := string(appendGRPCTimeout(nil, d))
		again, ok := grpcDeadline(grpcRequest(sent))
		if !ok || again > max(d, time.Microsecond) {
			t.Errorf("%q is passed on as %q", value, sent)
		}
	})
}
