package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/consulsync"
	"fairlead.dev/fairlead/internal/model"
)

const (
	// maxWrites is how many registrations are under way at a time.
	maxWrites = 8
	// compareTime is how often the catalog is compared with what it is to have where nothing changes: what it has lost comes back.
	compareTime = 30 * time.Second
)

// Registrar keeps Services of the mesh in Consul's catalog: what it was told by Set. It registers and removes at one node, and removes
// what was registered for its own cluster alone. One at a time should run for a cluster; with two that agree each write is done twice at
// most.
//
// A Consul that is away or refuses is asked again after a pause that doubles, 30 s at most; meanwhile its catalog stays as it is. All
// writes may be repeated. A Consul that lies about its catalog has what it holds itself registered or removed, and nothing else.
type Registrar struct {
	client  *client
	log     *slog.Logger
	tell    func([]model.Problem)
	address string
	wake    chan struct{} // one slot

	mu     sync.Mutex
	wanted *consulsync.Wanted // nil before the first Set; guarded by mu
}

// NewRegistrar checks the options. It does no I/O.
func NewRegistrar(o Options) (*Registrar, error) {
	if o.Problems == nil || o.Cluster == "" {
		return nil, errors.New("consul: Problems and Cluster are required")
	}
	r := &Registrar{log: o.Logger, tell: o.Problems, address: o.Address, wake: make(chan struct{}, 1)}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	var err error
	r.client, err = newClient(&o)
	return r, err
}

// Set says what the catalog is to have. It does not block. Nothing is written before the first call.
func (r *Registrar) Set(w consulsync.Wanted) {
	r.mu.Lock()
	r.wanted = &w
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends. It may be run again, but not twice at once.
func (r *Registrar) Run(ctx context.Context) {
	var pace bucket
	var failures backoff
	defer r.tell(nil) // another replica says what is wrong, if one writes
	defer r.client.http.CloseIdleConnections()
	for pause(ctx, pace.take(time.Now())) {
		wait, wake := compareTime-rand.N(compareTime/8), r.wake //nolint:gosec // no secret depends on it
		refusals, err := r.pass(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait, wake = failures.failed(), nil // a change is no reason to ask it sooner
			r.tell([]model.Problem{r.problem("Services of the mesh are not registered: "+cause(err)+"; what the catalog has of them stays", "")})
		default:
			if len(refusals) == 0 {
				failures.answered()
			} else {
				wait = failures.failed()
			}
			r.tell(refusals)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (r *Registrar) problem(message, fix string) model.Problem {
	return model.Problem{Ref: model.Ref{Kind: "ConsulCatalog", Key: model.Key{Name: "of " + r.address}}, Severity: model.Warning, Message: message, Fix: fix}
}

// pass compares once, and writes what is not as it is to be. An error is one of the whole Consul.
func (r *Registrar) pass(ctx context.Context) (refusals []model.Problem, err error) {
	r.mu.Lock()
	w := r.wanted
	r.mu.Unlock()
	if w == nil {
		return nil, nil
	}
	listed, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	step := w.Compare(listed)
	if len(step.Taken) > 0 {
		refusals = append(refusals, r.problem(fmt.Sprintf("instance %q at node %s was registered by somebody else: it is left alone", step.Taken[0], consulsync.Node), ""))
	}
	// What is new comes first, so that a service whose pods are replaced has instances all the time.
	writes := make([]write, 0, len(step.Register)+len(step.Deregister))
	for i := range step.Register {
		writes = append(writes, register(&step.Register[i]))
	}
	refused, err := r.write(ctx, writes)
	if err == nil {
		writes = writes[:0]
		for _, id := range step.Deregister {
			writes = append(writes, deregister(id))
		}
		var more []refusal
		more, err = r.write(ctx, writes)
		refused = append(refused, more...)
	}
	if len(refused) > 0 { // the others have the same cause, mostly
		first := slices.MinFunc(refused, func(a, b refusal) int { return cmp.Compare(a.what, b.what) })
		refusals = append(refusals, r.problem(first.what+": "+cause(first.err), "the token needs node:write for "+consulsync.Node+", and service:write"))
	}
	if n := len(step.Register) + len(step.Deregister); n > 0 && err == nil {
		r.log.DebugContext(ctx, "consul: catalog written", slog.Int("registered", len(step.Register)), slog.Int("deregistered", len(step.Deregister)), slog.Int("refused", len(refused)))
	}
	return refusals, err
}

// list asks for what the catalog has at the node. It is asked of the leader: an older state would have writes done again.
func (r *Registrar) list(ctx context.Context) ([]consulsync.Instance, error) {
	var at nodeServices
	info, err := r.client.ask(ctx, question{path: "/v1/catalog/node-services/" + consulsync.Node, newest: true}, &at)
	if err != nil {
		return nil, err
	}
	if info.filtered {
		return nil, errors.New("the token may not read all that is at node " + consulsync.Node)
	}
	out := make([]consulsync.Instance, 0, len(at.Services))
	for i := range at.Services {
		s := &at.Services[i]
		out = append(out, consulsync.Instance{ID: s.ID, Service: s.Service, Address: s.Address, Port: s.Port, Tags: s.Tags, Meta: s.Meta})
	}
	return out, nil
}

// write is one request that changes the catalog.
type write struct {
	what, path string
	body       any
}

func register(i *consulsync.Instance) write {
	return write{
		what: fmt.Sprintf("service %q cannot be registered", i.Service), path: "/v1/catalog/register",
		body: registration{
			Node: consulsync.Node, Address: consulsync.NodeAddress, SkipNodeUpdate: true, NodeMeta: map[string]string{consulsync.SourceKey: consulsync.SourceValue},
			Service: service{ID: i.ID, Service: i.Service, Address: i.Address, Port: i.Port, Tags: i.Tags, Meta: i.Meta, Weights: weights{Passing: 1, Warning: 1}},
		},
	}
}

func deregister(id string) write {
	return write{
		what: fmt.Sprintf("instance %q cannot be deregistered", id), path: "/v1/catalog/deregister",
		body: deregistration{Node: consulsync.Node, ServiceID: id},
	}
}

// refusal is a write that a Consul which is well does not do.
type refusal struct {
	what string
	err  error
}

// write does writes, some at a time. The first error that is no refusal of one of them ends it.
func (r *Registrar) write(ctx context.Context, list []write) (refused []refusal, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex // guards refused and err
	var wg sync.WaitGroup
	queue := make(chan write)
	for range min(maxWrites, len(list)) {
		wg.Go(func() {
			for w := range queue {
				failed := r.client.put(ctx, w.path, w.body)
				if failed == nil {
					continue
				}
				mu.Lock()
				if status := (*statusError)(nil); errors.As(failed, &status) && status.status >= 400 && status.status < http.StatusInternalServerError {
					refused = append(refused, refusal{w.what, failed})
				} else if err == nil {
					err = failed
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	for _, w := range list {
		select {
		case queue <- w:
		case <-ctx.Done():
		}
	}
	close(queue)
	wg.Wait()
	return refused, err
}
