package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := linger(t.Context(), []string{"--for", "7s"}); err != nil || time.Since(start) != 7*time.Second {
			t.Errorf("linger --for 7s = %v after %s", err, time.Since(start))
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := linger(ended, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("linger, interrupted = %v", err)
		}
		if err := linger(t.Context(), []string{"--for=-1s"}); err == nil {
			t.Error("linger --for=-1s: no error")
		}
	})
}
