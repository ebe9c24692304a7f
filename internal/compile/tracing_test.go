package compile_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

const collectorService = `
apiVersion: v1
kind: Service
metadata: {name: collector, namespace: observability}
spec: {clusterIP: 10.96.0.10, selector: {app: collector}, ports: [{name: grpc-otlp, port: 4317}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web, service.istio.io/canonical-name: webshop}, annotations: {sidecar.istio.io/status: injected, fairlead.dev/status: '{}'}}
spec: {serviceAccountName: web, containers: [{name: app, image: web}, {name: fairlead-proxy, image: proxy}]}
status: {phase: Running, podIP: 10.244.0.7, podIPs: [{ip: 10.244.0.7}]}
`

// TestTracingOfTheMesh: what the installation says of traces reaches each pod with a sidecar.
func TestTracingOfTheMesh(t *testing.T) {
	otlp := model.TraceProvider{Name: "otlp", Protocol: model.TraceOTLPGRPC, Host: "collector.observability", Port: 4317}
	sent := otlp
	sent.Host, sent.Timeout = "collector.observability.svc.cluster.local", model.DefaultTraceTimeout
	narrow := otlp
	narrow.MaxTagLength, narrow.OTelNames, narrow.Host, narrow.Timeout = 60, true, "collector.example.com", 1
	tag := []model.TraceTag{{Name: "team", From: model.TagLiteral, Value: "blue"}}
	for _, tt := range []struct {
		name string
		mesh model.MeshTracing
		want *plan.Tracing
	}{
		{"off", model.MeshTracing{Off: true, Sampling: 1, Default: "otlp", Providers: []model.TraceProvider{otlp}}, nil},
		{"no_collector", model.MeshTracing{Sampling: 1}, &plan.Tracing{Origin: "mesh", NodeID: "sidecar~10.244.0.7~web-1.shop~shop.svc.cluster.local", MeshID: "cluster.local", Service: "web.shop", Sampling: 1, MaxTagLength: 256}},
		{
			"a_collector_in_the_mesh",
			model.MeshTracing{Sampling: 1, Default: "otlp", Providers: []model.TraceProvider{otlp}},
			&plan.Tracing{Origin: "mesh", Provider: &sent, NodeID: "sidecar~10.244.0.7~web-1.shop~shop.svc.cluster.local", MeshID: "cluster.local", Service: "web.shop", Sampling: 1, MaxTagLength: 256},
		},
		{
			"what_the_provider_says",
			model.MeshTracing{Default: "otlp", Providers: []model.TraceProvider{narrow}, MaxTagLength: 99, Tags: tag, ServiceName: model.TraceCanonicalName},
			&plan.Tracing{Origin: "mesh", Provider: &narrow, NodeID: "sidecar~10.244.0.7~web-1.shop~shop.svc.cluster.local", MeshID: "cluster.local", Service: "webshop", MaxTagLength: 60, OTelNames: true, Tags: tag},
		},
		{"canonical", model.MeshTracing{ServiceName: model.TraceCanonicalNameAndNamespace}, &plan.Tracing{Origin: "mesh", NodeID: "sidecar~10.244.0.7~web-1.shop~shop.svc.cluster.local", MeshID: "cluster.local", Service: "webshop.shop", MaxTagLength: 256}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			snapshot, problems := compiletest.Load(t, collectorService)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			g := compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local", ClusterID: "Kubernetes", Tracing: tt.mesh}
			in, ok := compile.Compile(store.NewReader(snapshot), g, "in/shop/web-1").(*plan.InboundPolicy)
			if !ok {
				t.Fatal("no inbound policy")
			}
			for side, got := range map[string]*plan.Tracing{"client": in.ClientTracing, "server": in.ServerTracing} {
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", side, diff)
				}
			}
		})
	}
}
