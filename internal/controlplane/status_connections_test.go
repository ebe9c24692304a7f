package controlplane

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestStatusOfConnectionRoutes: TLSRoutes and TCPRoutes are answered for as HTTPRoutes are, each kind for itself.
func TestStatusOfConnectionRoutes(t *testing.T) {
	const manifests = `
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: myapp}, spec: {clusterIP: 10.96.0.1, ports: [{name: tcp-db, port: 3306}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TLSRoute, metadata: {name: db, namespace: myapp, generation: 1}, spec: {parentRefs: [{group: "", kind: Service, name: db}], hostnames: [a.example.com], rules: [{backendRefs: [{name: nobody, port: 3306}]}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TCPRoute, metadata: {name: db, namespace: myapp, generation: 2}, spec: {parentRefs: [{name: ingress}, {group: "", kind: Service, name: db}], rules: [{backendRefs: [{name: db, port: 3306}]}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TCPRoute, metadata: {name: refused, namespace: myapp, generation: 3}, spec: {parentRefs: [{group: "", kind: Service, name: db}], rules: [{}]}}
`
	w := newStatusWorld()
	want := map[string]string{
		"TLSRoute myapp/db":      "db Accepted=True(Accepted)@1 db ResolvedRefs=False(BackendNotFound)@1",
		"TCPRoute myapp/db":      "db Accepted=False(Conflicted)@2 db ResolvedRefs=True(ResolvedRefs)@2",
		"TCPRoute myapp/refused": "db Accepted=False(UnsupportedValue)@3",
	}
	if diff := cmp.Diff(want, w.apply(t, manifests)); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}
