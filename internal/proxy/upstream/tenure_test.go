package upstream

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestTenure(t *testing.T) {
	const grace = 5 * time.Second
	tests := []struct {
		name      string
		do        func(*Tenure)
		ends, cut time.Duration // 0: never
	}{
		{"goes on", func(*Tenure) {}, 0, 0},
		{"ends at a moment", func(t *Tenure) { t.Until(time.Now().Add(time.Hour)) }, time.Hour, time.Hour + grace},
		{"ends at a moment that has passed", func(t *Tenure) { t.Until(time.Now().Add(-time.Hour)) }, time.Nanosecond, grace},
		{"is ended", func(t *Tenure) { t.End() }, time.Nanosecond, grace},
		{"is ended twice", func(t *Tenure) { t.End(); t.End() }, time.Nanosecond, grace},
		{"is left before", func(t *Tenure) { t.Until(time.Now().Add(time.Hour)); t.Leave() }, 0, 0},
		{"is left in its grace", func(t *Tenure) { t.End(); t.Leave() }, time.Nanosecond, 0},
		{"is left and then ended", func(t *Tenure) { t.Leave(); t.End() }, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				start := time.Now()
				ten := NewTenure(near, grace)
				tt.do(ten)
				var ended, cut time.Duration
				done := make(chan struct{})
				go func() {
					defer close(done)
					far.SetReadDeadline(start.Add(48 * time.Hour))
					if _, err := far.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
						cut = time.Since(start)
					}
				}()
				select {
				case <-ten.Ended().Given():
					ended = max(time.Since(start), time.Nanosecond)
				case <-time.After(24 * time.Hour):
				}
				<-done
				if ended != tt.ends || cut != tt.cut {
					t.Errorf("ended after %s and cut after %s, want %s and %s", ended, cut, tt.ends, tt.cut)
				}
				ten.Leave()
				near.Close()
			})
		})
	}
}
