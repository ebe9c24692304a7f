package lab

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// cluster owns what is desired and what is observed. Everything but the hand-over fields belongs to the goroutine of
// run; others ask it with call.
type cluster struct {
	node   *node
	logger *slog.Logger
	out    *generated
	rules  *kubeProxy
	names  *dnsServer

	objects   map[model.Ref]any
	problems  []model.Problem               // of the manifests
	warned    map[model.Ref][]model.Problem // of what workloads and Services ask for in vain
	synced    bool                          // the first Change has come
	workloads map[model.Ref]workload
	failed    map[model.Ref]string // workloads that cannot make pods, and why
	services  map[model.Key]service
	pods      map[model.Key]*pod
	jobs      jobs
	podIPs    *ipPool
	vips      *clusterIPs
	seq       int
	living    sync.WaitGroup // the goroutines of pods

	// Hand-over: written by any goroutine.
	mu    sync.Mutex
	inbox []source.Change // guarded by mu
	wake  chan struct{}   // one slot
	asks  chan func()
}

// service is a Service as written and as completed.
type service struct{ written, completed *corev1.Service }

func newCluster(n *node, logger *slog.Logger) *cluster {
	return &cluster{
		node: n, logger: logger, out: newGenerated(n.state.generated()),
		rules: newKubeProxy(logger), names: newDNSServer(logger),
		objects: map[model.Ref]any{}, workloads: map[model.Ref]workload{}, failed: map[model.Ref]string{}, warned: map[model.Ref][]model.Problem{},
		services: map[model.Key]service{}, pods: map[model.Key]*pod{}, jobs: jobs{states: map[model.Ref]*jobState{}},
		podIPs: n.cfg.IPFamily.podPool(n.cfg.podNetwork()), vips: newClusterIPs(n.cfg.IPFamily),
		wake: make(chan struct{}, 1), asks: make(chan func()),
	}
}

// deliver is the sink of the manifests' source.
func (c *cluster) deliver(ch source.Change) {
	c.mu.Lock()
	c.inbox = append(c.inbox, ch)
	c.mu.Unlock()
	c.changed()
}

// changed makes run look at everything again.
func (c *cluster) changed() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// call runs fn on the cluster's goroutine.
func (c *cluster) call(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	select {
	case c.asks <- func() { defer close(done); fn() }:
		<-done
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run reconciles until ctx ends, then ends all pods at once.
func (c *cluster) run(ctx context.Context) error {
	defer c.living.Wait()
	c.jobs.alarm = time.AfterFunc(time.Hour, c.changed)
	defer c.jobs.alarm.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case fn := <-c.asks:
			fn()
			continue
		case <-c.wake:
		}
		c.reconcile(ctx)
	}
}

// reconcile takes in what happened, decides what to do next, tells all readers about endpoints, and only then acts, so
// that a pod that is about to end has left the endpoint slices before it is told.
func (c *cluster) reconcile(ctx context.Context) {
	changed := c.takeChanges(ctx)
	c.jobs.nextLook = time.Time{}
	c.forgetGone()
	starts, stops := c.decide(ctx)
	if changed {
		c.updateVolumes(ctx)
	}
	if next := c.jobs.nextLook; !next.IsZero() {
		c.jobs.alarm.Reset(time.Until(next))
	}
	for _, p := range stops {
		p.terminating = true
	}
	if err := c.publish(); err != nil {
		c.logger.ErrorContext(ctx, "cluster state not published", "reason", err)
	}
	for _, p := range stops {
		p.stop()
	}
	for _, s := range starts {
		c.living.Go(s)
	}
}

// updateVolumes has the files of running pods follow ConfigMaps, Secrets and the pods' own labels. What is missing now
// leaves the files as they are.
func (c *cluster) updateVolumes(ctx context.Context) {
	for _, p := range c.pods {
		w, ok := c.workloads[ownerRef(p)]
		if !ok || len(p.spec.volumes) == 0 {
			continue
		}
		want, err := newVolumes(&p.spec, c.podSource(&w, p.spec.key, p.spec.addrs.first(), podOrder{node: p.spec.node, index: p.spec.index}))
		if err == nil {
			err = p.volumes.update(want)
		}
		if err != nil {
			c.logger.WarnContext(ctx, "volumes not updated", "pod", p.spec.key, "reason", err)
		}
	}
}

// takeChanges applies what the source of manifests delivered, and reports whether it did.
func (c *cluster) takeChanges(ctx context.Context) bool {
	c.mu.Lock()
	inbox := c.inbox
	c.inbox = nil
	c.mu.Unlock()
	for _, ch := range inbox {
		c.synced = true
		c.problems = ch.Problems
		for _, ref := range ch.Deletes {
			c.remove(ref)
		}
		for _, o := range ch.Upserts {
			c.upsert(ctx, o)
		}
	}
	return len(inbox) > 0
}

func (c *cluster) remove(ref model.Ref) {
	delete(c.objects, ref)
	delete(c.workloads, ref)
	delete(c.failed, ref)
	delete(c.warned, ref)
	delete(c.jobs.states, ref)
	if ref.Kind == "Service" {
		delete(c.services, ref.Key)
		c.vips.release(ref.Key)
	}
}

func (c *cluster) upsert(ctx context.Context, o source.Object) {
	ref := o.Ref
	c.objects[ref] = o.Value
	if w, ok := newWorkload(ref, o.Value); ok {
		c.workloads[ref] = w
		delete(c.failed, ref)
		c.warned[ref] = warningsOf(&o, &w)
	}
	svc, ok := o.Value.(*corev1.Service)
	if !ok {
		return
	}
	delete(c.warned, ref)
	completed, problem := c.vips.complete(svc)
	if problem != nil {
		if o.Locate != nil {
			problem.Pos = o.Locate(problem.Field)
		}
		c.warned[ref] = []model.Problem{*problem}
		c.logger.ErrorContext(ctx, "service refused", "reason", problem)
		return
	}
	c.services[ref.Key] = service{written: svc, completed: completed}
}

// forgetGone drops pods of which nothing is left.
func (c *cluster) forgetGone() {
	for key, p := range c.pods {
		if p.status().phase == phaseGone {
			if s := c.jobs.states[ownerRef(p)]; s != nil && s.hash == p.spec.hash && !p.terminating {
				s.lose(key.Name, time.Now())
			}
			c.podIPs.release(p.spec.addrs.first())
			delete(c.pods, key)
		}
	}
}

// decide gives the pods to start, as the functions that are their lives, and the pods to end.
func (c *cluster) decide(ctx context.Context) (starts []func(), stops []*pod) {
	views := map[model.Ref][]podView{}
	for _, p := range c.sortedPods() {
		owner := ownerRef(p)
		w, wanted := c.workloads[owner]
		if !wanted {
			if !p.terminating {
				stops = append(stops, p)
			}
			continue
		}
		if owner.Kind == "Pod" { // its labels and annotations may change while it runs, as kubectl label does it
			p.spec.labels, p.spec.annotations = maps.Clone(w.template.Labels), maps.Clone(w.template.Annotations)
		}
		views[owner] = append(views[owner], p.view())
	}
	for _, ref := range sortedRefs(c.workloads) {
		w := c.workloads[ref]
		plan := c.planOf(&w, views[ref])
		for _, name := range plan.delete {
			stops = append(stops, c.pods[model.Key{Namespace: ref.Namespace, Name: name}])
		}
		for _, order := range plan.orders() {
			if c.awaitsRoot(&w) {
				break
			}
			life, err := c.newPod(ctx, &w, order)
			if err != nil {
				c.failed[ref] = err.Error()
				c.logger.ErrorContext(ctx, "workload cannot make a pod", "workload", ref.String(), "reason", err)
				break
			}
			delete(c.failed, ref) // what it lacked has come
			starts = append(starts, life)
		}
	}
	return starts, stops
}

// awaitsRoot reports whether a workload's pods have a volume of the root certificate and the control plane has yet to write it,
// which tellOfRoot tells of.
func (c *cluster) awaitsRoot(w *workload) bool {
	if c.node.cfg.Plain || !slices.ContainsFunc(w.template.Spec.Volumes, namesRoot) {
		return false
	}
	if _, written := c.objects[model.Ref{Kind: kindConfigMap, Key: model.Key{Namespace: w.ref.Namespace, Name: rootCertMap}}]; written {
		return false
	}
	_, there := c.node.meshData(kindConfigMap, rootCertMap)
	return !there
}

// planOf decides the next step of a workload.
func (c *cluster) planOf(w *workload, pods []podView) podPlan {
	switch w.ref.Kind {
	case "DaemonSet":
		return w.planDaemonSet(pods, nodesOf(c.objects, w.template))
	case "Job":
		return c.jobs.plan(w, pods)
	}
	return w.plan(pods)
}

// podOrder is one pod to make.
type podOrder struct {
	name  string // made up where it is empty
	node  string // where it must be, or empty
	index int
}

// orders lists the pods that a plan makes.
func (p *podPlan) orders() []podOrder {
	var out []podOrder
	for _, name := range p.create {
		out = append(out, podOrder{name: name, index: noIndex})
	}
	for _, node := range p.nodes {
		out = append(out, podOrder{node: node, index: noIndex})
	}
	for _, index := range p.indexes {
		out = append(out, podOrder{index: index})
	}
	return out
}

// newPod registers a pod of w and gives the function that runs it.
func (c *cluster) newPod(ctx context.Context, w *workload, order podOrder) (func(), error) {
	name := order.name
	if name == "" {
		name = c.freshName(w, order.index)
	}
	key := model.Key{Namespace: w.ref.Namespace, Name: name}
	a, err := c.podIPs.sequential(key.String())
	if err != nil {
		return nil, err
	}
	spec, err := newPodSpec(c.podSource(w, key, a, order))
	if err != nil {
		c.podIPs.release(a)
		return nil, err
	}
	killCtx, kill := context.WithCancel(ctx)
	stopCtx, stop := context.WithCancel(killCtx)
	c.seq++
	claims := c.node.state.path("claims", key.Namespace+"_")
	p := &pod{
		volumes: &volumeSet{dir: filepath.Join(c.node.state.podDir(&spec), "volumes"), claims: claims, group: spec.fsGroup, want: spec.volumes},
		spec:    spec, seq: c.seq, node: c.node, logger: c.logger, changed: c.changed, stop: stop, kill: kill,
		done: make(chan struct{}), created: time.Now(), phase: phasePending, message: "starting",
	}
	c.pods[key] = p
	return func() { defer kill(); p.run(stopCtx, killCtx) }, nil
}

func (c *cluster) freshName(w *workload, index int) string {
	of := w.ref.Name
	switch {
	case w.ref.Kind == "Deployment":
		of += "-" + w.hash
	case index != noIndex:
		of += "-" + strconv.Itoa(index)
	}
	for {
		name := fmt.Sprintf("%s-%s", of, safeHash(fmt.Append(nil, rand.Uint64()))[:5]) //nolint:gosec // a name
		if _, taken := c.pods[model.Key{Namespace: w.ref.Namespace, Name: name}]; !taken {
			return name
		}
	}
}

// podSource collects what a new pod is made from.
func (c *cluster) podSource(w *workload, key model.Key, a netip.Addr, order podOrder) podSource {
	src := podSource{
		key: key, ownerKind: w.ref.Kind, owner: w.ref.Name, hash: w.hash, template: w.template, addrs: c.node.cfg.IPFamily.podAddrs(a),
		inject: !c.node.cfg.Plain && c.namespaceInjects(key.Namespace), rootful: c.node.cfg.Rootful, environ: c.node.cfg.Environ,
		extraLabels: map[string]string{}, index: order.index,
		data: func(kind, name string) (content, bool) {
			if data, ok := dataOf(c.objects[model.Ref{Kind: kind, Key: model.Key{Namespace: key.Namespace, Name: name}}]); ok {
				return data, true
			}
			return c.node.meshData(kind, name)
		},
		token: c.node.token,
	}
	for svcKey, svc := range c.services {
		if svcKey.Namespace == key.Namespace {
			src.services = append(src.services, svc.completed)
		}
	}
	src.node, src.zone = c.placePod(w.template, order.node)
	switch w.ref.Kind {
	case "Deployment":
		src.extraLabels["pod-template-hash"] = w.hash
	case "StatefulSet":
		src.extraLabels["statefulset.kubernetes.io/pod-name"] = key.Name
		src.extraLabels["apps.kubernetes.io/pod-index"] = strconv.Itoa(ordinal(key.Name))
		src.hostname = key.Name
		src.template = w.ofOrdinal(key.Name)
	case "Job":
		src.extraLabels["batch.kubernetes.io/job-name"] = w.ref.Name
		src.extraLabels["job-name"] = w.ref.Name
		if order.index != noIndex {
			src.extraLabels[indexAnnotation] = strconv.Itoa(order.index)
			src.template = w.ofIndex(order.index)
		}
	}
	return src
}

// namespaceInjects reads the namespace's own word on sidecars; without one, every pod gets its sidecar.
func (c *cluster) namespaceInjects(namespace string) bool {
	ns, ok := c.objects[model.Ref{Kind: "Namespace", Key: model.Key{Name: namespace}}].(*corev1.Namespace)
	if !ok {
		return true
	}
	if v, ok := ns.Labels["istio-injection"]; ok {
		return v != "disabled"
	}
	return injected(ns.Labels, ns.Annotations, true)
}

// placePod picks a node by name or selector among those that the user wrote. They only differ in their labels: all
// pods run on this machine.
func (c *cluster) placePod(t *corev1.PodTemplateSpec, at string) (name, zone string) {
	at = cmp.Or(at, t.Spec.NodeName)
	nodes := writtenNodes(c.objects, t)
	for _, n := range nodes {
		if n.Name == at {
			return n.Name, n.Labels[corev1.LabelTopologyZone]
		}
	}
	if at != "" || len(nodes) == 0 {
		return cmp.Or(at, nodeName), ""
	}
	n := nodes[c.seq%len(nodes)]
	return n.Name, n.Labels[corev1.LabelTopologyZone]
}

// sortedPods gives the pods in the order of their creation.
func (c *cluster) sortedPods() []*pod {
	out := make([]*pod, 0, len(c.pods))
	for _, p := range c.pods {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *pod) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

func sortedRefs[V any](m map[model.Ref]V) []model.Ref {
	refs := make([]model.Ref, 0, len(m))
	for ref := range m {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b model.Ref) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Compare(b.Key)) })
	return refs
}
