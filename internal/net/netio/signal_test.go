package netio

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSignal(t *testing.T) {
	for _, tt := range []struct {
		name           string
		give, stop     time.Duration // when; 0 for never
		takes          time.Duration // what do takes, unless its context ends
		begun, through bool
		over           time.Duration // when stop has returned
	}{
		{"never given", 0, time.Second, time.Second, false, false, time.Second},
		{"given", time.Second, 3 * time.Second, time.Second, true, true, 3 * time.Second},
		{"stopped before", 3 * time.Second, time.Second, time.Second, false, false, time.Second},
		{"stopped while it does", time.Second, 2 * time.Second, time.Minute, true, false, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, s := time.Now(), NewSignal()
				var begun, through atomic.Bool
				stop := s.Then(t.Context(), func(ctx context.Context) {
					begun.Store(true)
					select {
					case <-ctx.Done():
					case <-time.After(tt.takes):
						through.Store(true)
					}
				})
				if tt.give > 0 {
					defer time.AfterFunc(tt.give, s.Give).Stop()
				}
				time.Sleep(tt.stop)
				stop()
				if begun.Load() != tt.begun || through.Load() != tt.through || time.Since(start) != tt.over {
					t.Errorf("begun %v, through %v, over after %s", begun.Load(), through.Load(), time.Since(start))
				}
				if s.IsGiven() != (tt.give > 0 && tt.give < tt.over) {
					t.Errorf("IsGiven() = %v", s.IsGiven())
				}
			})
		})
	}
}

func TestSignalGivenBefore(t *testing.T) {
	s := NewSignal()
	s.Give()
	s.Give()
	heard := make(chan struct{})
	stop := s.Then(t.Context(), func(context.Context) { close(heard) })
	<-heard
	stop()
	<-s.Given()
}

func TestNoSignal(t *testing.T) {
	var s *Signal
	s.Then(t.Context(), nil)()
	if s.Given() != nil || s.IsGiven() {
		t.Error("given")
	}
}

func TestWaitingForASignalTakesNoGoroutine(t *testing.T) {
	s := NewSignal()
	before := runtime.NumGoroutine()
	for range 100 {
		t.Cleanup(s.Then(t.Context(), func(context.Context) {}))
	}
	if n := runtime.NumGoroutine() - before; n > 0 {
		t.Errorf("%d goroutines wait", n)
	}
}
