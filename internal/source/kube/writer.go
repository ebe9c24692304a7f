package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"

	"fairlead.dev/fairlead/internal/apiserver"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
)

// WriterOptions configure a Writer.
type WriterOptions struct {
	// Config says where the API server is and who we are.
	Config *rest.Config
	// Logger receives a line when statuses cannot be written, and one when they can again. Nil discards.
	Logger *slog.Logger
	// Rate is how many statuses are written per second, 20 where it is 0, and Burst how many at once, 50 where it is 0.
	Rate  float32
	Burst int
}

const (
	defaultRate  = 20
	defaultBurst = 50
	// conflicts is how often an object is read anew because it was written in between, before it waits.
	conflicts = 4
	// retryFirst and retryMost bound how long an object waits after a failure; it doubles with each.
	retryFirst = time.Second
	retryMost  = time.Minute
)

// Writer writes statuses. One controller at a time should run it.
type Writer struct {
	config *rest.Config
	log    *slog.Logger
	kinds  map[string]*config.Kind // custom ones, by name
	limit  flowcontrol.RateLimiter
	first  time.Duration // retryFirst, but in tests
	wake   chan struct{} // one slot

	mu      sync.Mutex
	pending map[model.Ref]*task // guarded by mu: what is to be written, the newest only

	// The rest belongs to Run's goroutine.
	client  *apiserver.Client
	version map[string]string // served version by kind
	away    bool              // the API server did not answer, and that was logged
}

// task is a status to be written.
type task struct {
	status Status
	due    time.Time
	wait   time.Duration // after the next failure
	failed bool
}

// NewWriter makes a Writer. It does no I/O.
func NewWriter(o WriterOptions) (*Writer, error) {
	if o.Config == nil {
		return nil, errors.New("no Kubernetes API server: give a rest.Config")
	}
	if o.Rate == 0 {
		o.Rate = defaultRate
	}
	if o.Burst == 0 {
		o.Burst = defaultBurst
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Writer{
		config: o.Config, log: o.Logger, kinds: make(map[string]*config.Kind), first: retryFirst,
		limit: flowcontrol.NewTokenBucketRateLimiter(o.Rate, o.Burst),
		wake:  make(chan struct{}, 1), pending: make(map[model.Ref]*task), version: make(map[string]string),
	}
	for _, k := range followed() {
		if k.Status != config.NoStatus {
			w.kinds[k.Name] = &k
		}
	}
	return w, nil
}

// Set asks for a status, in place of what was asked for before and is not written yet. It does not block, and may be
// called when Run is not running. It fails where objects of that kind have no status that is ours to write.
func (w *Writer) Set(ref model.Ref, status Status) error {
	if w.kinds[ref.Kind] == nil {
		return fmt.Errorf("%s: a %s has no status to write", ref, ref.Kind)
	}
	w.mu.Lock()
	w.pending[ref] = &task{status: status, wait: w.first}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return nil
}

// Run writes until ctx is done; that is no error. What is not written by then stays asked for. It may run again.
func (w *Writer) Run(ctx context.Context) error {
	client, err := newClient(w.config)
	if err != nil {
		return err
	}
	defer client.Close()
	w.client = client
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-timer.C:
		}
		timer.Reset(w.work(ctx))
	}
}

// work writes what is due and gives the time until something is.
func (w *Writer) work(ctx context.Context) time.Duration {
	for {
		ref, t, due := w.next()
		if t == nil || due > 0 {
			return due
		}
		if w.limit.Wait(ctx) != nil {
			return time.Hour // ctx is done
		}
		w.finish(ctx, ref, t, w.write(ctx, ref, t.status))
	}
}

// next gives the task that is due first, and in how long.
func (w *Writer) next() (ref model.Ref, first *task, due time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for r, t := range w.pending {
		if first == nil || t.due.Before(first.due) {
			ref, first = r, t
		}
	}
	if first == nil {
		return ref, nil, time.Hour
	}
	return ref, first, max(time.Until(first.due), 0)
}

// finish takes a task off the list, or puts it off after a failure. A newer one in its place is not touched.
func (w *Writer) finish(ctx context.Context, ref model.Ref, t *task, err error) {
	if ctx.Err() != nil {
		return
	}
	w.report(ctx, ref, t, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.pending[ref] != t:
	case err == nil:
		delete(w.pending, ref)
	default:
		t.due = time.Now().Add(t.wait)
		t.wait, t.failed = min(2*t.wait, retryMost), true
	}
}

// report logs a failure: once per object, and once for all while the API server is away.
func (w *Writer) report(ctx context.Context, ref model.Ref, t *task, err error) {
	switch {
	case err == nil:
		if w.away {
			w.log.LogAttrs(ctx, slog.LevelInfo, "statuses can be written again")
		}
		w.away = false
	case apiserver.Unavailable(err):
		if !w.away {
			w.log.LogAttrs(ctx, slog.LevelWarn, "the API server is away, statuses wait", slog.Any("error", err))
		}
		w.away = true
	case !t.failed:
		w.log.LogAttrs(ctx, slog.LevelWarn, "a status cannot be written, trying again",
			slog.String("object", ref.String()), slog.Any("error", err))
	}
}

// write reads the object and patches its status where that differs.
func (w *Writer) write(ctx context.Context, ref model.Ref, status Status) error {
	k := w.kinds[ref.Kind]
	version, err := w.served(ctx, k)
	if err != nil || version == "" { // without its CRD there is no such object
		return err
	}
	path := fmt.Sprintf("/apis/%s/%s/namespaces/%s/%s/%s", k.Group, version, ref.Namespace, k.Resource, ref.Name)
	for range conflicts {
		err = w.attempt(ctx, path, status)
		if !apierrors.IsConflict(err) {
			break
		}
	}
	switch {
	case apierrors.IsNotFound(err): // gone, or its CRD is; then another version may be served by the next time
		delete(w.version, k.Name)
		return nil
	case apierrors.IsForbidden(err):
		get, patch := Rule{k.Group, k.Resource, []string{"get"}}, Rule{k.Group, k.Resource + "/status", []string{"patch"}}
		return fmt.Errorf("%w: the ClusterRole %s needs %s and %s", err, role, get, patch)
	}
	return err
}

// attempt is one read and, where there is a difference, one patch that fails if the object was written in between.
func (w *Writer) attempt(ctx context.Context, path string, status Status) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	object := struct {
		Metadata struct{ ResourceVersion string }
		Status   json.RawMessage
	}{Status: json.RawMessage("{}")}
	if err := w.client.Get(ctx, path, &object); err != nil {
		return err
	}
	is, want, err := status.merged(object.Status)
	if err != nil {
		return fmt.Errorf("the present status cannot be read: %w", err)
	}
	patch, err := mergePatch(is, want)
	if err != nil || patch == nil {
		return err
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]string{"resourceVersion": object.Metadata.ResourceVersion},
		"status":   patch,
	})
	if err != nil {
		return fmt.Errorf("the status cannot be written as JSON: %w", err)
	}
	_, err = w.client.Do(ctx, apiserver.Request{
		Method: http.MethodPatch, Path: path + "/status", ContentType: string(types.MergePatchType), Body: body,
	})
	return err
}

// served gives the version in which a kind is served, "" where it is not.
func (w *Writer) served(ctx context.Context, k *config.Kind) (string, error) {
	if v := w.version[k.Name]; v != "" {
		return v, nil
	}
	for _, v := range k.Versions {
		offered, err := offers(ctx, w.client, k.Group, v)
		if err != nil {
			return "", err
		}
		if _, ok := offered[k.Name]; ok {
			w.version[k.Name] = v
			return v, nil
		}
	}
	return "", nil
}
