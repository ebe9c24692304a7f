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
		name              string
		do                func(*Tenure)
		notice, ends, cut time.Duration // 0: never
	}{
		{"goes on", func(*Tenure) {}, 0, 0, 0},
		{"ends at a moment", func(t *Tenure) { t.Until(time.Now().Add(time.Hour)) }, time.Hour - time.Minute, time.Hour, time.Hour + grace},
		{"ends soon", func(t *Tenure) { t.Until(time.Now().Add(time.Minute)) }, 45 * time.Second, time.Minute, time.Minute + grace},
		{"ends at a moment that has passed", func(t *Tenure) { t.Until(time.Now().Add(-time.Hour)) }, time.Nanosecond, time.Nanosecond, grace},
		{"ends never", func(t *Tenure) { t.Until(time.Time{}) }, 0, 0, 0},
		{"is ended", func(t *Tenure) { t.End() }, time.Nanosecond, time.Nanosecond, grace},
		{"is ended twice", func(t *Tenure) { t.End(); t.End() }, time.Nanosecond, time.Nanosecond, grace},
		{"is ended before its moment", func(t *Tenure) { t.Until(time.Now().Add(time.Hour)); t.End() }, time.Nanosecond, time.Nanosecond, grace},
		{"is ended under notice", func(t *Tenure) {
			t.Until(time.Now().Add(time.Hour))
			time.AfterFunc(time.Hour-time.Second, t.End)
		}, time.Hour - time.Minute, time.Hour - time.Second, time.Hour - time.Second + grace},
		{"is left before", func(t *Tenure) { t.Until(time.Now().Add(time.Hour)); t.Leave() }, 0, 0, 0},
		{"is left under notice", func(t *Tenure) {
			t.Until(time.Now().Add(time.Hour))
			time.AfterFunc(time.Hour-time.Second, t.Leave)
		}, time.Hour - time.Minute, 0, 0},
		{"is left in its grace", func(t *Tenure) { t.End(); t.Leave() }, time.Nanosecond, time.Nanosecond, 0},
		{"is left and then ended", func(t *Tenure) { t.Leave(); t.End() }, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				start := time.Now()
				ten := NewTenure(near, grace)
				tt.do(ten)
				var noticed, ended, cut time.Duration
				done := make(chan struct{})
				go func() {
					defer close(done)
					far.SetReadDeadline(start.Add(48 * time.Hour))
					if _, err := far.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
						cut = time.Since(start)
					}
				}()
				for _, signal := range []struct {
					at    *time.Duration
					given <-chan struct{}
				}{{&noticed, ten.Notice().Given()}, {&ended, ten.Ended().Given()}} {
					select {
					case <-signal.given:
						*signal.at = max(time.Since(start), time.Nanosecond)
					case <-time.After(12 * time.Hour):
					}
				}
				<-done
				if noticed != tt.notice || ended != tt.ends || cut != tt.cut {
					t.Errorf("given notice after %s, ended after %s and cut after %s, want %s, %s and %s", noticed, ended, cut, tt.notice, tt.ends, tt.cut)
				}
				ten.Leave()
				near.Close()
			})
		})
	}
}
