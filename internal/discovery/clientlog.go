package discovery

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// A client is worth clientLines lines within clientPeriod, counted over all its streams.
	clientLines  = 32
	clientPeriod = time.Hour
)

// clientLog writes what clients do wrong: a thing once per client and clientPeriod, and no client fills the disk, however
// often it does what. It is safe for concurrent use.
type clientLog struct {
	log *slog.Logger

	mu      sync.Mutex
	clients map[ClientIdentity]*clientPage // guarded by mu
	swept   time.Time                      // when clients was last rid of those that have been quiet
}

// clientPage is what was written about one client.
type clientPage struct {
	since time.Time
	said  map[string]struct{}
}

func newClientLog(log *slog.Logger) *clientLog {
	return &clientLog{log: log, clients: make(map[ClientIdentity]*clientPage)}
}

// due reports whether a line about a client is to be written: it was not yet, and the client was not worth too many.
// What is the same line, the caller says.
func (l *clientLog) due(ctx context.Context, client ClientIdentity, line string) bool {
	fresh, last := l.take(client, line, time.Now())
	if last {
		l.log.LogAttrs(ctx, slog.LevelWarn, "proxy gives cause for too many lines, this is the last but one",
			slog.String("proxy", client.ID()), slog.Duration("for", clientPeriod))
	}
	return fresh
}

// take reports whether a line is due, and whether it is the client's last.
func (l *clientLog) take(client ClientIdentity, line string, now time.Time) (fresh, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	page := l.clients[client]
	if page == nil || now.Sub(page.since) >= clientPeriod {
		page = &clientPage{since: now, said: make(map[string]struct{})}
		l.clients[client] = page
	}
	if _, known := page.said[line]; known || len(page.said) >= clientLines {
		return false, false
	}
	page.said[line] = struct{}{}
	return true, len(page.said) == clientLines
}

// sweep forgets the pages that are over. mu is held.
func (l *clientLog) sweep(now time.Time) {
	if now.Sub(l.swept) < clientPeriod {
		return
	}
	l.swept = now
	for client, page := range l.clients {
		if now.Sub(page.since) >= clientPeriod {
			delete(l.clients, client)
		}
	}
}
