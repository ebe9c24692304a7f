package discovery

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/fairlead/internal/clientlog"
)

// logBuffer is where a server of a test writes.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines gives the lines that contain all the words.
func (l *logBuffer) lines(words ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			found = append(found, line)
		}
	}
	return found
}

func (l *logBuffer) hook(o *ServerOptions) { o.Logger = slog.New(slog.NewTextHandler(l, nil)) }

// TestDeniedNamesDoNotExist asks for names that the client may not read: each is answered as one that does not exist,
// the source never hears of it, and saying so does not fill the log, however often and under how many names.
func TestDeniedNamesDoNotExist(t *testing.T) {
	source := newFakeSource()
	source.set(t, "private/key", global("secret"))
	source.set(t, "mesh", global("public"))
	var log logBuffer
	denied := make(chan string, 1000)
	w := start(t, source, log.hook, func(o *ServerOptions) {
		o.Trace.Denied = func(_ ClientIdentity, name string) { denied <- name }
	})
	for range 3 { // the same again after each reconnection
		h := newRecorder()
		c := w.client(t, h)
		stop := run(t, c)
		await(t, c, "mesh", "private/key")
		h.line(t, "private/key absent")
		if n := source.watches(); n != 1 {
			t.Errorf("the source watches %d names, want mesh alone", n)
		}
		lapse(c, "private/key")
		h.line(t, "private/key expired")
		stop()
		eventually(t, "nothing is watched", func() bool { return source.watches() == 0 })
	}
	if got := log.lines("proxy asked for", "private/key"); len(got) != 1 || len(denied) != 3 {
		t.Errorf("%d names denied and %d lines, want 3 and 1: %q", len(denied), len(got), got)
	}
	c := w.client(t, newRecorder())
	run(t, c)
	for i := range 100 {
		await(t, c, fmt.Sprintf("private/%d", i))
	}
	if got := log.lines("proxy asked for"); len(got) != clientlog.Lines || len(denied) != 103 {
		t.Errorf("%d names denied and %d lines, want 103 and %d", len(denied), len(got), clientlog.Lines)
	}
	if got := log.lines("too many lines"); len(got) != 1 {
		t.Errorf("%d lines say that some are left out, want 1", len(got))
	}
}
