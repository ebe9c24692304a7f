package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/admin"
)

func TestStatusOfOneSidecar(t *testing.T) {
	rows := []admin.Proxy{
		{ID: "web-1.shop", Namespace: "shop"},
		{ID: "web-1.default", Namespace: "default"},
		{ID: "pay-1.bank", Namespace: "bank"},
		{ID: "cart-0.shop", Namespace: "shop"},
		{ID: "cart-0.bank", Namespace: "bank"},
		{ID: "a.b.c", Namespace: "c"},
	}
	tests := []struct {
		name, given, namespace string
		want, err              string
	}{
		{"the_namespace_at_hand_comes_first", "web-1", "", "web-1.default", ""},
		{"one_of_that_name_elsewhere", "pay-1", "", "pay-1.bank", ""},
		{"a_name_with_a_dot", "a.b", "", "a.b.c", ""},
		{"several_of_that_name_elsewhere", "cart-0", "", "", "cart-0 is a pod of the namespaces shop, bank: choose one with -n"},
		{"a_namespace_given", "cart-0", "bank", "cart-0.bank", ""},
		{"not_in_the_namespace_given", "pay-1", "shop", "", "no sidecar pay-1 is connected to the control plane"},
		{"a_whole_id", "cart-0.shop", "", "cart-0.shop", ""},
		{"the_start_of_a_name", "pay", "", "", "no sidecar pay is connected to the control plane"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &app{namespace: tt.namespace}
			got, err := a.only(t.Context(), &mesh{namespace: a.inNamespace()}, rows, tt.given)
			var id, failed string
			if len(got) == 1 {
				id = got[0].ID
			}
			if err != nil {
				failed = err.Error()
			}
			if diff := cmp.Diff([]string{tt.want, tt.err}, []string{id, failed}); diff != "" {
				t.Errorf("only(%q) with -n %q: row and error (-want +got):\n%s", tt.given, tt.namespace, diff)
			}
		})
	}
}

func TestStandardClientsAreListedWithTheirTypes(t *testing.T) {
	rows := []admin.Proxy{
		{ID: "a.shop", State: admin.Synced, Version: "0.1.0", Names: map[string]int{"dns": 1}},
		{
			ID: "b.shop", Node: "sidecar~10.0.0.2~b.shop~shop.svc.cluster.local", State: admin.Refusing, Version: "envoy 1.40.0",
			Names: map[string]int{"cds": 2, "rds": 1},
			Types: []admin.TypeSync{
				{Type: "CDS", State: admin.Synced, Sent: "00ff", Resources: 2},
				{Type: "RDS", State: admin.Refusing, Sent: "00aa", InForce: "0011", Resources: 1},
				{Type: "LDS", State: admin.Stale},
			},
			Refused: []admin.Refusal{{Resource: "RDS", Reason: "no such cluster"}},
		},
	}
	var out strings.Builder
	if err := printSyncStatus(&out, rows, 0); err != nil {
		t.Fatal(err)
	}
	const want = `NAME       STATE      VERSION          SUBSCRIBED
a.shop     SYNCED     0.1.0            1 (dns 1)
b.shop     ERROR      envoy 1.40.0     3 (cds 2, rds 1)
  CDS SYNCED 00ff, 2 resources
  RDS ERROR 00aa, 1 resource
  LDS STALE nothing sent, 0 resources
  refused RDS: no such cluster
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("proxy-status (-want +got):\n%s", diff)
	}
}
