package controlplane

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/source/file"
)

func TestCheckSeesAcrossObjects(t *testing.T) {
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
	tests := []struct{ name, manifests, want string }{
		{"a_route_to_a_service_is_fine", route("host: users"), ""},
		{"missing_subset", route("host: users, subset: v3"), "v3"},
		{"missing_host", route("host: nobody"), "nobody"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			objects, problems := file.Decode("test.yaml", []byte(tt.manifests))
			got := Check(objects, problems, "cluster.local")
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("Check = %v, want nothing", got)
			case tt.want != "" && (len(got) == 0 || !strings.Contains(got[0].String(), tt.want)):
				t.Errorf("Check = %v, want a problem that names %s", got, tt.want)
			}
		})
	}
}
