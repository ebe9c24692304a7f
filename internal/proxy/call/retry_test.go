package call

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h1"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/lb"
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

func TestDecide(t *testing.T) {
	on := func(conditions ...string) model.Retry { return model.Retry{Attempts: 2, On: conditions} }
	istio := on("connect-failure", "refused-stream", "unavailable", "cancelled", "reset-before-request")
	first := tried{tries: 1, held: true}
	safe := tried{tries: 1, held: true, repeatable: true}
	tests := []struct {
		name   string
		policy model.Retry
		t      tried
		failed failure
		want   decision
	}{
		{"never_connected", istio, first, notConnected, tryAgain},
		{"never_sent", istio, first, unsent, tryAgain},
		{"disowned", istio, first, disowned, tryAgain},
		{"turned_away", istio, first, turnedAway, tryAgain},
		{"turned_away_and_not_held", istio, tried{tries: 1}, turnedAway, unable},
		{"turned_away_below_a_hop_that_retries", istio, tried{tries: 1, held: true, deep: true}, turnedAway, below},
		{"turned_away_attempts_0", model.Retry{}, first, turnedAway, unasked},
		{"reset_get", istio, safe, resetEarly, tryAgain},
		{"reset_post", istio, first, resetEarly, unsafe},
		{"reset_post_asked", on("reset"), first, resetEarly, tryAgain},
		{"reset_post_5xx", on("5xx"), first, resetEarly, tryAgain},
		{"reset_post_gateway_error", on("gateway-error"), first, resetEarly, tryAgain},
		{"reset_post_503", model.Retry{Attempts: 2, Codes: []int{503}}, first, resetEarly, unsafe},
		{"reset_post_before_request", on("reset-before-request"), first, resetEarly, unsafe},
		{"reset_post_http3", on("http3-post-connect-failure"), first, resetEarly, unsafe},
		{"timeout_get", istio, safe, tryTimeout, tryAgain},
		{"timeout_put", istio, first, tryTimeout, unsafe},
		{"timeout_put_5xx", on("5xx"), first, tryTimeout, tryAgain},
		{"timeout_put_asked", on(model.RetryOnTryTimeout), first, tryTimeout, tryAgain},
		{"reset_put_where_a_timeout_is_asked_for", on(model.RetryOnTryTimeout), first, resetEarly, unsafe},
		{"status", on("5xx"), first, badStatus, tryAgain},
		{"final", on("5xx", "reset"), safe, final, unasked},
		{"attempts_0", model.Retry{On: []string{"5xx", "reset"}}, safe, notConnected, unasked},
		{"attempts_0_never_sent", model.Retry{}, first, unsent, tryAgain},
		{"attempts_0_never_sent_and_not_held", model.Retry{}, tried{tries: 1}, unsent, unasked},
		{"attempts_0_never_sent_twice", model.Retry{}, tried{tries: 2, held: true}, unsent, unasked},
		{"body_is_not_held", on("reset"), tried{tries: 1}, resetEarly, unable},
		{"never_sent_and_not_held", on("reset"), tried{tries: 1}, unsent, unable},
		{"last_but_one", on("reset"), tried{tries: 2, held: true}, resetEarly, tryAgain},
		{"last", on("reset"), tried{tries: 3, held: true}, resetEarly, spent},
		{"last_and_unsafe", istio, tried{tries: 3, held: true}, resetEarly, unsafe},
		{"retried_by_another_hop", on("reset"), tried{tries: 1, held: true, deep: true}, resetEarly, below},
		{"retried_by_another_hop_but_never_sent", on("reset"), tried{tries: 1, held: true, deep: true}, unsent, tryAgain},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := decide(&tt.policy, tt.t, &tryError{failure: tt.failed}); got != tt.want {
				t.Errorf("decide = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestRepeatable(t *testing.T) {
	for _, tt := range []struct {
		method, field string
		want          bool
	}{
		{"GET", "", true},
		{"HEAD", "", true},
		{"OPTIONS", "", true},
		{"TRACE", "", true},
		{"POST", "", false},
		{"PUT", "", false},
		{"DELETE", "", false},
		{"PATCH", "", false},
		{"get", "", false},
		{"POST", "Idempotency-Key", true},
	} {
		req := &httpx.Request{Method: []byte(tt.method)}
		if tt.field != "" {
			req.Fields.AddString(tt.field, "1")
		}
		if got := repeatable(req); got != tt.want {
			t.Errorf("repeatable(%s %s) = %t, want %t", tt.method, tt.field, got, tt.want)
		}
	}
}

func TestFailedHead(t *testing.T) {
	on := func(conditions ...string) model.Retry { return model.Retry{On: conditions} }
	tests := []struct {
		name   string
		policy model.Retry
		names  []string
		status int
		field  string
		value  string
		want   failure
	}{
		{name: "not_asked", policy: model.Retry{}, status: 503},
		{name: "code", policy: model.Retry{Codes: []int{503}}, status: 503, want: badStatus},
		{name: "5xx", policy: on("5xx"), status: 500, want: badStatus},
		{name: "5xx_and_404", policy: on("5xx"), status: 404},
		{name: "gateway_error_500", policy: on("gateway-error"), status: 500},
		{name: "gateway_error_502", policy: on("gateway-error"), status: 502, want: badStatus},
		{name: "retriable_4xx_409", policy: on("retriable-4xx"), status: 409, want: badStatus},
		{name: "retriable_4xx_404", policy: on("retriable-4xx"), status: 404},
		{name: "ratelimited", policy: on("5xx", "envoy-ratelimited"), status: 429, field: "x-envoy-ratelimited", value: "true", want: badStatus},
		{name: "ratelimited_and_5xx_only", policy: on("5xx"), status: 503, field: "x-envoy-ratelimited", value: "true"},
		{name: "header", names: []string{"x-again"}, status: 200, field: "X-Again", value: "", want: badStatus},
		{name: "another_header", names: []string{"x-again"}, status: 200, field: "x-other", value: "1"},
		{name: "unavailable", policy: on("unavailable"), status: 200, field: "grpc-status", value: "14", want: badGRPC},
		{name: "unavailable_not_asked", policy: on("cancelled"), status: 200, field: "grpc-status", value: "14"},
		{name: "ok", policy: on("unavailable"), status: 200, field: "grpc-status", value: "0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp := &httpx.Response{Status: tt.status}
			if tt.field != "" {
				resp.Fields.AddString(tt.field, tt.value)
			}
			if got := failedHead(&tt.policy, tt.names, resp); got != tt.want {
				t.Errorf("failedHead = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestTriesThatDidNothingAreFree(t *testing.T) {
	for f := notConnected; f <= final; f++ {
		if got, want := f.isFree(), f <= disowned; got != want {
			t.Errorf("%d is free = %t, want %t", f, got, want)
		}
		if got, want := f.isVoid(), f <= turnedAway; got != want {
			t.Errorf("%d is void = %t, want %t", f, got, want)
		}
	}
}

// What the limits of called sidecars turn away is retried whatever it is, but after a pause, and as far as the budget lasts:
// where all endpoints are full every try adds to what they have to refuse.
func TestRetriesOfWhatIsTurnedAwayHaveABudget(t *testing.T) {
	const budget = 100 // its floor
	group := lb.NewGroup("outbound|80||users")
	for _, tt := range []struct {
		failed   failure
		want     int
		pause    bool
		maybe    bool // the app may have got it
		decision decision
	}{
		{disowned, 3 * budget, false, false, tryAgain},
		{turnedAway, budget, true, false, overBudget},
	} {
		granted, last := 0, tryAgain
		for range 3 * budget {
			c := &Call{Common: &Common{Chains: new(Chains)}}
			c.policy, c.tries = &model.Retry{Attempts: 2}, 1
			c.view.Group = group
			req := &httpx.Request{Method: []byte("POST")}
			if last = c.retry(req, &tryError{failure: tt.failed}); last == tryAgain {
				granted++
				if c.pause != tt.pause || c.redone != tt.maybe {
					t.Fatalf("%d: pause %t, may have been carried out %t; want %t and %t", tt.failed, c.pause, c.redone, tt.pause, tt.maybe)
				}
			}
			c.endRetry()
		}
		if granted != tt.want || last != tt.decision {
			t.Errorf("%d: %d retries, the last one %d; want %d and %d", tt.failed, granted, last, tt.want, tt.decision)
		}
	}
}

// Envoy's: the base, doubled up to ten times the base, of which a random share is waited.
func TestBackoff(t *testing.T) {
	for retry, want := range []int{1, 1, 2, 4, 8, 10, 10, 10} {
		for _, base := range []time.Duration{0, time.Millisecond, time.Second} {
			longest := time.Duration(0)
			for range 1000 {
				d := backoff(&model.Retry{Backoff: base}, retry)
				longest = max(longest, d)
				if d < 0 {
					t.Fatalf("backoff(%s, %d) = %s", base, retry, d)
				}
			}
			limit := time.Duration(want) * cmp.Or(base, 25*time.Millisecond)
			if longest > limit || longest < limit*9/10 {
				t.Errorf("backoff(%s, %d) is up to %s, want %s", base, retry, longest, limit)
			}
		}
	}
	if d := backoff(&model.Retry{Backoff: math.MaxInt64}, 100); d < 0 {
		t.Errorf("backoff of an endless base = %s", d)
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
