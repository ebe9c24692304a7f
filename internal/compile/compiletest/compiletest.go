package compiletest

import (
	"maps"
	"slices"
	"testing"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/store"
)

const clusterDomain = "cluster.local"

// Load reads manifests into a snapshot, and gives the problems found on the way.
func Load(tb testing.TB, manifests string) (store.Snapshot, []model.Problem) {
	tb.Helper()
	return LoadClusters(tb, map[string]string{"": manifests})
}

// LoadClusters is Load for what several clusters have, by their names; that of the control plane's own is empty.
func LoadClusters(tb testing.TB, manifests map[string]string) (store.Snapshot, []model.Problem) {
	tb.Helper()
	kinds := config.NewTable()
	var problems []model.Problem
	snapshot, _ := store.New().Commit(func(tx *store.Txn) {
		for _, cluster := range slices.Sorted(maps.Keys(manifests)) {
			objects, wrong := file.Decode("mesh.yaml", []byte(manifests[cluster]))
			problems = append(problems, wrong...)
			for _, o := range objects {
				if o.Ref.Cluster = cluster; cluster != "" && !kinds[o.Ref.Kind].OfClusters {
					continue
				}
				t := kinds.Translate(o.Value, config.Place{Ref: o.Ref, ClusterDomain: clusterDomain})
				if problems = append(problems, t.Problems...); t.Commit != nil {
					t.Commit(tx)
				}
			}
		}
	})
	return snapshot, problems
}

// Resources compiles the named resources from manifests, which must have no problem. Destinations come after their
// shards.
func Resources(tb testing.TB, manifests string, names ...string) []plan.Resource {
	tb.Helper()
	snapshot, problems := Load(tb, manifests)
	for _, p := range problems {
		tb.Fatalf("manifests: %v", p)
	}
	g := compile.Global{TrustDomain: clusterDomain, ClusterDomain: clusterDomain, ClusterID: "Kubernetes"}
	var out []plan.Resource
	for _, name := range names {
		r := compile.Compile(store.NewReader(snapshot), g, name)
		if r == nil {
			tb.Fatalf("no %s in the manifests", name)
		}
		if dst, ok := r.(*plan.Destination); ok {
			backends := dst.Backends
			for _, s := range dst.Selected {
				backends = append(slices.Clip(backends), s.Value)
			}
			for _, b := range backends {
				for _, shard := range b.Shards {
					out = append(out, compile.Compile(store.NewReader(snapshot), g, shard))
				}
			}
		}
		out = append(out, r)
	}
	return out
}
