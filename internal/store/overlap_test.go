package store_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// Addresses that pods of several clusters have are known as long as they have them, however that ends.
func TestSharedAddresses(t *testing.T) {
	at := func(cluster, name, ip string) model.Workload {
		return model.Workload{Key: model.ClusterKey{Cluster: cluster, Key: key("myapp", name)}, IPs: []netip.Addr{addr(ip)}}
	}
	a, b, moved := at("", "a", "10.0.0.1"), at("east", "b", "10.0.0.1"), at("east", "b", "10.0.0.2")
	shared, ending := b, b
	shared.HostNetwork, ending.Terminating = true, true
	s := store.New()
	for _, step := range []struct {
		name string
		do   func(*store.Txn)
		want []string
	}{
		{"one", func(tx *store.Txn) { tx.SetWorkload(a) }, nil},
		{"another_of_the_same_cluster", func(tx *store.Txn) { tx.SetWorkload(at("", "c", "10.0.0.1")) }, nil},
		{"of_another_cluster", func(tx *store.Txn) { tx.SetWorkload(b) }, []string{"10.0.0.1 myapp/a myapp/c east/myapp/b"}},
		{"the_second_goes", func(tx *store.Txn) { tx.DeleteWorkload(at("", "c", "10.0.0.1").Key) }, []string{"10.0.0.1 myapp/a east/myapp/b"}},
		{"it_gets_another_address", func(tx *store.Txn) { tx.SetWorkload(moved) }, nil},
		{"on_the_network_of_its_node", func(tx *store.Txn) { tx.SetWorkload(shared) }, nil},
		{"as_before", func(tx *store.Txn) { tx.SetWorkload(b) }, []string{"10.0.0.1 myapp/a east/myapp/b"}},
		{"it_ends", func(tx *store.Txn) { tx.SetWorkload(ending) }, nil},
		{"both_in_one_change", func(tx *store.Txn) { tx.DeleteWorkload(b.Key); tx.DeleteWorkload(a.Key); tx.SetWorkload(a) }, nil},
	} {
		snapshot, _ := s.Commit(step.do)
		var got []string
		for _, row := range store.List[store.SharedAddress](store.NewReader(snapshot)) {
			line := []string{row.Addr.String()}
			for _, k := range row.Pods {
				line = append(line, k.String())
			}
			got = append(got, strings.Join(line, " "))
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s: shared addresses (-want +got):\n%s", step.name, diff)
		}
	}
}
