package compile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// Overlap says that pods of two clusters have the same addresses, where an address is to mean one pod: calls to one of the two may
// come to the other, which then has to prove to be somebody else, or take a call that was not meant for it.
type Overlap struct {
	// A and B are a pod of each of the two clusters, Addr the address that both have. The cluster of A comes first by name, the
	// control plane's own before all.
	A, B model.ClusterKey
	Addr netip.Addr
	// Count is how many addresses pods of both clusters have.
	Count int
}

// Overlaps lists the pairs of clusters that are on one network and whose pods have the same addresses. Clusters on networks of
// their own may have that: their pods are called by gateways.
func Overlaps(r *store.Reader, g Global) []Overlap {
	n := networks{snapshot{r, g}}
	type pair struct{ a, b string }
	found := map[pair]*Overlap{}
	for _, s := range store.List[store.SharedAddress](r) {
		pods := slices.DeleteFunc(slices.Clone(s.Pods), func(k model.ClusterKey) bool {
			w := r.Workload(k)
			return w == nil || n.overlapping(w)
		})
		seen := map[pair]bool{}
		for i, a := range pods {
			for _, b := range pods[i+1:] {
				if p := (pair{a.Cluster, b.Cluster}); a.Cluster != b.Cluster && !seen[p] {
					if seen[p] = true; found[p] == nil {
						found[p] = &Overlap{A: a, B: b, Addr: s.Addr}
					}
					found[p].Count++
				}
			}
		}
	}
	out := make([]Overlap, 0, len(found))
	for _, o := range found {
		out = append(out, *o)
	}
	slices.SortFunc(out, func(a, b Overlap) int {
		return cmp.Or(cmp.Compare(a.A.Cluster, b.A.Cluster), cmp.Compare(a.B.Cluster, b.B.Cluster))
	})
	return out
}

// Of reports whether one of the two clusters is of that name; empty is the control plane's own.
func (o *Overlap) Of(cluster string) bool { return o.A.Cluster == cluster || o.B.Cluster == cluster }

// Describe says what overlaps; own is the name of the control plane's own cluster.
func (o *Overlap) Describe(own string) string {
	a, b := cmp.Or(o.A.Cluster, own), cmp.Or(o.B.Cluster, own)
	return fmt.Sprintf("pods of %s and %s have the same addresses (%d, such as %s of %s and %s), and both clusters are on one network: calls to one may come to the other",
		a, b, o.Count, o.Addr, o.A.Key, o.B.Key)
}

// OverlapFix says what to do about one.
const OverlapFix = "give the clusters' pods different addresses, or each cluster a network of its own with a gateway (label " + model.LabelNetwork +
	" on the control plane's namespace)"

// overlaps reports clusters whose pods have the same addresses, on a pod of each.
func (c clusterChecks) overlaps() {
	all := Overlaps(c.r, c.g)
	for i := range all {
		for _, k := range []model.ClusterKey{all[i].A, all[i].B} {
			c.warn(model.Ref{Kind: "Pod", Key: k.Key, Cluster: k.Cluster}, "status.podIP", all[i].Describe(c.g.ClusterID), OverlapFix)
		}
	}
}
