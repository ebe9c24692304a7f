package grpcstream

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// HeaderTimeout is how much time the client gives its call.
const HeaderTimeout = "Grpc-Timeout"

// Deadline gives the call with a context that ends when the client's time for it is over, where it has said one: the cause is then a
// StatusError with DEADLINE_EXCEEDED. The cancel function is to be called when the call has ended. A client whose clock is as good as
// this one resets its call in the same moment; one that does not is told, and holds nothing here any longer.
func Deadline(r *http.Request) (*http.Request, context.CancelFunc, error) {
	value := r.Header.Get(HeaderTimeout)
	if value == "" {
		return r, func() {}, nil
	}
	left, ok := parseTimeout(value)
	if !ok {
		return r, func() {}, &StatusError{CodeInternal, fmt.Sprintf("grpc-timeout %.16q: want up to 8 digits and one of H, M, S, m, u, n", value)}
	}
	over := &StatusError{CodeDeadlineExceeded, "the call's grpc-timeout of " + left.String() + " is over"}
	ctx, cancel := context.WithTimeoutCause(r.Context(), left, over)
	return r.WithContext(ctx), cancel, nil
}

// maxTimeoutDigits is the protocol's: what has more is malformed. 8 digits of hours do not fit into a Duration.
const maxTimeoutDigits = 8

// parseTimeout reads "30S"; one that is longer than a Duration is the longest one.
func parseTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > maxTimeoutDigits+1 {
		return 0, false
	}
	unit, ok := timeoutUnit(s[len(s)-1])
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil {
		return 0, false
	}
	const longest = time.Duration(1<<63 - 1)
	if time.Duration(n) > longest/unit {
		return longest, true
	}
	return time.Duration(n) * unit, true
}

func timeoutUnit(c byte) (time.Duration, bool) {
	switch c {
	case 'H':
		return time.Hour, true
	case 'M':
		return time.Minute, true
	case 'S':
		return time.Second, true
	case 'm':
		return time.Millisecond, true
	case 'u':
		return time.Microsecond, true
	case 'n':
		return time.Nanosecond, true
	}
	return 0, false
}
