package controlplane

import (
	"context"
	"fmt"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// wireNative is the place of the native compiler in the graph.
const wireNative graph.Wire = 0

// native compiles what Fairlead's own sidecars are told. It belongs to the engine's goroutine.
type native struct {
	global compile.Global
	fixed  map[string]plan.Resource // resources that are not compiled, by name
	seals  sealKeys
}

// Resolve implements graph.Compiler.
func (n *native) Resolve(r *store.Reader, namespace, name string) (canonical string, ok bool) {
	return compile.Resolve(r, n.global, compile.Client{Namespace: namespace}, name)
}

// Compile implements graph.Compiler: the parts of a destination are its shards and its seal, those of a pod's inbound policy
// what the pod is given of Secrets.
func (n *native) Compile(r *store.Reader, canonical string) (*plan.Encoded, []string, error) {
	value, ok := n.fixed[canonical]
	switch {
	case ok:
	case isSeal(canonical):
		value = n.seals.seal(canonical)
	default:
		value = compile.Compile(r, n.global, canonical)
	}
	if value == nil {
		return nil, nil, nil
	}
	if value.ResourceName() != canonical {
		return nil, nil, fmt.Errorf("%s was compiled into %s", canonical, value.ResourceName())
	}
	body, err := discovery.Encode(value)
	if err != nil {
		return nil, nil, err
	}
	var parts []string
	switch v := value.(type) {
	case *plan.Destination:
		parts = partNames(v)
	case *plan.InboundPolicy:
		parts = compile.Given(r, v.Name)
	}
	return &plan.Encoded{Name: canonical, Version: discovery.Version(body), Body: body}, parts, nil
}

// Patch implements graph.Patcher.
func (n *native) Patch(before, after *plan.Encoded) []byte { return discovery.Patch(before, after) }

// partNames lists the shards of a destination, each once, in the order of its backends, and its seal.
func partNames(d *plan.Destination) []string {
	var names []string
	seen := make(map[string]bool)
	add := func(b *plan.Backend) {
		for _, n := range b.Shards {
			if !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
	}
	for i := range d.Backends {
		add(&d.Backends[i])
	}
	for i := range d.Selected {
		add(&d.Selected[i].Value)
	}
	if d.Seal != "" {
		names = append(names, d.Seal)
	}
	return names
}

// nativeSource is what is watched as the native channel's server sees it. It implements discovery.Source.
type nativeSource struct{ watches *watches }

// Watch implements discovery.Source.
func (s nativeSource) Watch(ctx context.Context, keys []discovery.Key) error {
	return s.watches.begin(ctx, onNative(keys))
}

// Unwatch implements discovery.Source.
func (s nativeSource) Unwatch(keys []discovery.Key) { s.watches.end(onNative(keys)) }

// Answer implements discovery.Source.
func (s nativeSource) Answer(key discovery.Key) (discovery.Found, bool) {
	found, ok := s.watches.answer(onNative([]discovery.Key{key})[0])
	return discovery.Found(found), ok
}

// shards lists the endpoint shards that are subscribed, by name.
func (s nativeSource) shards() map[string]*plan.Encoded {
	all := make(map[string]*plan.Encoded)
	for _, part := range s.watches.parts(wireNative) {
		if plan.KindOf(part.Name) == plan.NameShard {
			all[part.Name] = part
		}
	}
	return all
}

func onNative(keys []discovery.Key) []graph.Key {
	out := make([]graph.Key, len(keys))
	for i, k := range keys {
		out[i] = graph.Key{Wire: wireNative, Namespace: k.Namespace, Name: k.Name}
	}
	return out
}

// ofNative picks the keys that the native channel's server follows.
func ofNative(keys []graph.Key) []discovery.Key {
	out := make([]discovery.Key, 0, len(keys))
	for _, k := range keys {
		if k.Wire == wireNative {
			out = append(out, discovery.Key{Namespace: k.Namespace, Name: k.Name})
		}
	}
	return out
}
