package call

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

func TestClassify(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want failure
	}{
		{"refused_stream", &h2.ResetError{Code: h2.CodeRefusedStream, Remote: true}, disowned},
		{"going_away", fmt.Errorf("%w: %w", h2.ErrNotProcessed, h2.ErrGoAway), disowned},
		{"not_written_to_a_stream", fmt.Errorf("%w: %w", h2.ErrUnsent, h2.ErrClosed), unsent},
		{"reused_and_silent", &h1.ClosedError{Reused: true, Written: true, Err: io.EOF}, resetEarly},
		{"fresh_and_written", &h1.ClosedError{Written: true, Err: io.EOF}, resetEarly},
		{"nothing_written", &h1.ClosedError{Err: io.EOF}, unsent},
		{"cancelled_stream", &h2.ResetError{Code: h2.CodeCancel, Remote: true}, resetEarly},
		{"timer", errors.Join(io.ErrClosedPipe, errTimeout), tryTimeout},
		{"client_gone", DownstreamError(io.EOF), final},
		{"garbage", &h1.Error{Status: 502, Reason: "no"}, resetEarly},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := classify(tt.err); got != tt.want {
				t.Errorf("classify(%v) = %d, want %d", tt.err, got, tt.want)
			}
		})
	}
}

func TestRetryable(t *testing.T) {
	request := func(method string, fields ...string) *httpx.Request {
		r := &httpx.Request{Method: []byte(method)}
		for i := 0; i < len(fields); i += 2 {
			r.Fields.AddString(fields[i], fields[i+1])
		}
		return r
	}
	on := func(conditions ...string) model.Retry { return model.Retry{On: conditions} }
	tests := []struct {
		name   string
		policy model.Retry
		req    *httpx.Request
		failed tryError
		want   bool
	}{
		{"never_connected", model.Retry{}, request("POST"), tryError{failure: notConnected}, true},
		{"never_sent", model.Retry{}, request("POST"), tryError{failure: unsent}, true},
		{"disowned", model.Retry{}, request("POST"), tryError{failure: disowned}, true},
		{"reset_get", model.Retry{}, request("GET"), tryError{failure: resetEarly}, true},
		{"reset_post", model.Retry{}, request("POST"), tryError{failure: resetEarly}, false},
		{"reset_post_with_key", model.Retry{}, request("POST", "Idempotency-Key", "1"), tryError{failure: resetEarly}, true},
		{"reset_post_asked", on("reset"), request("POST"), tryError{failure: resetEarly}, true},
		{"reset_post_by_default", on("connect-failure", "refused-stream", "reset-before-request"), request("POST"), tryError{failure: resetEarly}, false},
		{"timeout_get", model.Retry{}, request("GET"), tryError{failure: tryTimeout}, true},
		{"timeout_put", model.Retry{}, request("PUT"), tryError{failure: tryTimeout}, false},
		{"status_not_asked", model.Retry{}, request("GET"), tryError{failure: badStatus, status: 503}, false},
		{"status_code", model.Retry{Codes: []int{503}}, request("POST"), tryError{failure: badStatus, status: 503}, true},
		{"status_5xx", on("5xx"), request("POST"), tryError{failure: badStatus, status: 500}, true},
		{"status_gateway_error", on("gateway-error"), request("GET"), tryError{failure: badStatus, status: 500}, false},
		{"status_gateway_error_502", on("gateway-error"), request("GET"), tryError{failure: badStatus, status: 502}, true},
		{"status_409", on("retriable-4xx"), request("GET"), tryError{failure: badStatus, status: 409}, true},
		{"final", on("5xx", "reset"), request("GET"), tryError{failure: final}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := retryable(&tt.policy, tt.req, &tt.failed); got != tt.want {
				t.Errorf("retryable = %t, want %t", got, tt.want)
			}
		})
	}
}

func TestTriesThatDidNothingAreFree(t *testing.T) {
	for f := notConnected; f <= final; f++ {
		if got, want := f.isFree(), f <= disowned; got != want {
			t.Errorf("%d is free = %t, want %t", f, got, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	for tries := range 70 {
		for _, base := range []time.Duration{0, time.Millisecond, time.Second} {
			d := backoff(&model.Retry{Backoff: base}, tries)
			if base == 0 {
				base = 25 * time.Millisecond
			}
			if d < 0 || d > 10*base {
				t.Fatalf("backoff(%s, %d) = %s", base, tries, d)
			}
		}
	}
}

func TestWantsGRPC(t *testing.T) {
	p := &model.Retry{On: []string{"unavailable", "cancelled", "5xx"}}
	for status, want := range map[string]bool{"": false, "0": false, "1": true, "4": false, "8": false, "13": false, "14": true, "nonsense": false} {
		if got := wantsGRPC(p, []byte(status)); got != want {
			t.Errorf("wantsGRPC(%q) = %v, want %v", status, got, want)
		}
	}
	all := &model.Retry{On: []string{"deadline-exceeded", "resource-exhausted", "internal"}}
	for _, status := range []string{"4", "8", "13"} {
		if !wantsGRPC(all, []byte(status)) {
			t.Errorf("wantsGRPC(%q) = false, want true", status)
		}
	}
}
