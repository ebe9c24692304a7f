package incluster

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The registrations that Webhooks keeps.
const (
	InjectorRegistration  = "fairlead-sidecar-injector" // a MutatingWebhookConfiguration
	ValidatorRegistration = "fairlead-validator"        // a ValidatingWebhookConfiguration
)

// WebhooksOptions configure Webhooks.
type WebhooksOptions struct {
	// Client is required.
	Client *Client
	// Roots are the first bundle, PEM. Required.
	Roots []byte
	// Logger gets a line for each registration that was changed and for what cannot be written. Required.
	Logger *slog.Logger
}

// Webhooks keeps clientConfig.caBundle of the webhook registrations such that the API server trusts the controller's
// webhook port: at the start, when the roots change, and when another client overwrites it. It makes no registration:
// where there is none, there is nothing to do.
//
// Every replica runs it. A bundle that has none of this replica's roots is replaced by any of them, for as long as it
// stays the API server refuses pods; a bundle that only differs is replaced by the leader alone (Lead), so that
// replicas that know different roots, as while the CA is replaced, do not write against each other.
type Webhooks struct {
	o       WebhooksOptions
	repairs *repairs
	trusted chan struct{} // closed when the API server could trust this replica

	mu       sync.Mutex // taken before that of repairs
	roots    []byte
	leading  bool
	observed map[resource][]hook // the registrations as last seen, without those that were not looked at yet
}

// hook is what matters of one webhook in a registration.
type hook struct {
	name   string
	bundle []byte
}

// NewWebhooks checks the options. It sends nothing.
func NewWebhooks(o WebhooksOptions) (*Webhooks, error) {
	if o.Client == nil || o.Logger == nil || len(o.Roots) == 0 {
		return nil, errors.New("webhook registration: Client, Roots and Logger are required")
	}
	w := &Webhooks{o: o, roots: o.Roots, observed: make(map[resource][]hook), trusted: make(chan struct{})}
	w.repairs = newRepairs(o.Logger, w.write)
	return w, nil
}

// SetRoots has other roots registered, PEM. It may be called at any time, from any goroutine.
func (w *Webhooks) SetRoots(pem []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.roots = pem
	w.repairs.hurry()
	for kind := range w.observed {
		w.check(kind)
	}
}

// Trusted is closed once every registration that there is has been seen with a bundle by which the API server can trust
// this replica.
func (w *Webhooks) Trusted() <-chan struct{} { return w.trusted }

// Lead makes this replica the one whose roots the registrations have exactly, until ctx ends.
func (w *Webhooks) Lead(ctx context.Context) {
	w.setLeading(true)
	<-ctx.Done()
	w.setLeading(false)
}

func (w *Webhooks) setLeading(leading bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leading = leading
	for kind := range w.observed {
		w.check(kind)
	}
}

// Run keeps the registrations until ctx ends. It may be run again, but not twice at once.
func (w *Webhooks) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() {
		kind := mutatingWebhooks()
		followHooks(w, kind, newMutating, func(c *admissionv1.MutatingWebhookConfiguration) []hook {
			hooks := make([]hook, 0, len(c.Webhooks))
			for i := range c.Webhooks {
				hooks = append(hooks, hook{c.Webhooks[i].Name, c.Webhooks[i].ClientConfig.CABundle})
			}
			return hooks
		}).follow(ctx, w.o.Logger, w.o.Client, registration(kind))
	})
	wg.Go(func() {
		kind := validatingWebhooks()
		followHooks(w, kind, newValidating, func(c *admissionv1.ValidatingWebhookConfiguration) []hook {
			hooks := make([]hook, 0, len(c.Webhooks))
			for i := range c.Webhooks {
				hooks = append(hooks, hook{c.Webhooks[i].Name, c.Webhooks[i].ClientConfig.CABundle})
			}
			return hooks
		}).follow(ctx, w.o.Logger, w.o.Client, registration(kind))
	})
	wg.Go(func() { w.repairs.run(ctx) })
	wg.Wait()
}

// registration is the one object of its kind that is kept.
func registration(kind resource) target {
	if kind == mutatingWebhooks() {
		return target{resource: kind, name: InjectorRegistration}
	}
	return target{resource: kind, name: ValidatorRegistration}
}

func newMutating() *admissionv1.MutatingWebhookConfiguration {
	return new(admissionv1.MutatingWebhookConfiguration)
}

func newValidating() *admissionv1.ValidatingWebhookConfiguration {
	return new(admissionv1.ValidatingWebhookConfiguration)
}

func followHooks[T metav1.Object](w *Webhooks, kind resource, empty func() T, hooks func(T) []hook) observer[T] {
	return observer[T]{
		empty: empty,
		replace: func(list []T) {
			var all []hook
			for _, c := range list { // at most one
				all = hooks(c)
			}
			w.observe(kind, all)
		},
		set:  func(c T) { w.observe(kind, hooks(c)) },
		gone: func(T) { w.observe(kind, nil) },
	}
}

func (w *Webhooks) observe(kind resource, hooks []hook) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.observed[kind] = hooks
	w.check(kind)
}

// check asks for what has to be written about a kind. mu is held.
func (w *Webhooks) check(kind resource) {
	if len(w.wrong(kind)) > 0 {
		w.repairs.want(kind.name)
	} else {
		w.repairs.fine(kind.name)
	}
	for _, kind := range []resource{mutatingWebhooks(), validatingWebhooks()} {
		hooks, seen := w.observed[kind]
		if !seen || slices.ContainsFunc(hooks, func(h hook) bool { return !shareCert(h.bundle, w.roots) }) {
			return
		}
	}
	select {
	case <-w.trusted:
	default:
		close(w.trusted)
	}
}

// wrong gives the positions of hooks whose bundle this replica has to replace. mu is held.
func (w *Webhooks) wrong(kind resource) (at []int) {
	for i, h := range w.observed[kind] {
		if !shareCert(h.bundle, w.roots) || w.leading && !bytes.Equal(h.bundle, w.roots) {
			at = append(at, i)
		}
	}
	return at
}

// shareCert reports whether a bundle has one of the roots, both PEM.
func shareCert(bundle, roots []byte) bool {
	if bytes.Equal(bundle, roots) {
		return true
	}
	for block, rest := pem.Decode(roots); block != nil; block, rest = pem.Decode(rest) {
		for other, more := pem.Decode(bundle); other != nil; other, more = pem.Decode(more) {
			if bytes.Equal(block.Bytes, other.Bytes) {
				return true
			}
		}
	}
	return false
}

// write patches the registration of one kind. The patch says what it expects at each position, so that it fails
// instead of hitting the wrong webhook; the change that made it fail is observed next.
func (w *Webhooks) write(ctx context.Context, key string) error {
	kind := mutatingWebhooks()
	if key != kind.name {
		kind = validatingWebhooks()
	}
	w.mu.Lock()
	patch := bundlePatch(w.observed[kind], w.wrong(kind), w.roots)
	w.mu.Unlock()
	if len(patch) == 0 {
		return nil
	}
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	t := registration(kind)
	err = w.o.Client.patch(ctx, t, types.JSONPatchType, data)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	}
	w.o.Logger.LogAttrs(ctx, slog.LevelInfo, "caBundle registered", slog.String("object", t.String()))
	return nil
}

// operation is one step of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// bundlePatch gives the steps that put the roots into the hooks at some positions.
func bundlePatch(hooks []hook, positions []int, roots []byte) (patch []operation) {
	for _, i := range positions {
		at := fmt.Sprintf("/webhooks/%d", i)
		patch = append(patch,
			operation{"test", at + "/name", hooks[i].name},
			operation{"add", at + "/clientConfig/caBundle", roots}) // add replaces (RFC 6902 §4.1); bytes become base64
	}
	return patch
}
