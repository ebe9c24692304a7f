package compile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/store"
)

// TestPodPortsThatDisagree: a port of a pod has one protocol, and who declares another one is told whose it is.
func TestPodPortsThatDisagree(t *testing.T) {
	service := func(name, created, selector, ports string) string {
		return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %s, namespace: shop, creationTimestamp: "%s"}
spec: {clusterIP: 10.96.0.%d, selector: {%s}, ports: [%s]}
---
`, name, created, len(name), selector, ports)
	}
	const old, young = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
	const http, tcp = "{name: http, port: 80, targetPort: 8080}", "{name: tcp-raw, port: 81, targetPort: 8080}"
	for _, tt := range []struct {
		name, manifests string
		want            []string
	}{
		{"younger_service", service("a", young, "app: x", tcp) + service("bc", old, "app: x", http), []string{"Service shop/a spec.ports[0]: port 8080 of its pods is declared HTTP by port http of Service shop/bc"}},
		{"one_service", service("a", old, "app: x", http+", "+tcp), []string{"Service shop/a spec.ports[1]: port 8080 of its pods is declared HTTP by port http of Service shop/a"}},
		{"by_name", service("a", old, "app: x", "{name: grpc, port: 1, targetPort: web}, {name: tls, port: 2, targetPort: web}"), []string{"Service shop/a spec.ports[1]: port web of its pods is declared GRPC by port grpc of Service shop/a"}},
		{"bytes_first", service("a", old, "app: x", tcp) + service("bc", young, "app: x", http), nil},
		{"requests_both", service("a", old, "app: x", http+", {name: grpc, port: 81, targetPort: 8080}"), nil},
		{"not_declared", service("a", old, "app: x", http+", {name: web, port: 81, targetPort: 8080}"), nil},
		{"other_pods", service("a", old, "app: x", http) + service("bc", young, "app: y", tcp), nil},
		{"other_ports", service("a", old, "app: x", "{name: http, port: 80}, {name: tcp, port: 81}"), nil},
		{"headless_is_second", service("a", young, "app: x", http) + strings.Replace(service("bc", old, "app: x", tcp), "10.96.0.2", "None", 1), []string{"Service shop/bc spec.ports[0]: port 8080 of its pods is declared HTTP by port http of Service shop/a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			snapshot, _ := compiletest.Load(t, tt.manifests)
			var got []string
			for _, p := range compile.Check(store.NewReader(snapshot), global()) {
				message, _, _ := strings.Cut(p.Message, ": their sidecars")
				got = append(got, fmt.Sprintf("%s %s: %s", p.Ref, p.Field, message))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
