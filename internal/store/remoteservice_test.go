package store_test

import (
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// In whichever order clusters come and go, the host is the own cluster's Service where there is one, else that of the oldest
// other one, without its addresses.
func TestAServiceOfSeveralClusters(t *testing.T) {
	at := func(cluster string) model.Ref {
		return model.Ref{Kind: "Service", Key: key("myapp", "users"), Cluster: cluster}
	}
	service := model.Service{Key: key("myapp", "users"), Host: "users.myapp.svc.cluster.local", VIPs: nil, Resolution: model.ResolveSlices}
	service.VIPs = append(service.VIPs, prefix("10.0.0.1/32"))
	s := store.New()
	for _, step := range []struct {
		name      string
		do        func(*store.Txn)
		host      string
		addresses bool
	}{
		{"east_alone", func(tx *store.Txn) { tx.SetServices(at("east"), service) }, "Service myapp/users of cluster east", false},
		{"north_too", func(tx *store.Txn) { tx.SetServices(at("north"), service) }, "Service myapp/users of cluster east", false},
		{"the_own_comes", func(tx *store.Txn) { tx.SetServices(at(""), service) }, "Service myapp/users", true},
		{"east_goes", func(tx *store.Txn) { tx.SetServices(at("east")) }, "Service myapp/users", true},
		{"the_own_goes", func(tx *store.Txn) { tx.SetServices(at("")) }, "Service myapp/users of cluster north", false},
		{"both_at_once", func(tx *store.Txn) { tx.SetServices(at("north")); tx.SetServices(at("east"), service) }, "Service myapp/users of cluster east", false},
		{"a_name_for_another", func(tx *store.Txn) {
			other := service
			other.ExternalName = "example.com"
			tx.SetServices(at("east"), other)
		}, "", false},
		{"none", func(tx *store.Txn) { tx.SetServices(at("east")) }, "", false},
	} {
		snapshot, changed := s.Commit(step.do)
		r := store.NewReader(snapshot)
		found := r.ServicesByHost(service.Host)
		if step.host == "" {
			if len(found) > 0 {
				t.Fatalf("%s: %v is a host, want none", step.name, found[0].Origin)
			}
			continue
		}
		if len(found) != 1 || found[0].Origin.String() != step.host {
			t.Fatalf("%s: the host is of %d Services, want that of %s alone", step.name, len(found), step.host)
		}
		if got := len(r.ServicesByAddress(addr("10.0.0.1"))) > 0; got != step.addresses {
			t.Errorf("%s: it is found by the address that it has in its cluster: %v, want %v", step.name, got, step.addresses)
		}
		if _, auto := r.AutoAddress("myapp", service.Host); auto == step.addresses {
			t.Errorf("%s: it has an automatic address: %v, want %v", step.name, auto, !step.addresses)
		}
		if len(changed) == 0 {
			t.Errorf("%s: no key changed", step.name)
		}
	}
}
