package validate

import (
	"cmp"
	"fmt"
	"slices"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/inject"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/store"
)

// Objects finds the mistakes in a set of objects: those in each of them, and those that take more than one to see, such as
// a route to a subset that no DestinationRule defines. It is what a control plane that had just these objects would
// say, at admission too. read are the problems of reading them, which are part of the answer.
func Objects(objects []source.Object, read []model.Problem, clusterDomain string) []model.Problem {
	problems := slices.Clone(read)
	kinds := config.NewTable()
	s := store.New()
	snapshot, _ := s.Commit(func(tx *store.Txn) {
		for i := range objects {
			t := kinds.Translate(objects[i].Value, config.Place{Ref: objects[i].Ref, ClusterDomain: clusterDomain})
			problems = append(problems, t.Problems...)
			if t.Commit != nil {
				t.Commit(tx)
			}
		}
	})
	r := store.NewReader(snapshot)
	global := compile.Global{TrustDomain: identity.DefaultTrustDomain, ClusterDomain: clusterDomain, Tracing: model.MeshTracing{Unknown: true}}
	return RefuseUnguarded(append(problems, compile.Check(r, global)...), r, global)
}

// RefuseUnguarded refuses objects that say which calls are denied, where Fairlead would have to deny them and does not:
// in a namespace that is in the mesh, and in the root namespace, where they are for all of it. Those of other namespaces
// may be another mesh's. It changes problems in place and gives them back.
func RefuseUnguarded(problems []model.Problem, r *store.Reader, g compile.Global) []model.Problem {
	root := cmp.Or(g.RootNamespace, compile.DefaultRootNamespace)
	for i := range problems {
		p := &problems[i]
		if !p.Unguarded {
			continue
		}
		switch ns := p.Ref.Namespace; {
		case ns == root:
			p.Message += "; it would be for the whole mesh"
		case inMesh(r, ns):
			p.Message += fmt.Sprintf("; namespace %s is in the mesh", ns)
		default:
			continue
		}
		p.Severity = model.Rejected
	}
	return problems
}

// inMesh reports whether a namespace has opted in, or some pod in it has.
func inMesh(r *store.Reader, namespace string) bool {
	if n := r.Namespace("", namespace); n != nil && inject.OptsIn(n.Labels) {
		return true
	}
	return slices.ContainsFunc(r.WorkloadsInNamespace(namespace), func(k model.ClusterKey) bool {
		w := r.Workload(k)
		return w != nil && w.Meshed
	})
}
