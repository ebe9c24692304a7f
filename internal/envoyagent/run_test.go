package envoyagent

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stub is a program in an Envoy's place.
func stub(t *testing.T, script string) *Options {
	t.Helper()
	o := options()
	o.Dir = t.TempDir()
	o.Program, o.Concurrency, o.LogLevel, o.Logger = filepath.Join(o.Dir, "stub"), 1, "warning", slog.New(slog.DiscardHandler)
	o.admin = "127.0.0.1:1" // where nobody is
	o.Probes = http.NotFoundHandler()
	if err := os.WriteFile(o.Program, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return o
}

// A sidecar without its Envoy is none: whoever runs it starts it again.
func TestRunEndsWithTheEnvoy(t *testing.T) {
	o := stub(t, `echo "$@"; exit 3`)
	var out bytes.Buffer
	o.Output = &out
	err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Run() = %v, want exit status 3", err)
	}
	if want := "-c " + filepath.Join(o.Dir, "bootstrap.json") + " --disable-hot-restart --concurrency 1 --log-level warning\n"; out.String() != want {
		t.Errorf("arguments are %q, want %q", out.String(), want)
	}
}

// Told to end, it leaves no Envoy behind.
func TestRunEndsTheEnvoy(t *testing.T) {
	o := stub(t, `trap 'kill $!; echo ended; exit 0' TERM; sleep 600 >/dev/null 2>&1 & echo begun > begun; wait`)
	var out bytes.Buffer
	o.Output = &out
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, o) }()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(filepath.Join(o.Dir, "begun")); err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the program has not begun")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v", err)
	}
	if out.String() != "ended\n" {
		t.Errorf("the program says %q, want that it was told to end", out.String())
	}
}
