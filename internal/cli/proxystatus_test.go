package cli

import (
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
