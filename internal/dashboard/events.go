package dashboard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/observe"
)

const (
	// frameGap is the least time between two writes to a stream: four a second.
	frameGap = 250 * time.Millisecond
	// pingEvery keeps what is between browser and server from taking a silent stream for a dead one.
	pingEvery = 15 * time.Second
	// againAfter is how long it takes until a question that failed is put again.
	againAfter = time.Second
	// writeTimeout is how long a browser may take for a frame.
	writeTimeout = 30 * time.Second
)

// topic is a question that a stream answers anew where the answer may be another.
type topic struct {
	name string
	// gap is the least time between two questions, stale the most: what it tells changes without news, too.
	gap, stale time.Duration
	// concerns reports whether news are a reason to ask again.
	concerns func(c *observe.Changes) bool
	ask      func(ctx context.Context) (any, error)
}

// topics are all of them, for one stream's window of time.
func (s *Server) topics(w span) []topic {
	return []topic{
		{"meta", time.Second, time.Minute, func(*observe.Changes) bool { return false }, func(ctx context.Context) (any, error) { return s.meta(ctx) }},
		{
			"traffic", time.Second, 5 * time.Second, func(c *observe.Changes) bool { return c.Traffic > 0 || c.Config > 0 },
			func(ctx context.Context) (any, error) { return s.trafficIn(ctx, w) },
		},
		{
			"config", frameGap, 10 * time.Second,
			func(c *observe.Changes) bool { return c.Config > 0 },
			func(ctx context.Context) (any, error) { return configuration{s}.config(ctx) },
		},
		{
			"problems", time.Second, 15 * time.Second,
			func(c *observe.Changes) bool { return c.Problems > 0 || c.Config > 0 },
			func(ctx context.Context) (any, error) { return configuration{s}.problems(ctx) },
		},
	}
}

// events is the stream of everything that a page shows live: the newest answers, where they have changed.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	window, err := spanOf(r, 60)
	if err != nil {
		refuse(w, err)
		return
	}
	wanted, err := s.chosen(window, r.URL.Query().Get("topics"))
	if err != nil {
		refuse(w, err)
		return
	}
	out, err := s.stream(w, r)
	if err != nil {
		refuse(w, err)
		return
	}
	defer out.close()
	f := newFrames(r.Header.Get("Last-Event-ID"))
	ctx, cancel := context.WithCancel(r.Context())
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	bells := make([]chan observe.Changes, len(wanted))
	for i := range wanted {
		bells[i] = make(chan observe.Changes, 1)
		asking.Go(func() { s.keep(ctx, &wanted[i], bells[i], f) })
	}
	asking.Go(func() {
		s.o.Mesh.Follow(ctx, func(h Heard) {
			for i := range wanted {
				if h.Lost != nil || wanted[i].concerns(&h.Changes) {
					select {
					case bells[i] <- h.Changes:
					default: // it is to ask anyway
					}
				}
			}
		})
	})
	out.pump(ctx, f)
}

// chosen are the topics that a page wants; all where it says nothing.
func (s *Server) chosen(w span, names string) ([]topic, error) {
	all := s.topics(w)
	if names == "" {
		return all, nil
	}
	var out []topic
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(t topic) bool { return t.name == name })
		if i < 0 {
			return nil, badRequestError(fmt.Sprintf("topics: there is no %q", name))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// keep asks for a topic, again and again, until ctx ends.
func (s *Server) keep(ctx context.Context, t *topic, bell <-chan observe.Changes, f *frames) {
	for ctx.Err() == nil {
		question, cancel := context.WithTimeout(ctx, askTimeout)
		value, err := t.ask(question)
		cancel()
		if ctx.Err() != nil {
			return
		}
		stale := t.stale
		if err != nil {
			stale = againAfter
		} else if err = f.put(t.name, value); err == nil {
			f.connected(t.name)
		}
		if err != nil {
			f.failed(t.name, err)
		}
		if !wait(ctx, t.gap, nil) || !wait(ctx, max(stale-t.gap, 0), bell) {
			return
		}
	}
}

// wait waits for so long, or until the bell rings. It reports whether ctx still runs.
func wait(ctx context.Context, d time.Duration, bell <-chan observe.Changes) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-bell:
	}
	return true
}

// frames holds what a page is to be told next, of each topic the newest only. It is safe for concurrent use.
type frames struct {
	wake chan struct{} // one slot

	mu      sync.Mutex
	known   map[string]string // what the page has or is about to get: a digest by topic
	pending map[string][]byte
	broken  map[string]string // why topics cannot be told
}

// newFrames begins where the page that had this ID left off.
func newFrames(lastID string) *frames {
	f := &frames{wake: make(chan struct{}, 1), known: map[string]string{}, pending: map[string][]byte{}, broken: map[string]string{}}
	for part := range strings.SplitSeq(lastID, ",") {
		if name, digest, ok := strings.Cut(part, "="); ok {
			f.known[name] = digest
		}
	}
	return f
}

// stateTopic tells whether the mesh answers.
const stateTopic = "state"

// State is whether the mesh answers. Error says why what is shown may be old.
type State struct {
	Connected bool   `json:"connected"`
	Error     string `json:"error,omitempty"`
}

// put notes the newest value of a topic.
func (f *frames) put(name string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(name, b)
	return nil
}

// note is put with the lock held.
func (f *frames) note(name string, b []byte) {
	sum := sha256.Sum256(b)
	digest := hex.EncodeToString(sum[:6])
	if f.known[name] == digest {
		return
	}
	f.known[name], f.pending[name] = digest, b
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *frames) connected(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.broken, name)
	f.noteState()
}

func (f *frames) failed(name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken[name] = strings.ReplaceAll(err.Error(), "\n", "; ")
	f.noteState()
}

// noteState tells the first reason by name. The lock is held.
func (f *frames) noteState() {
	state := State{Connected: true}
	for _, name := range slices.Sorted(maps.Keys(f.broken)) {
		state = State{Error: f.broken[name]}
		break
	}
	b, err := json.Marshal(state)
	if err == nil {
		f.note(stateTopic, b)
	}
}

// take gives what is pending as events, the state first, and the ID behind them.
func (f *frames) take() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b bytes.Buffer
	id := make([]string, 0, len(f.known))
	for _, name := range slices.Sorted(maps.Keys(f.known)) {
		if name != stateTopic {
			id = append(id, name+"="+f.known[name])
		}
	}
	names := slices.Sorted(maps.Keys(f.pending))
	slices.SortStableFunc(names, func(a, c string) int {
		switch stateTopic {
		case a:
			return -1
		case c:
			return 1
		}
		return 0
	})
	for _, name := range names {
		fmt.Fprintf(&b, "event: %s\ndata: %s\nid: %s\n\n", name, f.pending[name], strings.Join(id, ","))
	}
	clear(f.pending)
	return b.Bytes()
}
