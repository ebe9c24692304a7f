package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/source"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long nothing must happen before a burst of events is acted on, burst how long it may last.
	// Editors write a file in two or three steps less than a millisecond apart; an endpoint change must reach proxies
	// within 50 ms, of which these are the first.
	quiet = 3 * time.Millisecond
	burst = 25 * time.Millisecond
	// busyRetry is how often a file is looked at that is being written, halfWritten how long an empty or unfinished
	// file is believed to be still in the making.
	busyRetry   = 5 * time.Millisecond
	halfWritten = time.Second
	// moveGrace is how long a file that was moved away may be missing: editors move it, then write the new one.
	moveGrace = 100 * time.Millisecond
)

// Run reads the paths, calls sink with everything there is (be it nothing), and then with each change, until ctx is
// done; that is no error. sink is called from Run's own goroutine; while it works, events wait in the kernel, and
// should these overflow, everything is read anew. It fails only where the system refuses to watch anything at all.
func (s *Source) Run(ctx context.Context, sink func(source.Change)) error {
	notify, err := fsnotify.NewWatcher()
	if errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("watching manifests: %w: raise the sysctl fs.inotify.max_user_instances", err)
	}
	if err != nil {
		return fmt.Errorf("watching manifests: %w", err)
	}
	defer func() {
		if err := notify.Close(); err != nil {
			s.log.WarnContext(ctx, "closing the notifier", slog.Any("error", err))
		}
	}()
	w := &watcher{
		source: s, notify: notify, registry: registryOf(decoderOf(s.data)),
		watched: map[string]os.FileInfo{}, failed: map[entryKey]struct{}{}, pending: map[entryKey]struct{}{}, holds: map[entryKey]hold{},
	}
	w.rescan(time.Now())
	w.publish(sink)
	return w.loop(ctx, sink)
}

// watcher is the state of one Run; only its goroutine touches it.
type watcher struct {
	source   *Source
	notify   *fsnotify.Watcher
	registry *registry
	watched  map[string]os.FileInfo // directories, as they were when they were last watched
	targets  map[string]struct{}    // those of them where symlinked files lie
	failed   map[entryKey]struct{}  // paths with a failure of their own in the registry

	// The burst: what to look at, since when, and when the last event came.
	pending     map[entryKey]struct{}
	all         bool // look at everything
	moved       bool // a file was moved away, and no other one came
	first, last time.Time

	holds map[entryKey]hold
}

// hold is a file not acted on yet.
type hold struct {
	since, next time.Time
	moved       bool
}

func (w *watcher) loop(ctx context.Context, sink func(source.Change)) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(w.wait(time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.notify.Events:
			if !ok {
				return errors.New("watching manifests: the notifier closed")
			}
			w.event(e, time.Now())
		case err, ok := <-w.notify.Errors:
			if !ok {
				return errors.New("watching manifests: the notifier closed")
			}
			// Overflow or not: something was missed.
			w.source.log.WarnContext(ctx, "reading all manifests anew", slog.Any("error", err))
			w.everything(time.Now())
		case <-timer.C:
			w.work(time.Now())
			w.publish(sink)
		}
	}
}

// wait gives the time until there is something to do.
func (w *watcher) wait(now time.Time) time.Duration {
	due := now.Add(time.Hour)
	if !w.first.IsZero() {
		due = w.last.Add(quiet)
		if most := w.first.Add(burst); most.Before(due) {
			due = most
		}
	}
	for _, h := range w.holds {
		if h.next.Before(due) {
			due = h.next
		}
	}
	return max(due.Sub(now), 0)
}

// event notes what a notification is about.
func (w *watcher) event(e fsnotify.Event, now time.Time) {
	if e.Op == fsnotify.Chmod {
		return
	}
	path := filepath.Clean(e.Name)
	_, wasDir := w.watched[path]
	switch base := filepath.Base(path); {
	case wasDir, strings.HasPrefix(base, ".."): // a directory came or went, or a ConfigMap's ..data was exchanged
		w.everything(now)
	case e.Has(fsnotify.Create) && isDir(path) && !isHidden(base):
		w.everything(now)
	default:
		w.file(path, e, now)
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// file notes an event about something that is no directory.
func (w *watcher) file(path string, e fsnotify.Event, now time.Time) {
	known := false
	for root, rootPath := range w.source.paths {
		base := filepath.Base(path)
		switch {
		case path == rootPath:
		case within(rootPath, path) && (isManifest(base) || base == hidesFile):
		default:
			continue
		}
		known = true
		w.pending[entryKey{root, path}] = struct{}{}
	}
	switch {
	case known && e.Has(fsnotify.Rename):
		w.moved = true
	case known && e.Has(fsnotify.Create):
		w.moved = false
	case !known && w.leads(path):
		w.all = true
	case !known:
		return
	}
	w.touch(now)
}

// leads reports whether path is what a missing path waits for, or lies where a symlinked file leads.
func (w *watcher) leads(path string) bool {
	_, target := w.targets[filepath.Dir(path)]
	return target || slices.ContainsFunc(w.source.paths, func(root string) bool { return within(path, root) })
}

func (w *watcher) everything(now time.Time) {
	w.all = true
	w.touch(now)
}

func (w *watcher) touch(now time.Time) {
	if w.first.IsZero() {
		w.first = now
	}
	w.last = now
}

// work acts on the burst if it is over, and on the held files that are due.
func (w *watcher) work(now time.Time) {
	over := !w.first.IsZero() && (!now.Before(w.last.Add(quiet)) || !now.Before(w.first.Add(burst)))
	if over {
		pending, all, moved := w.pending, w.all, w.moved
		w.pending, w.all, w.moved = map[entryKey]struct{}{}, false, false
		w.first, w.last = time.Time{}, time.Time{}
		if all {
			w.rescan(now)
		}
		for _, k := range slices.SortedFunc(maps.Keys(pending), entryKey.compare) {
			if h, held := w.holds[k]; moved && !held {
				h.since, h.moved = now, true
				w.holds[k] = h
			}
			w.look(k, now)
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(w.holds), entryKey.compare) {
		if !w.holds[k].next.After(now) {
			w.look(k, now)
		}
	}
}

// look reads a file, or holds it while it seems to be in the making.
func (w *watcher) look(k entryKey, now time.Time) {
	h, held := w.holds[k]
	if !held {
		h.since = now
	}
	if h.next = w.unready(k, h, now); !h.next.IsZero() {
		w.holds[k] = h
		return
	}
	delete(w.holds, k)
	_, err := os.Stat(k.path)
	_, isPath := w.failed[k]
	switch {
	case errors.Is(err, os.ErrNotExist) && k.path == w.source.paths[k.root]:
		w.rescan(now)
	case errors.Is(err, os.ErrNotExist):
		w.registry.remove(k)
	case isPath:
		w.rescan(now)
	default:
		w.registry.load(k)
	}
}

// unready gives the time to look again at a file that is not to be acted on now, or zero.
func (w *watcher) unready(k entryKey, h hold, now time.Time) time.Time {
	info, err := os.Stat(k.path)
	patience := h.since.Add(w.source.halfWritten)
	switch {
	case err != nil:
		if grace := h.since.Add(moveGrace); h.moved && now.Before(grace) && errors.Is(err, os.ErrNotExist) {
			return grace
		}
	case !now.Before(patience) || !info.Mode().IsRegular():
	case info.Size() == 0 && w.registry.holds(k):
		return patience
	case beingWritten(k.path):
		return now.Add(busyRetry)
	}
	return time.Time{}
}

// rescan walks all paths, watches their directories and reads all their files.
func (w *watcher) rescan(now time.Time) {
	w.unwatchMoved()
	t := walkPaths(w.source.paths, w.watch)
	w.forget(t)
	present := map[entryKey]struct{}{}
	for _, k := range t.files {
		present[k] = struct{}{}
	}
	for _, f := range t.failures {
		present[f.key] = struct{}{}
	}
	for k := range w.registry.entries {
		if _, ok := present[k]; !ok {
			w.registry.remove(k)
			delete(w.holds, k)
		}
	}
	clear(w.failed)
	for _, f := range t.failures {
		w.registry.remove(f.key)
		w.registry.fail(f.key, f.message, f.fix)
		w.failed[f.key] = struct{}{}
	}
	for _, k := range t.files {
		w.look(k, now)
	}
}

// unwatchMoved gives up directories that are no longer behind their name: removed, moved, or another one where a symlink
// leads elsewhere. It comes before the walk, because the kernel has one watch per directory: to give up its old name
// afterwards would take the watch from its new one.
func (w *watcher) unwatchMoved() {
	for dir, was := range w.watched {
		if info, err := os.Stat(dir); err != nil || !os.SameFile(info, was) {
			w.unwatch(dir)
		}
	}
}

// watch makes dir a watched directory; again where it is one already, for it may be another of the same name.
func (w *watcher) watch(dir string) error {
	if err := w.notify.Add(dir); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	w.watched[dir] = info
	return nil
}

// forget leaves as watched only the directories of t. One that t has under another name keeps its watch.
func (w *watcher) forget(t *tree) {
	w.targets = map[string]struct{}{}
	for _, dir := range t.targets {
		w.targets[dir] = struct{}{}
	}
	for dir, info := range w.watched {
		if _, ok := slices.BinarySearch(t.dirs, dir); ok {
			continue
		}
		if slices.ContainsFunc(t.dirs, func(other string) bool { is, ok := w.watched[other]; return ok && os.SameFile(is, info) }) {
			delete(w.watched, dir)
			continue
		}
		w.unwatch(dir)
	}
}

func (w *watcher) unwatch(dir string) {
	delete(w.watched, dir)
	if err := w.notify.Remove(dir); err != nil && !errors.Is(err, fsnotify.ErrNonExistentWatch) {
		w.source.log.Debug("unwatch", slog.String("dir", dir), slog.Any("error", err))
	}
}

func (w *watcher) publish(sink func(source.Change)) {
	change, ok := w.registry.flush()
	if !ok {
		return
	}
	w.source.log.Debug("manifests changed",
		slog.Int("upserts", len(change.Upserts)), slog.Int("deletes", len(change.Deletes)), slog.Int("problems", len(change.Problems)))
	sink(change)
}
