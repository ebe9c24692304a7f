package compile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

// istioRootNamespace is Istio's root namespace: the policies there are for the whole mesh, unless our own root
// namespace has one, so that what was written for Istio means the same here.
const istioRootNamespace = "istio-system"

// mtls is a mode and the object that says so, none for the default.
type mtls struct {
	mode   model.MTLSMode
	origin string
}

// peerPolicy is what the PeerAuthentications say about one workload.
type peerPolicy struct {
	base    mtls
	perPort map[uint16]mtls
}

func (p *peerPolicy) port(number uint16) mtls {
	if m, ok := p.perPort[number]; ok {
		return m
	}
	return p.base
}

// peerLevels are the policies that may say something about the workloads of a namespace: for the mesh and for the
// namespace (nil for none), and for single workloads, oldest first.
type peerLevels struct {
	namespace     string
	mesh, common  *model.PeerAuthentication
	withSelectors []*model.PeerAuthentication
}

// peerPolicies are the PeerAuthentications of the mesh. Who looks makes no difference.
type peerPolicies struct{ snapshot }

func (m peerPolicies) peerLevels(namespace string) peerLevels {
	l := peerLevels{namespace: namespace, mesh: m.meshPeerPolicy()}
	if m.isRoot(namespace) {
		return l
	}
	for _, p := range m.peerPoliciesIn(namespace) {
		switch {
		case !isForAll(p):
			l.withSelectors = append(l.withSelectors, p)
		case l.common == nil:
			l.common = p
		}
	}
	return l
}

// of merges the levels for one workload as Istio does: the narrower one decides where it says a mode. At each level the
// oldest policy counts alone.
func (l *peerLevels) of(w *model.Workload) peerPolicy {
	out := peerPolicy{base: narrowed(narrowed(mtls{mode: model.MTLSPermissive}, l.mesh), l.common)}
	own := firstPeerPolicy(l.withSelectors, func(p *model.PeerAuthentication) bool { return selects(p.Selector, w.Labels) })
	if own == nil {
		return out
	}
	out.base = narrowed(out.base, own)
	out.perPort = make(map[uint16]mtls, len(own.PerPort))
	for port, mode := range own.PerPort {
		out.perPort[port] = out.base
		if mode != model.MTLSUnset {
			out.perPort[port] = mtls{mode, own.Ref.String()}
		}
	}
	return out
}

// narrowed is what stays of the wider policy's mode where p, which may be nil, says one.
func narrowed(wider mtls, p *model.PeerAuthentication) mtls {
	if p == nil || p.Mode == model.MTLSUnset {
		return wider
	}
	return mtls{p.Mode, p.Ref.String()}
}

// meshPeerPolicy gives the policy of the whole mesh, or nil.
func (m peerPolicies) meshPeerPolicy() *model.PeerAuthentication {
	for _, root := range m.rootNamespaces() {
		if p := firstPeerPolicy(m.peerPoliciesIn(root), isForAll); p != nil {
			return p
		}
	}
	return nil
}

// rootNamespaces lists where policies for the whole mesh may be; the first that has one decides.
func (m peerPolicies) rootNamespaces() []string {
	return []string{m.rootNamespace(), istioRootNamespace}
}

func (m peerPolicies) isRoot(namespace string) bool {
	return slices.Contains(m.rootNamespaces(), namespace)
}

// peerPoliciesIn lists the policies of a namespace, oldest first.
func (m peerPolicies) peerPoliciesIn(namespace string) []*model.PeerAuthentication {
	out := m.r.PeerAuthenticationsInNamespace(namespace)
	slices.SortFunc(out, olderPeerPolicy)
	return out
}

func olderPeerPolicy(a, b *model.PeerAuthentication) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), a.Ref.Compare(b.Ref.Key))
}

func isForAll(p *model.PeerAuthentication) bool { return len(p.Selector) == 0 }

func firstPeerPolicy(list []*model.PeerAuthentication, want func(*model.PeerAuthentication) bool) *model.PeerAuthentication {
	if i := slices.IndexFunc(list, want); i >= 0 {
		return list[i]
	}
	return nil
}

// peerPolicies reports PeerAuthentications that have no effect: hidden by an older one, or with a selector that selects
// nothing.
func (c *checker) peerPolicies(all []*model.PeerAuthentication) {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, olderPeerPolicy)
	forAll := make(map[string]*model.PeerAuthentication)
	for _, p := range sorted {
		namespace := p.Ref.Namespace
		switch {
		case isForAll(p) && forAll[namespace] != nil:
			c.warn(p.Ref, "spec", fmt.Sprintf("no effect: %s is for the same workloads, and older", forAll[namespace].Ref), "remove one of them")
		case isForAll(p):
			forAll[namespace] = p
		case peerPolicies{c.snapshot}.isRoot(namespace):
			c.warn(p.Ref, "spec.selector", "no effect: policies of the root namespace are for the whole mesh, without a selector",
				"put it into the namespace of the workload, or remove the selector")
		default:
			c.peerSelector(p, sorted)
		}
	}
	ours, istios := forAll[c.rootNamespace()], forAll[istioRootNamespace]
	if ours != nil && istios != nil && ours != istios {
		c.warn(istios.Ref, "spec", fmt.Sprintf("no effect: %s is for the whole mesh too, and goes first", ours.Ref), "remove one of them")
	}
}

// peerSelector reports a selector that selects nothing, or only what an older policy selects already.
func (c *checker) peerSelector(p *model.PeerAuthentication, sorted []*model.PeerAuthentication) {
	namespace := p.Ref.Namespace
	pods := c.r.WorkloadsInNamespace(namespace)
	hidden := make(map[model.Ref]bool)
	selected := 0
	for _, k := range pods {
		w := c.r.Workload(k)
		if w == nil || !selects(p.Selector, w.Labels) {
			continue
		}
		selected++
		first := firstPeerPolicy(sorted, func(o *model.PeerAuthentication) bool {
			return o.Ref.Namespace == namespace && !isForAll(o) && selects(o.Selector, w.Labels)
		})
		if first == p {
			return
		}
		hidden[first.Ref] = true
	}
	switch {
	case len(pods) == 0: // scaled to nothing, or manifests without pods: that is no mistake
	case selected == 0:
		c.warn(p.Ref, "spec.selector.matchLabels", fmt.Sprintf("selects none of the %d pods of namespace %s", len(pods), namespace), "")
	default:
		first := slices.SortedFunc(maps.Keys(hidden), func(a, b model.Ref) int { return a.Compare(b.Key) })[0]
		c.warn(p.Ref, "spec.selector.matchLabels", fmt.Sprintf("no effect: %s selects the same pods, and is older", first), "remove one of them, or narrow the selector")
	}
}
