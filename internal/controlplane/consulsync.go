package controlplane

import (
	"context"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/consulsync"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source/consul"
	"fairlead.dev/fairlead/internal/store"
)

// registerQuiet is how long changes gather before Consul's catalog is compared with them.
const registerQuiet = 100 * time.Millisecond

// consulRegistry keeps annotated Services in the catalog of a Consul. A nil one keeps none.
type consulRegistry struct {
	registrar *consul.Registrar
	engine    *engine
	cluster   string
}

func newConsulRegistry(p *ControlPlane) (*consulRegistry, error) {
	if p.o.Consul == nil || !p.o.Consul.Sync {
		return nil, nil //nolint:nilnil // none
	}
	c := &consulRegistry{engine: p.engine, cluster: p.engine.global.ClusterID}
	o := *p.o.Consul
	o.Logger, o.Cluster = p.o.Logger, c.cluster
	o.Problems = func(list []model.Problem) { p.engine.problems.set(context.Background(), foundInCatalog, list) } //nolint:forbidigo // for the log alone
	var err error
	if c.registrar, err = consul.NewRegistrar(o); err != nil {
		return nil, err
	}
	p.engine.registered = newImportWatch()
	return c, nil
}

// run writes until ctx ends: on the one replica that does. Before the first state of what the control plane stands on nothing is
// written, for all would seem to be gone.
func (c *consulRegistry) run(ctx context.Context) error {
	if c == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-c.engine.synced:
	}
	c.decide(ctx) // what was wanted when this replica led the last time is none of it
	var wg sync.WaitGroup
	wg.Go(func() { c.registrar.Run(ctx) })
	c.follow(ctx)
	wg.Wait()
	c.engine.problems.set(ctx, foundInRegistering, nil)
	return nil
}

// follow decides anew when something has changed that the last decision was made of.
func (c *consulRegistry) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.engine.registered.wake:
		}
		quiet := time.NewTimer(registerQuiet)
		select {
		case <-ctx.Done():
			quiet.Stop()
			return
		case <-quiet.C:
		}
		c.decide(ctx)
	}
}

func (c *consulRegistry) decide(ctx context.Context) {
	c.engine.registered.made(nil)
	r := store.NewReader(c.engine.store.Snapshot())
	w := consulsync.Decide(r, c.cluster)
	c.engine.registered.made(r.Keys())
	c.registrar.Set(w)
	c.engine.problems.set(ctx, foundInRegistering, w.Problems)
}
