package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestInterruption: what a shell makes of a command that Ctrl-C ended, whatever the command was doing.
func TestInterruption(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	never := strings.Replace(manifests, "path: /healthz", "path: /status/503", 1)
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(never), 0o600); err != nil {
		t.Fatal(err)
	}
	inLab := func(args ...string) []string { return append([]string{"--state-dir", state}, args...) }
	t.Cleanup(func() {
		Execute(context.WithoutCancel(t.Context()), inLab("lab", "down"), Streams{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}})
	})
	// interrupt ends the command once it has printed what is awaited.
	interrupt := func(t *testing.T, signal syscall.Signal, await string, args ...string) (code int, stdout, stderr string) {
		t.Helper()
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		var out bytes.Buffer
		errOut := &trigger{await: await, pull: func() { cancel(InterruptError{signal}) }}
		code = Execute(ctx, args, Streams{In: strings.NewReader(""), Out: &out, Err: errOut, Environ: os.Environ()})
		return code, out.String(), errOut.seen.String()
	}
	code, _, errOut := interrupt(t, syscall.SIGINT, "waiting: ", inLab("lab", "up", "--plain", "-f", dir)...)
	if want := `lab "lab" runs, but is not ready (interrupted); see: fairlead lab status` + "\n"; code != 130 || !strings.HasSuffix(errOut, want) {
		t.Errorf("lab up, interrupted: exit code %d, printed %q, want 130 and %q", code, errOut, want)
	}
	if !strings.Contains(errOut, "waiting: pod shop/web-") {
		t.Errorf("lab up does not say what it waits for: %q", errOut)
	}
	code, out, _ := interrupt(t, syscall.SIGINT, "watching", inLab("lab", "capture", "deploy/web", "-n", "shop", "--for", "1h")...)
	if code != 130 || !strings.HasPrefix(out, "DIRECTION") {
		t.Errorf("lab capture, interrupted: exit code %d, printed %q, want 130 and what it saw", code, out)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(InterruptError{syscall.SIGTERM})
	code = Execute(ctx, inLab("lab", "logs", "-f", "deploy/web", "-n", "shop"), Streams{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}})
	if code != 143 {
		t.Errorf("lab logs -f, ended by SIGTERM: exit code %d, want 143", code)
	}
}

// trigger is an output that does something once a text was written to it.
type trigger struct {
	seen  bytes.Buffer
	await string
	pull  func()
}

func (w *trigger) Write(p []byte) (int, error) {
	n, err := w.seen.Write(p)
	if strings.Contains(w.seen.String(), w.await) {
		w.pull()
	}
	return n, err
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out)
		begun := time.Now()
		for time.Since(begun) < time.Minute {
			time.Sleep(20 * time.Millisecond)
			what := "pod a"
			if time.Since(begun) > 30*time.Second {
				what = "pod b"
			}
			p.waitsFor([]string{what, "pod z"})
		}
		if got, want := out.String(), "waiting: pod a; pod z\nwaiting: pod b; pod z\n"; got != want {
			t.Errorf("in a minute it printed %q, want %q", got, want)
		}
	})
}
