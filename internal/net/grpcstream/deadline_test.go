package grpcstream

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestTimeouts(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want time.Duration // 0 for malformed
	}{
		{"1H", time.Hour},
		{"20M", 20 * time.Minute},
		{"30S", 30 * time.Second},
		{"150m", 150 * time.Millisecond},
		{"7u", 7 * time.Microsecond},
		{"99999999n", 99999999},
		{"99999999S", 99999999 * time.Second},
		{"99999999H", 1<<63 - 1},
		{in: "S"},
		{in: "30"},
		{in: "30s"},
		{in: "-1S"},
		{in: "+1S"},
		{in: "1.5S"},
		{in: "999999999n"},
		{in: " 1S"},
		{in: "1 S"},
	} {
		if got, ok := parseTimeout(tt.in); got != tt.want || ok != (tt.want > 0) {
			t.Errorf("parseTimeout(%q) = %s, %t, want %s", tt.in, got, ok, tt.want)
		}
	}
}

// TestDeadline: a call ends when its time is over, with that cause, and one without a time does not.
func TestDeadline(t *testing.T) {
	call := func(t *testing.T, timeout string) (*http.Request, context.CancelFunc, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if timeout != "" {
			r.Header.Set(HeaderTimeout, timeout)
		}
		return Deadline(r)
	}
	synctest.Test(t, func(t *testing.T) {
		r, cancel, err := call(t, "3S")
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
		began := time.Now()
		<-r.Context().Done()
		e, ok := errors.AsType[*StatusError](context.Cause(r.Context()))
		if took := time.Since(began); took != 3*time.Second || !ok || e.Code != CodeDeadlineExceeded {
			t.Errorf("after %s the cause is %v", took, context.Cause(r.Context()))
		}
	})
	r, cancel, err := call(t, "")
	defer cancel()
	if _, limited := r.Context().Deadline(); limited || err != nil {
		t.Errorf("a call without a time has a deadline: %t, %v", limited, err)
	}
	_, cancel, err = call(t, "soon")
	defer cancel()
	if e, ok := errors.AsType[*StatusError](err); !ok || e.Code != CodeInternal {
		t.Errorf("a malformed time: %v", err)
	}
}
