package call

import (
	"fmt"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/lb"
	"fairlead.dev/fairlead/internal/proxy/upstream"
)

// An endpoint that vanished under requests is left alone as one that does not answer to connections: otherwise the next call
// waits for a connection for as long as that may take.
func TestSilentPeerIsGone(t *testing.T) {
	for _, cause := range []error{h2.ErrPeerSilent, upstream.ErrLost} {
		err := &tryError{failure: resetEarly, err: &httpx.Error{Reason: httpx.UpstreamReset, Err: fmt.Errorf("stream: %w", cause)}}
		if got := failureOutcome(err); got != lb.Refused {
			t.Errorf("failureOutcome of %v = %s, want %s", cause, got, lb.Refused)
		}
	}
}

// A request that would be sent to another host is not waited for as long as one that would not.
func TestWhatCanGoElsewhere(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method string
		change func(*Call)
		want   bool
	}{
		{"a_safe_request", "GET", func(*Call) {}, true},
		{"one_that_may_not_be_repeated", "POST", func(*Call) {}, false},
		{"unless_the_user_says_so", "POST", func(c *Call) { c.policy.On = []string{"reset"} }, true},
		{"no_retries", "GET", func(c *Call) { c.policy.Attempts = 0 }, false},
		{"the_last_try", "GET", func(c *Call) { c.tries = 3 }, false},
		{"the_own_app", "GET", func(c *Call) { c.policy = nil }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &Call{request: request{policy: &model.Retry{Attempts: 2}, tries: 1}}
			c.heldAll = true
			tt.change(c)
			var req httpx.Request
			req.Method = []byte(tt.method)
			if got := c.canGoElsewhere(&req); got != tt.want {
				t.Errorf("canGoElsewhere = %t, want %t", got, tt.want)
			}
		})
	}
}
