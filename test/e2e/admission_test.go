//go:build kube

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

const destinationRule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users}
spec:
  host: users
  subsets:
    - {name: v1, labels: {version: v1}}
`

func virtualService(subset, timeout string) string {
	return `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: users}
spec:
  hosts: [users]
  http:
    - timeout: ` + timeout + `
      route:
        - destination: {host: users, subset: ` + subset + `}
`
}

// What is broken is refused with the line that `fairlead validate` prints, what cannot work yet draws a warning.
func TestAdmission(t *testing.T) {
	n := meshed(t, "admission")
	n.apply(t, server("users", 1), destinationRule)
	for _, tt := range []struct {
		name, manifest string
		refused        bool
		says           string
	}{
		{"good", virtualService("v1", "3s"), false, ""},
		{"unknown_subset", virtualService("v9", "3s"), false, `Warning: fairlead: VirtualService e2e-admission/users: spec.http[0].route[0].destination.subset`},
		{"bad_timeout", virtualService("v1", "3parsecs"), true, `spec.http[0].timeout`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := tryCombined(t, tt.manifest, "-n", n.name, "apply", "--dry-run=server", "-f", "-")
			if (err != nil) != tt.refused || !strings.Contains(out, tt.says) || tt.says == "" && strings.Contains(out, "Warning") {
				t.Errorf("kubectl apply = %v, %q; want refused %t and %q", err, out, tt.refused, tt.says)
			}
		})
	}
}

// The status of a route says whether it is in force, with the parentRef as it was written.
func TestRouteStatus(t *testing.T) {
	n := meshed(t, "status")
	n.apply(t, server("users", 1), `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: users}
spec:
  parentRefs:
    - {group: "", kind: Service, name: users, port: 8080}
    - {group: "", kind: Service, name: nobody, port: 80}
  rules:
    - backendRefs: [{name: users, port: 8080}]
`)
	type condition struct {
		Type, Status, Reason string
		ObservedGeneration   int64
	}
	var route struct {
		Metadata struct{ Generation int64 }
		Status   struct {
			Parents []struct {
				ControllerName string
				ParentRef      map[string]any
				Conditions     []condition
			}
		}
	}
	eventually(t, "both parents have a status", func() (string, bool) {
		out := n.kubectl(t, "get", "httproute", "users", "-o", "json")
		if err := json.Unmarshal([]byte(out), &route); err != nil {
			t.Fatal(err)
		}
		return out, len(route.Status.Parents) == 2
	})
	want := []string{"Accepted=True", "Accepted=False"}
	for i, p := range route.Status.Parents {
		var all []string
		for _, c := range p.Conditions {
			all = append(all, c.Type+"="+c.Status)
			if c.ObservedGeneration != route.Metadata.Generation {
				t.Errorf("parent %d: %s is about generation %d, want %d", i, c.Type, c.ObservedGeneration, route.Metadata.Generation)
			}
		}
		if text := strings.Join(all, " "); !strings.Contains(text, want[i]) || !strings.Contains(text, "ResolvedRefs=True") {
			t.Errorf("parent %d: %s, want %s and ResolvedRefs=True", i, text, want[i])
		}
		if p.ControllerName != "fairlead.dev/mesh-controller" || p.ParentRef["name"] == nil || p.ParentRef["namespace"] != nil {
			t.Errorf("parent %d: %s %v", i, p.ControllerName, p.ParentRef)
		}
	}
}
