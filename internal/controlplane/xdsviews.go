package controlplane

import (
	"context"
	"strings"
	"sync/atomic"
	"unique"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/xds"
	"fairlead.dev/fairlead/internal/xds/envoy"
)

// sharing is what standard clients share at present. It is immutable.
type sharing struct {
	generation uint64
	of         *envoy.Sharing
}

// sharingBook keeps it up to date. It belongs to the engine's goroutine.
type sharingBook struct {
	global compile.Global
	reads  []store.Key
	now    *sharing
}

func newSharingBook(s store.Snapshot, g compile.Global) sharingBook {
	r := store.NewReader(s)
	of := envoy.SharingOf(r, g)
	return sharingBook{global: g, reads: r.Keys(), now: &sharing{1, of}}
}

// next gives what is shared after a change, nil where it is as before.
func (b *sharingBook) next(s store.Snapshot, changed store.Changed) *sharing {
	if !changed.Any(b.reads) {
		return nil
	}
	r := store.NewReader(s)
	of := envoy.SharingOf(r, b.global)
	b.reads = r.Keys()
	if of.Equal(b.now.of) {
		return nil
	}
	b.now = &sharing{b.now.generation + 1, of}
	return b.now
}

// views says in which views standard clients look names up. It implements xds.Sights.
type views struct{ sharing atomic.Pointer[sharing] }

// Generation implements xds.Sights.
func (v *views) Generation() uint64 { return v.sharing.Load().generation }

// Sight implements xds.Sights.
func (v *views) Sight(of xds.View) xds.Sight {
	now := v.sharing.Load()
	c, _ := envoy.ParseClass(string(of))
	return xds.Sight{Generation: now.generation, Keys: now.keys(c)}
}

// keys says where the clients of a class look names up. What lists hold that is of the client's pod alone is a list of its own.
func (s *sharing) keys(c envoy.Class) func([]xds.Key, xds.Type, string) []xds.Key {
	var in [envoy.Parts]xds.View
	for p := range envoy.Parts {
		in[p] = unique.Make(xds.View(s.of.Class(c, p).String())).Value() // of many clients
	}
	return func(to []xds.Key, t xds.Type, name string) []xds.Key {
		kind, _ := envoy.TypeOf(t.URL())
		to = append(to, xds.Key{View: in[s.of.Part(kind, name)], Type: t, Name: name})
		if name == xds.All && envoy.HasOwn(c, kind) {
			to = append(to, xds.Key{View: in[envoy.OnOwnList], Type: t, Name: name})
		}
		return to
	}
}

// xdsSource is what is watched as the server of standard clients sees it. It implements xds.Source.
type xdsSource struct{ watches *watches }

// Watch implements xds.Source.
func (s xdsSource) Watch(ctx context.Context, keys []xds.Key) error {
	return s.watches.begin(ctx, onXDS(keys))
}

// Unwatch implements xds.Source.
func (s xdsSource) Unwatch(keys []xds.Key) { s.watches.end(onXDS(keys)) }

// Answers implements xds.Source.
func (s xdsSource) Answers(keys []xds.Key) []xds.Answer { return s.watches.standard(onXDS(keys)) }

// resourcesOf is an answer as clients are told it.
func resourcesOf(key graph.Key, found graph.Found) []xds.Resource {
	if found.Resource == nil {
		return nil
	}
	if !strings.HasSuffix(key.Name, " "+xds.All) {
		return []xds.Resource{resourceOf(found.Resource)}
	}
	list := make([]xds.Resource, len(found.Parts))
	for i, part := range found.Parts {
		list[i] = resourceOf(part)
	}
	return list
}

func resourceOf(e *plan.Encoded) xds.Resource {
	return xds.Resource{Name: envoy.ClientsName(e.Name), Version: e.Version, Body: e.Body}
}

func onXDS(keys []xds.Key) []graph.Key {
	out := make([]graph.Key, len(keys))
	for i, k := range keys {
		t, _ := envoy.TypeOf(k.Type.URL())
		out[i] = graph.Key{Wire: wireXDS, Namespace: string(k.View), Name: envoy.Query(t, k.Name)}
	}
	return out
}

// ofXDS picks the keys that the server of standard clients follows.
func ofXDS(keys []graph.Key) []xds.Key {
	var out []xds.Key
	for _, k := range keys {
		if k.Wire != wireXDS {
			continue
		}
		word, name, _ := strings.Cut(k.Name, " ")
		for _, t := range envoy.Types() {
			if t.String() == word {
				out = append(out, xds.Key{View: xds.View(k.Namespace), Type: xds.TypeOf(t.URL()), Name: name})
			}
		}
	}
	return out
}
