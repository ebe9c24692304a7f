package controlplane

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
)

// A route to a Gateway is said to be none of the mesh's, and one whose author forgot to write "kind: Service" is told so.
func TestGatewayParentsAreSaid(t *testing.T) {
	p := &ControlPlane{engine: engineWith(t, usersInForce), metrics: newMetrics("test")}
	for _, tt := range []struct{ name, parent, want string }{
		{"a_gateway", `{"name":"ingress"}`, "Gateway myapp/ingress is not served by Fairlead"},
		{"a_gateway_of_the_name_of_a_service", `{"kind":"Gateway","group":"gateway.networking.k8s.io","name":"users"}`, "Gateway myapp/users is not served"},
		{"no_kind", `{"name":"users"}`, `not attached to the Service of that name (write group: "", kind: Service)`},
		{"a_service", `{"group":"","kind":"Service","name":"users"}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			object := `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"x","namespace":"myapp"},"spec":{"parentRefs":[` + tt.parent + `],
				"rules":[{"backendRefs":[{"name":"users","port":80}]}]}}`
			r := askAdmission(t, p.validator(), admissionv1.Create, object, "")
			said := strings.Join(r.Warnings, "\n")
			if !r.Allowed || !strings.Contains(said, tt.want) || strings.Contains(said, "Gateway") != (tt.want != "") {
				t.Errorf("allowed %v, it says %q, want %q", r.Allowed, said, tt.want)
			}
		})
	}
}
