package controlplane

import (
	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/store"
)

// Check finds the mistakes in a set of objects that take more than one of them to see, such as a route to a subset
// that no DestinationRule defines: what a control plane that had just these objects would say. Mistakes inside single
// objects are left to their translators.
func Check(objects []source.Object, clusterDomain string) []model.Problem {
	s := store.New()
	snapshot, _ := s.Commit(func(tx *store.Txn) {
		for i := range objects {
			if t := translate(objects[i].Ref, objects[i].Value, clusterDomain); t.commit != nil {
				t.commit(tx)
			}
		}
	})
	global := compile.Global{TrustDomain: identity.DefaultTrustDomain, ClusterDomain: clusterDomain}
	return compile.Check(store.NewReader(snapshot), global)
}
