package call

import (
	"strconv"
	"testing"
	"time"
)

func TestMoments(t *testing.T) {
	trace := "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"
	tests := []struct {
		name        string
		noted, asks []string
		want        bool
	}{
		{"request_id", []string{"x-request-id: a"}, []string{"X-Request-Id: a"}, true},
		{"another_request", []string{"x-request-id: a"}, []string{"x-request-id: b"}, false},
		{"none", []string{"host: a"}, []string{"host: a"}, false},
		{"trace_of_another_span", []string{"x-request-id: a", trace + "00f067aa0ba902b7-01"}, []string{"x-request-id: b", trace + "b7ad6b7169203331-00"}, true},
		{"traceparent_that_is_too_short", []string{"traceparent: 00-4bf9"}, []string{"traceparent: 00-4bf9"}, false},
		{"b3", []string{"X-B3-TraceId: 463ac"}, []string{"x-b3-traceid: 463ac"}, true},
		{"b3_in_one_field", []string{"b3: 463ac-1-1"}, []string{"b3: 463ac-2-1"}, true},
		{"b3_says_only_that_nothing_is_sampled", []string{"b3: 0"}, []string{"b3: 0"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m moments
			now := time.Unix(1000, 0)
			if !m.quiet(now) || m.since(fieldsOf(tt.asks...), now) {
				t.Error("something is remembered before anything was")
			}
			m.note(fieldsOf(tt.noted...), now)
			if got := m.since(fieldsOf(tt.asks...), now); got != tt.want {
				t.Errorf("since = %t, want %t", got, tt.want)
			}
			if m.since(fieldsOf(tt.asks...), now.Add(time.Nanosecond)) {
				t.Error("what was noted before counts")
			}
			if m.quiet(now.Add(chainMemory)) || !m.quiet(now.Add(chainMemory+1)) {
				t.Error("it is not quiet after ten seconds, and no earlier")
			}
		})
	}
}

// However many chains there are, the memory for them is the same, and the latest ones are in it.
func TestMomentsHaveABound(t *testing.T) {
	var m moments
	now := time.Unix(1000, 0)
	known := 0
	for i := range 10000 {
		f := fieldsOf("x-request-id: " + strconv.Itoa(i))
		m.note(f, now)
		if m.since(f, now) {
			known++
		}
	}
	if known != 10000 {
		t.Errorf("%d of 10000 are known at once", known)
	}
}
