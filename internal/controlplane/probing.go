package controlplane

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/probers"
	"fairlead.dev/fairlead/internal/store"
)

// How long after others hold a destination, or it has other endpoints, probers are chosen anew: a sidecar that connects to
// another stream has time to say again what it knows.
const (
	assignQuiet = 100 * time.Millisecond
	assignMost  = time.Second
)

// probing has sidecars check the endpoints that they call and that have no sidecar. It belongs to the engine's goroutine.
type probing struct {
	global  compile.Global
	staged  *staging // where changes go
	log     *slog.Logger
	callers callers

	book     *probers.Book
	policies map[model.Ref]*probedPolicy
	reads    map[store.Key]struct{} // what the list of policies depends on; nil before it was read
	pace     quietPace
	look     time.Time // when probers are looked at although nothing has changed
	told     time.Time // when the log had the last line about refused results
	counts   probeCounts
	moved    atomic.Bool // others hold a destination; any goroutine sets it
}

// connected are the clients of this replica.
type connected struct{ *ControlPlane }

// Follow implements callers.
func (c connected) Follow(destinations []string) { c.server.Follow(destinations) }

// HoldersOf implements callers.
func (c connected) HoldersOf(destination string) []discovery.ClientIdentity {
	return c.server.HoldersOf(destination)
}

// callersChanged notes that others hold a destination. It does not block.
func (e *engine) callersChanged() {
	e.probing.moved.Store(true)
	poke(e.wake)
}

// callers says which clients hold a destination of those that it is told to follow. discovery.Server is one.
type callers interface {
	Follow(destinations []string)
	HoldersOf(destination string) []discovery.ClientIdentity
}

// probedPolicy is what one policy asks for, as of reads.
type probedPolicy struct {
	endpoints []model.ProbedEndpoint
	reads     map[store.Key]struct{}
}

// probeCounts are for the metrics; any goroutine may read them.
type probeCounts struct {
	checked, unchecked, down atomic.Int64
	refused                  atomic.Uint64
}

func newProbing(global compile.Global, staged *staging, c callers, log *slog.Logger) probing {
	return probing{
		global: global, staged: staged, log: log, callers: c, book: probers.New(),
		policies: make(map[model.Ref]*probedPolicy), pace: quietPace{quiet: assignQuiet, most: assignMost},
	}
}

// changed notes that a commit has changed keys.
func (p *probing) changed(keys store.Changed, now time.Time) {
	if p.reads == nil || meet(keys, p.reads) {
		p.reads = nil
		p.pace.note(now)
	}
	for _, policy := range p.policies {
		if policy.reads != nil && meet(keys, policy.reads) {
			policy.reads = nil
			p.pace.note(now)
		}
	}
}

func meet(changed store.Changed, reads map[store.Key]struct{}) bool {
	for k := range changed {
		if _, ok := reads[k]; ok {
			return true
		}
	}
	return false
}

// intake takes what sidecars say of endpoints.
func (p *probing) intake(ctx context.Context, said map[model.ClusterKey]*healthSaid, now time.Time) {
	for pod, s := range said {
		before := p.book.Has(pod)
		switch {
		case s.ended, s.Report != nil && !s.Report.Prober:
			p.book.Leave(pod, s.Stream)
		case s.Report != nil:
			from := probers.Sidecar{Pod: pod, UID: s.Client.UID, Account: s.Client.Namespace + "/" + s.Client.ServiceAccount}
			turned, refused := p.book.Report(from, s.Stream, s.Report.Probes, now)
			p.put(ctx, turned, now)
			p.refuse(ctx, s.Client, refused, now)
		}
		if before != p.book.Has(pod) {
			p.pace.note(now)
		}
	}
}

// refuse counts results of endpoints that a sidecar was not told to check, and says so once a minute.
func (p *probing) refuse(ctx context.Context, from discovery.ClientIdentity, results int, now time.Time) {
	if results == 0 {
		return
	}
	p.counts.refused.Add(uint64(results))
	if now.Sub(p.told) >= time.Minute {
		p.told = now
		p.log.LogAttrs(ctx, slog.LevelWarn, "a sidecar reports the health of endpoints that it was not told to check, which counts for nothing",
			slog.String("proxy", from.ID()), slog.Int("endpoints", results))
	}
}

// due says when probers are to be chosen anew.
func (p *probing) due() (time.Time, bool) {
	if p.callers == nil {
		return time.Time{}, false
	}
	at, ok := p.pace.due()
	if !p.book.Empty() && (!ok || p.look.Before(at)) {
		return p.look, true
	}
	return at, ok
}

// assign chooses probers where it is time to.
func (p *probing) assign(ctx context.Context, snapshot store.Snapshot, now time.Time) {
	if p.callers == nil { // nobody to ask
		return
	}
	if p.moved.Swap(false) {
		p.pace.note(now)
	}
	if !p.pace.take(now) && (p.book.Empty() || now.Before(p.look)) {
		return
	}
	p.look = now.Add(probers.Look)
	p.refresh(snapshot)
	tell, turned := p.book.Assign(p.holders, now)
	for _, t := range tell {
		p.staged.seen(now)
		p.staged.endpoint(model.Ref{Kind: "PodProbes", Key: t.Pod.Key, Cluster: t.Pod.Cluster}, func(tx *store.Txn) { tx.SetPodProbes(t) })
	}
	p.put(ctx, turned, now)
}

func (p *probing) holders(destination string) []model.ClusterKey {
	var out []model.ClusterKey
	for _, c := range p.callers.HoldersOf(destination) {
		if c.Pod != "" {
			out = append(out, podKey(c))
		}
	}
	return out
}

// refresh finds the endpoints of the policies that have changed.
func (p *probing) refresh(snapshot store.Snapshot) {
	news := false
	if p.reads == nil {
		r := store.NewReader(snapshot)
		listed := make(map[model.Ref]*probedPolicy)
		for _, policy := range store.List[model.HealthCheckPolicy](r) {
			if listed[policy.Ref] = p.policies[policy.Ref]; listed[policy.Ref] == nil {
				listed[policy.Ref] = &probedPolicy{}
			}
		}
		news = len(listed) != len(p.policies)
		p.policies, p.reads = listed, keySet(r)
	}
	for ref, policy := range p.policies {
		if policy.reads != nil {
			continue
		}
		r := store.NewReader(snapshot)
		policy.endpoints = nil
		if value := store.Get[model.HealthCheckPolicy](r, ref); value != nil {
			policy.endpoints = compile.Probes(r, p.global, value)
		}
		policy.reads, news = keySet(r), true
	}
	if !news {
		return
	}
	var all []model.ProbedEndpoint
	var destinations []string
	for _, policy := range p.policies {
		all = append(all, policy.endpoints...)
		for i := range policy.endpoints {
			destinations = append(destinations, policy.endpoints[i].Destinations...)
		}
	}
	slices.Sort(destinations)
	p.book.SetEndpoints(all)
	p.callers.Follow(slices.Compact(destinations))
}

func keySet(r *store.Reader) map[store.Key]struct{} {
	set := make(map[store.Key]struct{})
	for _, k := range r.Keys() {
		set[k] = struct{}{}
	}
	return set
}

// put has the health of endpoints put in force: at once where one is taken away.
func (p *probing) put(ctx context.Context, turned []model.EndpointHealth, now time.Time) {
	for _, h := range turned {
		ref := model.Ref{Kind: "EndpointHealth", Key: model.Key{Namespace: h.Target.Policy.Namespace, Name: h.Target.String()}}
		p.staged.seen(now)
		p.staged.endpoint(ref, func(tx *store.Txn) { tx.SetEndpointHealth(h) })
		if h.Failing {
			p.staged.hurry()
			p.log.LogAttrs(ctx, slog.LevelWarn, "an endpoint fails its health check, callers leave it alone",
				slog.String("endpoint", h.Target.Addr.String()), slog.String("policy", h.Target.Policy.String()), slog.String("reason", h.Why))
		} else {
			p.log.LogAttrs(ctx, slog.LevelInfo, "an endpoint passes its health check again, or nobody checks it any more",
				slog.String("endpoint", h.Target.Addr.String()), slog.String("policy", h.Target.Policy.String()))
		}
	}
	checked, unchecked, down := p.book.Counts()
	p.counts.checked.Store(int64(checked))
	p.counts.unchecked.Store(int64(unchecked))
	p.counts.down.Store(int64(down))
}

// gauges are what metrics show of probes.
func (p *probing) gauges() []gauge {
	return []gauge{
		{"fairlead_endpoints_probed", "Endpoints without a sidecar that sidecars connected here check.", float64(p.counts.checked.Load())},
		{"fairlead_endpoints_unprobed", "Endpoints that a HealthCheckPolicy asks to check and that are beyond the bounds.", float64(p.counts.unchecked.Load())},
		{"fairlead_endpoints_failing_probes", "Endpoints without a sidecar that most of their probers say fail.", float64(p.counts.down.Load())},
	}
}

// maxShownProbes bounds the endpoints that a page names.
const maxShownProbes = 2000

// probes shows the endpoints that sidecars check, and the pods that fail; those that are down first.
func (e *engine) probes(ctx context.Context) []admin.Probed {
	found := make(chan []admin.Probed, 1)
	e.inbox.deliver(func() {
		list := e.health.failingPods()
		for _, s := range e.probing.book.Standings(time.Now()) {
			list = append(list, probedPage(&s))
		}
		found <- list
	})
	select {
	case list := <-found:
		list = admin.MergeProbes(list)
		return list[:min(len(list), maxShownProbes)]
	case <-ctx.Done():
		return []admin.Probed{}
	}
}

// failingPods lists the pods whose own sidecars say that a check fails.
func (b *healthBook) failingPods() (out []admin.Probed) {
	for key, p := range b.pods {
		id := key.Name + "." + key.Namespace
		for _, r := range p.results {
			if r.Failing {
				out = append(out, admin.Probed{
					Policy: key.Namespace + "/" + r.Policy, Address: id, Failing: true, Reason: r.Why, Since: &r.Since,
					Probers: []admin.Prober{{ID: id, Says: "fails", Reason: r.Why, Since: &r.Since}},
				})
			}
		}
	}
	return out
}

func probedPage(s *probers.Standing) admin.Probed {
	one := admin.Probed{
		Policy: s.Target.Policy.String(), Address: s.Target.Addr.String(), Failing: s.Failing, Reason: s.Why,
		Of: s.Destinations, Probers: []admin.Prober{},
	}
	if s.Failing {
		one.Since = &s.Since
	}
	for _, o := range s.Probers {
		p := admin.Prober{ID: o.Pod.Name + "." + o.Pod.Namespace, Says: o.Says, Reason: o.Why}
		if !o.Since.IsZero() {
			p.Since = &o.Since
		}
		one.Probers = append(one.Probers, p)
	}
	return one
}
