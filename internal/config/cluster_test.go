package config_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// TestObjectsOfAnotherCluster: what has a name of its own in each cluster is kept apart, from its beginning to its end.
func TestObjectsOfAnotherCluster(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "myapp", Name: "x", Labels: map[string]string{discoveryv1.LabelServiceName: "users"}}
	objects := map[string]any{
		"Pod":  &corev1.Pod{ObjectMeta: meta},
		"Node": &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "x"}},
		"EndpointSlice": &discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.1.0.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "x"}},
		}},
	}
	kinds, s := config.NewTable(), store.New()
	refs := func(cluster string) (all []model.Ref) {
		for kind := range objects {
			ref := model.Ref{Kind: kind, Key: model.Key{Namespace: "myapp", Name: "x"}, Cluster: cluster}
			if kind == "Node" {
				ref.Namespace = ""
			}
			all = append(all, ref)
		}
		return all
	}
	known := func(cluster string) (n int) {
		r := store.NewReader(s.Snapshot())
		key := model.ClusterKey{Cluster: cluster, Key: model.Key{Namespace: "myapp", Name: "x"}}
		for _, there := range []bool{r.Workload(key) != nil, r.Node(cluster, "x") != nil, r.Slice(key) != nil, len(r.SlicesOfPod(key)) == 1} {
			if there {
				n++
			}
		}
		return n
	}
	for _, cluster := range []string{"", "east"} {
		s.Commit(func(tx *store.Txn) {
			for _, ref := range refs(cluster) {
				kinds.Translate(objects[ref.Kind], config.Place{Ref: ref, ClusterDomain: "cluster.local"}).Commit(tx)
			}
		})
	}
	if here, there := known(""), known("east"); here != 4 || there != 4 {
		t.Errorf("%d of 4 are known of the own cluster, %d of the other one", here, there)
	}
	s.Commit(func(tx *store.Txn) {
		for _, ref := range refs("east") {
			kinds[ref.Kind].Remove(tx, ref)
		}
	})
	if here, there := known(""), known("east"); here != 4 || there != 0 {
		t.Errorf("once the other cluster is gone, %d of 4 are known of the own cluster, %d of the other one", here, there)
	}
}
