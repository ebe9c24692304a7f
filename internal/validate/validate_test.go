package validate

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/source/file"
)

func TestObjectsSeesAcrossObjects(t *testing.T) {
	const service = `
apiVersion: v1
kind: Service
metadata: {name: users, namespace: myapp}
spec: {ports: [{port: 8080}]}
---
`
	route := func(destination string) string {
		return service + `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: users, namespace: myapp}
spec:
  hosts: [users]
  http: [{route: [{destination: {` + destination + `}}]}]
`
	}
	const elsewhere = "{apiVersion: v1, kind: Service, metadata: {name: billing, namespace: other}, spec: {ports: [{port: 80}]}}\n---\n"
	ruleIn := func(namespace string) string {
		return "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: users, namespace: " + namespace +
			"}, spec: {host: users.myapp, trafficPolicy: {loadBalancer: {simple: RANDOM}}}}\n"
	}
	tests := []struct{ name, manifests, want string }{
		{"a_route_to_a_service_is_fine", route("host: users"), ""},
		{"missing_subset", route("host: users, subset: v3"), "v3"},
		{"missing_host", route("host: nobody"), "nobody"},
		{"a_host_of_another_namespace", strings.ReplaceAll(route("host: billing"), "---\n", "---\n"+elsewhere), `(write "billing.other")`},
		{"a_rule_that_is_not_looked_for", service + ruleIn("config"), "it is not looked for here"},
		{"a_rule_where_istio_would_look", service + ruleIn("istio-system"), "(write it in namespace myapp, or in fairlead-system for the whole mesh)"},
		{"a_rule_for_the_whole_mesh", service + ruleIn("fairlead-system"), ""},
		{"a_rule_of_the_host", service + ruleIn("myapp"), ""},
		{"a_label_of_pods_on_a_namespace", "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {fairlead.dev/inject: 'true'}}}", "fairlead.dev/inject=true opts nothing in"},
		{
			"an_annotation_that_is_misspelt", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {metadata: {annotations: {sidecar.istio.io/proxyCpu: '1'}}}}}",
			"spec.template.metadata.annotations: unknown annotation sidecar.istio.io/proxyCpu, did you mean sidecar.istio.io/proxyCPU?",
		},
		{
			"an_annotation_in_the_wrong_place", "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a, annotations: {fairlead.dev/drain: 5s}}}",
			"annotation fairlead.dev/drain has no effect on a StatefulSet",
		},
		{"a_rule_of_a_caller", service + elsewhere + ruleIn("other"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			objects, problems := file.Decode("test.yaml", []byte(tt.manifests))
			got := Objects(objects, problems, "cluster.local")
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("Objects = %v, want nothing", got)
			case tt.want != "" && (len(got) == 0 || !strings.Contains(got[0].String(), tt.want)):
				t.Errorf("Objects = %v, want a problem that names %s", got, tt.want)
			}
		})
	}
}
