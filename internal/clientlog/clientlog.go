// Package clientlog decides which lines about clients a server of the control plane writes: a thing once per client and
// hour, and no client fills the disk, however often it does what.
//
// In: who a line is about, and which line it is. Out: whether it is to be written; the caller writes it. A Log is safe for
// concurrent use and forgets clients that have been quiet. It reads no clock but the system's, and starts nothing.
//
// To debug: a client that is worth too many lines is itself worth one.
package clientlog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// Lines is how many lines a client is worth within Period, counted over all its streams.
	Lines = 32
	// Period is for how long a thing is said once.
	Period = time.Hour
)

// Log remembers what was written about clients that are told apart by C.
type Log[C comparable] struct {
	log  *slog.Logger
	name func(C) string

	mu      sync.Mutex
	clients map[C]*page // guarded by mu
	swept   time.Time   // when clients was last rid of those that have been quiet
}

// page is what was written about one client.
type page struct {
	since time.Time
	said  map[string]struct{}
}

// New makes a Log that warns of clients with too many lines on log, under the name that they have there.
func New[C comparable](log *slog.Logger, name func(C) string) *Log[C] {
	return &Log[C]{log: log, name: name, clients: make(map[C]*page)}
}

// Due reports whether a line about a client is to be written: it was not yet, and the client was not worth too many.
// What is the same line, the caller says.
func (l *Log[C]) Due(ctx context.Context, client C, line string) bool {
	fresh, last := l.take(client, line, time.Now())
	if last {
		l.log.LogAttrs(ctx, slog.LevelWarn, "proxy gives cause for too many lines, this is the last but one",
			slog.String("proxy", l.name(client)), slog.Duration("for", Period))
	}
	return fresh
}

// take reports whether a line is due, and whether it is the client's last.
func (l *Log[C]) take(client C, line string, now time.Time) (fresh, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	p := l.clients[client]
	if p == nil || now.Sub(p.since) >= Period {
		p = &page{since: now, said: make(map[string]struct{})}
		l.clients[client] = p
	}
	if _, known := p.said[line]; known || len(p.said) >= Lines {
		return false, false
	}
	p.said[line] = struct{}{}
	return true, len(p.said) == Lines
}

// sweep forgets the pages that are over. mu is held.
func (l *Log[C]) sweep(now time.Time) {
	if now.Sub(l.swept) < Period {
		return
	}
	l.swept = now
	for client, p := range l.clients {
		if now.Sub(p.since) >= Period {
			delete(l.clients, client)
		}
	}
}
