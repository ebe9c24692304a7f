package call

import (
	"fmt"
	"testing"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

// An endpoint that vanished under requests is left alone as one that does not answer to connections: otherwise the next call
// waits for a connection for as long as that may take.
func TestSilentPeerIsGone(t *testing.T) {
	err := &tryError{failure: resetEarly, err: &httpx.Error{Kind: httpx.UpstreamReset, Err: fmt.Errorf("stream: %w", h2.ErrPeerSilent)}}
	if got := failureOutcome(err); got != lb.Refused {
		t.Errorf("failureOutcome = %s, want %s", got, lb.Refused)
	}
}
