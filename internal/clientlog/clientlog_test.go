package clientlog

import (
	"fmt"
	"log/slog"
	"testing"
	"time"
)

func TestAThingIsSaidOncePerClientAndPeriod(t *testing.T) {
	t.Parallel()
	l := New(slog.New(slog.DiscardHandler), func(c string) string { return c })
	now := time.Now()
	take := func(client, line string, at time.Time, want bool) {
		t.Helper()
		if fresh, _ := l.take(client, line, at); fresh != want {
			t.Errorf("line %q about %s at +%s: due %t, want %t", line, client, at.Sub(now), fresh, want)
		}
	}
	take("a", "x", now, true)
	take("a", "x", now.Add(Period-1), false)
	take("a", "y", now, true)
	take("b", "x", now, true)
	take("a", "x", now.Add(Period), true)
	if len(l.clients) != 1 {
		t.Errorf("%d clients are remembered, want only the one that was not quiet", len(l.clients))
	}
}

func TestAClientIsWorthSoManyLines(t *testing.T) {
	t.Parallel()
	l := New(slog.New(slog.DiscardHandler), func(c string) string { return c })
	now, written, lasts := time.Now(), 0, 0
	for i := range 10 * Lines {
		fresh, last := l.take("a", fmt.Sprint("line ", i), now)
		if fresh {
			written++
		}
		if last {
			lasts++
		}
	}
	if written != Lines || lasts != 1 {
		t.Errorf("%d lines, %d of them the last, want %d and 1", written, lasts, Lines)
	}
}
