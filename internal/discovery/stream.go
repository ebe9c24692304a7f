package discovery

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/grpcstream"
	"fairlead.dev/fairlead/internal/net/h2server"
)

const (
	// responseSize is how many bytes of resources go into one response before the next is begun.
	responseSize = 1 << 20
	// maxUnacked bounds the responses whose way is timed.
	maxUnacked = 256
)

// stream is one client's conversation, on the server. It has no goroutine: requests are read by whom intake says, when they come, and
// responses are written by one of the writers, while there are any.
type stream struct {
	s      *Server // fixed, as the next seven
	client ClientIdentity
	since  time.Time
	w      http.ResponseWriter
	rc     *http.ResponseController
	// patience is with the client that reads; of whoever writes.
	patience *grpcstream.Patience
	cancel   context.CancelCauseFunc
	call     *h2server.Detached
	in       intake

	number   uint64   // of the stream; set when the server took it on
	reports  bool     // the client says how its workload is; belongs to who reads, and to remove after it
	account  *account // of the pod; set when the server took the stream on
	reserved int      // names that the account counts; guarded by account.mu

	mu      sync.Mutex
	stirred bool      // there may be something to send that no look has seen; guarded by mu, as everything below
	writing bool      // it is queued, or written to
	ended   bool      // nothing more is to be sent
	failure error     // of sending
	idle    sync.Cond // writing has become false
	node    Node
	subs    map[string]*subscription // by requested name
	dirty   []*subscription          // whose answers may be new
	held    map[string]*sent         // what the client has, by canonical name
	over    []string                 // names that are one too many, to be told so
	loose   []*sent                  // resources that a subscription let go of since the last response
	rounds  uint64                   // looks at what is dirty
	started bool                     // the first request was answered by the source
	greeted bool                     // the first response is out
	nonce   uint64                   // of the newest response
	acked   uint64                   // the newest that was acknowledged
	ackedAt time.Time
	unacked []timedNonce
	refused map[string]Refusal
	partial map[string]Refusal // obeyed without a part that the client does not know
	gone    bool               // the server has forgotten it
}

// subscription is one requested name. All of it is guarded by stream.mu, but for the name and denied, which are fixed.
type subscription struct {
	name string
	// since is that of the change for which the answer may be new, zero where it was merely asked for.
	since time.Time
	// told is what the client was told that the name leads to, where toldYet; empty for nothing.
	told  string
	holds []*sent // the shards of the resource, and behind them the resource
	// dirty means that the answer may be new, and that the subscription is in stream.dirty.
	dirty bool
	// dropped means that it is none any more.
	dropped bool
	toldYet bool
	// denied means that the client may not read the name: it is told that the name does not exist, and nothing is watched.
	denied bool
}

// sent is a resource that the client has, or will have when it has read what is on its way.
type sent struct {
	name    string // canonical
	version string
	round   uint64   // the newest of stream.rounds that has an answer with it
	nonce   uint64   // of the response that brought this version
	patched uint64   // of the newest response that brought a patch
	at      int64    // when the source was asked for this version, Unix ns; 0 where the client had it before
	users   int      // subscriptions that hold it
	names   []string // requested names that lead here, in order
}

type timedNonce struct {
	nonce uint64
	since time.Time
}

// Refusal is a resource that a client would not put in force.
type Refusal struct {
	Name, Version, Reason string
	At                    time.Time
	nonce                 uint64
}

func newStream(s *Server, client ClientIdentity, w http.ResponseWriter, cancel context.CancelCauseFunc) *stream {
	rc := http.NewResponseController(w)
	st := &stream{
		s: s, client: client, since: time.Now(), w: w, rc: rc, patience: grpcstream.NewPatience(rc), cancel: cancel,
		subs:    make(map[string]*subscription),
		held:    make(map[string]*sent),
		refused: make(map[string]Refusal),
		partial: make(map[string]Refusal),
	}
	st.idle.L, st.in.idle.L, st.in.st = &st.mu, &st.in.mu, st
	return st
}

// age draws the life of a stream, or gives 0 for no end.
func (o *ServerOptions) age() time.Duration {
	if o.MaxAge == 0 {
		return 0
	}
	return o.MaxAge*9/10 + rand.N(o.MaxAge/5+1) //nolint:gosec // jitter is no secret
}

func (st *stream) keys(names []string) []Key {
	keys := make([]Key, len(names))
	for i, n := range names {
		keys[i] = Key{Namespace: st.client.Namespace, Name: n}
	}
	return keys
}

// watched lists the names that the source was asked about.
func (st *stream) watched() (names []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for n, sub := range st.subs {
		if !sub.denied {
			names = append(names, n)
		}
	}
	return names
}

// markDirty has a name looked at. It never blocks.
func (st *stream) markDirty(n string, since time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	sub := st.subs[n]
	if sub == nil { // it was dropped meanwhile
		return
	}
	st.mark(sub, since)
	st.stir()
}

// mark puts a subscription among those that are dirty. Since when is the first change's time, zero where it is merely to be looked at
// again. mu is held.
func (st *stream) mark(sub *subscription, since time.Time) {
	if !sub.dirty {
		sub.dirty, sub.since = true, since
		st.dirty = append(st.dirty, sub)
	} else if sub.since.IsZero() {
		sub.since = since
	}
}

// maxHeld bounds the resources that a client can say it has. What it has beyond is sent again.
const maxHeld = 1 << 16

// resume takes over what the client has.
func (st *stream) resume(r *Request) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if r.Node != nil {
		st.node = *r.Node
	}
	for n, version := range r.InitialVersions {
		if _, known := st.held[n]; !known && len(st.held) < maxHeld {
			st.held[n] = &sent{name: n, version: version}
		}
	}
}

// start has the first response sent, also where there is nothing to say.
func (st *stream) start() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.started = true
	st.loose = slices.AppendSeq(st.loose, maps.Values(st.held))
	st.stir()
}

// acknowledge notes what became of responses.
func (st *stream) acknowledge(ctx context.Context, r *Request) {
	now := time.Now()
	st.mu.Lock()
	var room [4]time.Duration
	converged := st.settle(r, now, room[:0])
	var refused []Refusal
	for _, nack := range r.Nacks {
		for _, e := range nack.Errors {
			h := st.held[e.Name]
			if h == nil || st.sendWhole(h, nack.Nonce) {
				continue
			}
			st.refused[e.Name] = Refusal{Name: e.Name, Version: h.version, Reason: e.Reason, At: now, nonce: nack.Nonce}
			refused = append(refused, st.refused[e.Name])
		}
	}
	for _, e := range r.Partial {
		if h := st.held[e.Name]; h != nil && len(st.partial) < maxPartial {
			st.partial[e.Name] = Refusal{Name: e.Name, Version: h.version, Reason: e.Reason, At: now}
		}
	}
	st.mu.Unlock()
	for _, f := range refused {
		if st.s.log.Due(ctx, st.client, "refused "+f.Name+" "+f.Version) {
			st.s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "proxy refused a resource and keeps the previous one", slog.String("proxy", st.client.ID()),
				slog.String("resource", f.Name), slog.String("version", f.Version), slog.String("reason", f.Reason))
		}
	}
	for _, d := range converged {
		trace(st.s.o.Trace.Converged, d)
	}
}

// sendWhole reports whether what a client refused in a response was a patch, or may have been: what it has is not known then, and
// it is sent the whole. Should it refuse that too, it refuses the content. mu is held.
func (st *stream) sendWhole(h *sent, nonce uint64) bool {
	if nonce > h.patched {
		return false
	}
	if h.nonce == h.patched { // nothing whole is on its way
		h.version = ""
		for _, sub := range st.subs {
			if slices.Contains(sub.holds, h) {
				st.mark(sub, time.Time{})
			}
		}
		st.stir()
	}
	return true
}

// maxPartial bounds what is kept of what one client does not know.
const maxPartial = 64

// settle moves acked forward and appends the times that the responses took. mu is held.
func (st *stream) settle(r *Request, now time.Time, converged []time.Duration) []time.Duration {
	acked := r.Ack
	for _, nack := range r.Nacks {
		acked = max(acked, nack.Nonce) // the rest of it is in force
	}
	if acked > st.nonce || acked <= st.acked {
		return converged
	}
	st.acked, st.ackedAt = acked, now
	over := 0
	for ; over < len(st.unacked) && st.unacked[over].nonce <= acked; over++ {
		converged = append(converged, now.Sub(st.unacked[over].since))
	}
	st.unacked = slices.Delete(st.unacked, 0, over)
	for n, refusal := range st.refused {
		if h := st.held[n]; h == nil || (h.nonce > refusal.nonce && h.nonce <= acked) {
			delete(st.refused, n) // replaced by one that was taken
		}
	}
	for n, p := range st.partial {
		if h := st.held[n]; h == nil || h.version != p.Version {
			delete(st.partial, n)
		}
	}
	return converged
}

// subscribe carries out the changes of subscriptions.
func (st *stream) subscribe(ctx context.Context, r *Request) error {
	if len(r.Unsubscribe) > 0 {
		st.s.unwatch(st, st.drop(r.Unsubscribe))
		st.ask(nil)
	}
	for names := range slices.Chunk(r.Subscribe, slice) {
		if err := st.subscribeSome(ctx, names, r.InitialNames); err != nil {
			return err
		}
	}
	return nil
}

// subscribeSome adds a slice of names.
func (st *stream) subscribeSome(ctx context.Context, names []string, initial map[string]string) error {
	added, denied := st.addNames(names, initial)
	for _, n := range denied {
		if st.s.o.Trace.Denied != nil {
			st.s.o.Trace.Denied(st.client, n)
		}
		if st.s.log.Due(ctx, st.client, "denied "+n) {
			st.s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "proxy asked for what only another namespace or pod may read, and was told that it does not exist",
				slog.String("proxy", st.client.ID()), slog.String("name", n))
		}
	}
	if len(added) > 0 {
		if err := st.s.watch(ctx, st, added); err != nil {
			st.drop(added)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return &StatusError{Code: CodeUnavailable, Message: err.Error()}
		}
	}
	st.ask(names)
	return nil
}

// ask has names answered, and the client told what it need not keep.
func (st *stream) ask(names []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, n := range names {
		if sub := st.subs[n]; sub != nil {
			st.mark(sub, time.Time{})
		}
	}
	st.stir()
}

// addNames notes subscriptions and gives those that are new, apart those that the client may not read.
func (st *stream) addNames(names []string, initial map[string]string) (added, denied []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, n := range names {
		if sub, ok := st.subs[n]; ok {
			sub.toldYet = false // asked again, answered again
			continue
		}
		if !st.account.reserve(st) {
			st.over = append(st.over, n)
			continue
		}
		sub := &subscription{name: n}
		if told, ok := initial[n]; ok {
			sub.told, sub.toldYet = told, told == ""
			if h := st.held[told]; h != nil {
				sub.toldYet = true
				h.addName(n)
			}
		}
		st.subs[n] = sub
		if sub.denied = !st.s.o.MayRead(st.client, n); sub.denied {
			denied = append(denied, n)
			continue
		}
		added = append(added, n)
	}
	return added, denied
}

// drop forgets subscriptions and gives those that were watched.
func (st *stream) drop(names []string) (dropped []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	before := len(st.subs)
	defer func() {
		st.account.release(st, before-len(st.subs))
		st.dirty = slices.DeleteFunc(st.dirty, func(sub *subscription) bool { return sub.dropped })
	}()
	for _, n := range names {
		sub, ok := st.subs[n]
		if !ok {
			continue
		}
		if h := st.held[sub.told]; h != nil {
			h.dropName(n)
		}
		st.letGo(sub.holds)
		sub.dropped = true
		delete(st.subs, n)
		if !sub.denied {
			dropped = append(dropped, n)
		}
	}
	return dropped
}

func (h *sent) addName(n string) {
	if at, ok := slices.BinarySearch(h.names, n); !ok {
		h.names = slices.Insert(h.names, at, n)
	}
}

func (h *sent) dropName(n string) {
	if at, ok := slices.BinarySearch(h.names, n); ok {
		h.names = slices.Delete(h.names, at, at+1)
	}
}

// letGo says that a subscription does not hold resources any more. mu is held.
func (st *stream) letGo(holds []*sent) {
	for _, h := range holds {
		h.users--
		if h.users == 0 {
			st.s.following.note(st, h.name, -1)
		}
		st.loose = append(st.loose, h)
	}
}
