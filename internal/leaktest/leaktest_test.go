package leaktest

import (
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	never := make(chan struct{})
	soon := make(chan struct{})
	signals := make(chan os.Signal, 1)
	tests := []struct {
		name string
		run  func() int
		code int
		said string
	}{
		{"nothing_started", func() int { return 0 }, 0, ""},
		{"the_tests_failed", func() int { return 2 }, 2, ""},
		{"one_that_ends_in_time", func() int {
			go func() { <-soon }()
			time.AfterFunc(20*time.Millisecond, func() { close(soon) })
			return 0
		}, 0, ""},
		{"one_that_does_not", func() int { go func() { <-never }(); return 0 }, 1, "internal/leaktest.TestCheck"},
		{"signals", func() int { signal.Notify(signals, syscall.SIGUSR1); return 0 }, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			patience := patience
			if tt.code == 1 {
				patience = 0
			}
			if code := check(tt.run, &out, patience); code != tt.code || !strings.Contains(out.String(), tt.said) || (tt.said == "") != (out.Len() == 0) {
				t.Errorf("code %d, want %d; said %q, want %q in it", code, tt.code, out.String(), tt.said)
			}
		})
	}
	signal.Stop(signals)
	close(never)
}
