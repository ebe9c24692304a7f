package istio

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	meta1 "istio.io/api/meta/v1alpha1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"fairlead.dev/fairlead/internal/model"
)

// The verdicts are Istio's (validation.validateWorkloadEntry), but for what Fairlead cannot call, which is a warning.
func TestWorkloadEntryProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []problemCase{
		{"an_address", "{address: 192.0.2.1}", nil},
		{"of_the_other_family", "{address: '2001:db8::1', ports: {http: 8080}}", nil},
		{"a_name", "{address: vm.example.com}", nil},
		{"no_address", "{labels: {app: vm}}", []string{"error spec.address: no address"}},
		{"in_another_network", "{network: far}", []string{"warning spec.address: another network"}},
		{"an_address_with_port", "{address: '192.0.2.1:80'}", []string{"error spec.address: neither"}},
		{"a_socket", "{address: 'unix:///run/app'}", nil},
		{"a_socket_with_ports", "{address: 'unix:///run/app', ports: {http: 80}}", []string{"error spec.ports: no ports"}},
		{"a_relative_socket", "{address: 'unix://run/app'}", []string{"error spec.address: absolute path"}},
		{"a_port_name", "{address: 192.0.2.1, ports: {a_b: 80}}", []string{"error spec.ports[a_b]: cannot be the name of a port"}},
		{"a_port_number", "{address: 192.0.2.1, ports: {http: 0}}", []string{"error spec.ports[http]: out of range"}},
		{"a_label", "{address: 192.0.2.1, labels: {app: 'a b'}}", []string{"error spec.labels[app]: not a label value"}},
		{"a_locality", "{address: 192.0.2.1, locality: a//b}", []string{"warning spec.locality: empty part"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := &networkingv1.WorkloadEntry{ObjectMeta: meta}
			decode(t, tt.spec, &in.Spec)
			got, problems := WorkloadEntry(in, domain)
			leftOut := tt.name == "in_another_network"
			check(t, tt, got == nil && !leftOut, problems)
			if leftOut && got != nil {
				t.Errorf("an entry that cannot be called: %+v", got)
			}
		})
	}
}

func TestWorkloadEntry(t *testing.T) {
	t.Parallel()
	healthy := func(status string) *meta1.IstioCondition {
		return &meta1.IstioCondition{Type: "Healthy", Status: status}
	}
	for _, tt := range []struct {
		name, annotation string
		conditions       []*meta1.IstioCondition
		unhealthy        bool
	}{
		{"not_checked", "", []*meta1.IstioCondition{healthy("False")}, false},
		{"checked_and_well", "true", []*meta1.IstioCondition{{Type: "Other", Status: "False"}, healthy("True")}, false},
		{"checked_and_not_well", "true", []*meta1.IstioCondition{healthy("False")}, true},
		{"not_yet_checked", "true", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := &networkingv1.WorkloadEntry{ObjectMeta: *meta.DeepCopy()}
			in.Labels = map[string]string{"version": "v2"}
			in.Annotations = map[string]string{healthChecked: tt.annotation}
			in.Status.Conditions = tt.conditions
			decode(t, "{address: 192.0.2.1, ports: {http: 8080}, labels: {app: vm, version: v1}, network: net, locality: r/z, weight: 3, serviceAccount: sa}", &in.Spec)
			got, problems := WorkloadEntry(in, domain)
			want := &model.WorkloadEntry{
				Ref: model.Ref{Kind: "WorkloadEntry", Key: model.Key{Namespace: "myapp", Name: "users"}},
				Endpoint: model.StaticEndpoint{
					Name: "users", Address: netip.MustParseAddr("192.0.2.1"), Ports: map[string]uint16{"http": 8080},
					Labels: map[string]string{"app": "vm", "version": "v2"}, Network: "net", Locality: model.Locality{Region: "r", Zone: "z"},
					Weight: 3, ServiceAccount: "sa", Unhealthy: tt.unhealthy,
				},
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || len(problems) > 0 {
				t.Errorf("problems %v, value (-want +got):\n%s", problems, diff)
			}
		})
	}
}
