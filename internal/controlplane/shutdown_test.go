package controlplane

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// A replica that is told to end serves on for the delay, one that has broken does not.
func TestServesOnWhenToldToEnd(t *testing.T) {
	for _, tt := range []struct {
		name                string
		delay, told, broken time.Duration // 0: never
		want                time.Duration
	}{
		{"told", 5 * time.Second, time.Second, 0, 6 * time.Second},
		{"told_without_a_delay", 0, time.Second, 0, time.Second},
		{"broken", 5 * time.Second, 0, time.Second, time.Second},
		{"broken_while_it_serves_on", 5 * time.Second, time.Second, 3 * time.Second, 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &ControlPlane{o: Options{ShutdownDelay: tt.delay, Logger: slog.New(slog.DiscardHandler)}}
				begun := time.Now()
				p.serveUntil(after(t, tt.told), after(t, tt.broken))
				if got := time.Since(begun); got != tt.want {
					t.Errorf("served for %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// after is a context that ends after d; 0 means at the end of the test.
func after(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	if d > 0 {
		time.AfterFunc(d, cancel)
	}
	return ctx
}
