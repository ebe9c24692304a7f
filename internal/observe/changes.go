package observe

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// ViewChanges is the view of what changes: a stream of Changes, JSON in lines. The first line is the state of the moment; a line
// comes at once where something has changed, a few a second at most, and else every five seconds.
const ViewChanges = "changes"

// Changes counts what has changed at a replica since it began. Numbers that are not those of the line before mean news; those
// of another replica, or of another run, mean nothing beside these.
type Changes struct {
	// Config are objects, endpoints and the like; Problems what is wrong with them; Traffic reports of sidecars.
	Config   uint64 `json:"config"`
	Problems uint64 `json:"problems"`
	Traffic  uint64 `json:"traffic"`
}

// Since is what has changed since an earlier line of the same stream: 1 or more where something has.
func (c Changes) Since(earlier Changes) Changes {
	return Changes{c.Config - earlier.Config, c.Problems - earlier.Problems, c.Traffic - earlier.Traffic}
}

const (
	changesGap   = 100 * time.Millisecond
	changesEvery = 5 * time.Second
)

// Feed counts changes and streams them. It is safe for concurrent use.
type Feed struct {
	closed chan struct{}

	mu   sync.Mutex
	now  Changes
	news chan struct{} // closed with the next change; nil while nobody waits
}

// NewFeed gives one that has counted nothing.
func NewFeed() *Feed { return &Feed{closed: make(chan struct{})} }

// Close ends the streams. It is called once.
func (f *Feed) Close() { close(f.closed) }

// Note counts a change. Nobody is told by a nil Feed.
func (f *Feed) Note(count func(*Changes)) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	count(&f.now)
	if f.news != nil {
		close(f.news)
		f.news = nil
	}
}

// state gives the counts, and a channel that is closed once they are old.
func (f *Feed) state() (Changes, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.news == nil {
		f.news = make(chan struct{})
	}
	return f.now, f.news
}

// ServeHTTP implements http.Handler: it streams until the client goes.
func (f *Feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc, out := http.NewResponseController(w), json.NewEncoder(w)
	again, gap := time.NewTicker(changesEvery), time.NewTimer(0)
	defer again.Stop()
	defer gap.Stop()
	for {
		now, news := f.state()
		if rc.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil || out.Encode(now) != nil || rc.Flush() != nil {
			return
		}
		gap.Reset(changesGap)
		select {
		case <-r.Context().Done():
			return
		case <-f.closed:
			return
		case <-gap.C:
		}
		select {
		case <-r.Context().Done():
			return
		case <-f.closed:
			return
		case <-news:
		case <-again.C:
		}
	}
}
