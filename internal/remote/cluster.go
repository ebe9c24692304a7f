package remote

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// retryPause is how long a source rests that cannot run at all.
const retryPause = 5 * time.Second

// cluster is what is known of one cluster. Its set's lock guards it.
type cluster struct {
	set    *Set
	name   string
	by     string // who declares it
	print  string
	source Source // nil where it could never be followed

	stop     context.CancelFunc // ends the goroutine that follows it; nil where there is none
	turn     int                // counts those goroutines: what an older one says is not listened to
	began    time.Time
	heard    bool   // the source has said everything once
	everDone bool   // some source has
	failed   string // why it did not, the last time
	unusable string // why the newest declaration is not followed
	known    map[objectID]struct{}
	itself   string   // what it calls itself; empty where it does not say
	saidBy   objectID // the object that does
	told     Known    // what was said last of how it stands with it
}

// objectID names an object that the sink knows.
type objectID struct {
	kind string
	key  model.Key
}

// start begins to follow a cluster, with the set's lock held.
func (s *Set) start(c *cluster) {
	if c.source == nil || c.stop != nil {
		return
	}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(s.ctx)
	c.turn++
	c.began = time.Now()
	from, turn := c.source, c.turn
	s.o.Logger.Info("following a cluster", slog.String("cluster", c.name), slog.String("declared_by", c.by))
	s.working.Go(func() { s.work(ctx, c, from, turn) })
}

// end has a cluster be followed no more, with the set's lock held. What its goroutine says from now on is not listened to.
func (s *Set) end(c *cluster) {
	if c.stop != nil {
		c.stop()
		c.stop = nil
	}
	c.turn++
}

// work runs a source until ctx ends, again where it fails.
func (s *Set) work(ctx context.Context, c *cluster, from Source, turn int) {
	for {
		err := from.Run(ctx, &sink{c: c, turn: turn})
		if ctx.Err() != nil {
			return
		}
		cause := "its source ended"
		if err != nil {
			cause = err.Error()
		}
		s.fail(c, turn, cause)
		timer := time.NewTimer(retryPause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// fail notes that a source cannot run.
func (s *Set) fail(c *cluster, turn int, cause string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.turn != turn {
		return
	}
	if c.failed != cause {
		s.o.Logger.Warn("cluster cannot be followed, what it said last stays", slog.String("cluster", c.name), slog.String("reason", cause))
	}
	c.failed = cause
	s.wake()
}

// sink takes what one run of a source says.
type sink struct {
	c    *cluster
	turn int
}

// Whole implements Sink.
func (k *sink) Whole(objects []source.Object) {
	s := k.c.set
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.c.turn != k.turn {
		return
	}
	k.c.itself, k.c.saidBy = "", objectID{}
	change := source.Change{Upserts: k.c.upserts(objects)}
	there := make(map[objectID]struct{}, len(change.Upserts))
	for i := range change.Upserts {
		there[idOf(change.Upserts[i].Ref)] = struct{}{}
	}
	change.Deletes = k.c.deletes(there)
	s.emit(change)
	if !k.c.heard {
		s.o.Logger.Info("a cluster said what it has", slog.String("cluster", k.c.name), slog.Int("objects", len(change.Upserts)),
			slog.Duration("took", time.Since(k.c.began)))
	}
	k.c.heard, k.c.everDone, k.c.failed = true, true, ""
	s.tell(k.c, Known{Apart: k.c.told.Apart, Heard: true})
	s.wake()
}

// Changed implements Sink.
func (k *sink) Changed(c source.Change) {
	s := k.c.set
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.c.turn != k.turn {
		return
	}
	change := source.Change{Upserts: k.c.upserts(c.Upserts)}
	for _, ref := range c.Deletes {
		if idOf(ref) == k.c.saidBy {
			k.c.itself, k.c.saidBy = "", objectID{}
		}
		if _, known := k.c.known[idOf(ref)]; known {
			delete(k.c.known, idOf(ref))
			change.Deletes = append(change.Deletes, mine(k.c.name, ref))
		}
	}
	s.emit(change)
}

// upserts gives the objects that mean something here as those of the cluster, and notes that they are known.
func (c *cluster) upserts(objects []source.Object) []source.Object {
	var out []source.Object
	for _, o := range objects {
		c.learnName(o)
		if c.set.o.Wanted != nil && !c.set.o.Wanted(o) {
			continue
		}
		c.known[idOf(o.Ref)] = struct{}{}
		o.Ref = mine(c.name, o.Ref)
		out = append(out, o)
	}
	return out
}

// learnName notes what the cluster calls itself, where an object says it.
func (c *cluster) learnName(o source.Object) {
	if c.set.o.CallsItself == nil {
		return
	}
	if name, says := c.set.o.CallsItself(o); says {
		c.itself, c.saidBy = name, idOf(o.Ref)
	}
}

// deletes forgets the objects that are known and not there, and names them.
func (c *cluster) deletes(there map[objectID]struct{}) []model.Ref {
	var out []model.Ref
	for id := range c.known {
		if _, still := there[id]; !still {
			delete(c.known, id)
			out = append(out, model.Ref{Kind: id.kind, Key: id.key, Cluster: c.name})
		}
	}
	slices.SortFunc(out, func(a, b model.Ref) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Compare(b.Key)) })
	return out
}

// troubled reports whether the source says what keeps it from saying anything else.
func (c *cluster) troubled() bool {
	if c.source == nil {
		return true
	}
	_, cause := c.source.Trouble()
	return cause != ""
}

func idOf(ref model.Ref) objectID { return objectID{ref.Kind, ref.Key} }
