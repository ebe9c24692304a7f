package compile_test

import (
	"fmt"
	"strconv"
	"strings"
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

// TestTracingOfObjects: Telemetry objects change what the mesh says, the narrower ones last, each as far as it says something.
func TestTracingOfObjects(t *testing.T) {
	mesh := model.MeshTracing{Sampling: 1, Default: "otlp", Tags: []model.TraceTag{{Name: "of", From: model.TagLiteral, Value: "mesh"}}, Providers: []model.TraceProvider{
		{Name: "otlp", Protocol: model.TraceOTLPGRPC, Host: "collector.observability", Port: 4317, MaxTagLength: 60, OTelNames: true},
		{Name: "zip", Protocol: model.TraceZipkin, Host: "zipkin.example.com", Port: 9411},
	}}
	root := func(spec string) string { return telemetryOf("istio-system", "mesh", "1", spec) }
	namespace := func(spec string) string { return telemetryOf("shop", "all", "2", spec) }
	pods := func(spec string) string {
		return telemetryOf("shop", "web", "3", "{selector: {matchLabels: {app: web}}, "+spec[1:])
	}
	const unsaid = "by mesh to otlp 1% tags of=mesh length 60 otel"
	for _, tt := range []struct {
		name, objects  string
		client, server string
	}{
		{"nothing of traces", root("{accessLogging: [{}]}"), unsaid, unsaid},
		{"a rule that says nothing", root("{tracing: [{}]}"), "by Telemetry istio-system/mesh to otlp 1% tags of=mesh length 60 otel", "by Telemetry istio-system/mesh to otlp 1% tags of=mesh length 60 otel"},
		{
			"each level as far as it goes",
			root("{tracing: [{randomSamplingPercentage: 10}]}") + namespace("{tracing: [{providers: [{name: zip}]}]}") + pods("{tracing: [{customTags: {a: {literal: {value: b}}}}]}"),
			"by Telemetry istio-system/mesh, Telemetry shop/all, Telemetry shop/web to zip 10% tags a=b length 256",
			"by Telemetry istio-system/mesh, Telemetry shop/all, Telemetry shop/web to zip 10% tags a=b length 256",
		},
		{
			"the narrower goes before the wider", root("{tracing: [{randomSamplingPercentage: 10, disableSpanReporting: true}]}") + pods("{tracing: [{randomSamplingPercentage: 0, disableSpanReporting: false}]}"),
			"by Telemetry istio-system/mesh, Telemetry shop/web to otlp 0% tags of=mesh length 60 otel", "by Telemetry istio-system/mesh, Telemetry shop/web to otlp 0% tags of=mesh length 60 otel",
		},
		{
			"one side alone", namespace("{tracing: [{match: {mode: SERVER}, randomSamplingPercentage: 100, customTags: {}}]}"),
			unsaid, "by Telemetry shop/all to otlp 100% length 60 otel",
		},
		{
			"the rest", namespace("{tracing: [{match: {mode: CLIENT}, disableSpanReporting: true, enableIstioTags: false, useRequestIdForTraceSampling: false, disableContextPropagation: true}]}"),
			"by Telemetry shop/all to otlp 1% tags of=mesh length 60 otel unreported untagged unpropagated random", unsaid,
		},
		{"a provider that is not there", namespace("{tracing: [{providers: [{name: gone}]}]}"), "by Telemetry shop/all 1% tags of=mesh length 256", "by Telemetry shop/all 1% tags of=mesh length 256"},
		{"another namespace's", telemetryOf("other", "all", "1", "{tracing: [{randomSamplingPercentage: 99}]}"), unsaid, unsaid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			snapshot, problems := compiletest.Load(t, collectorService+tt.objects)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			g := compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local", ClusterID: "Kubernetes", Tracing: mesh}
			in := compile.Compile(store.NewReader(snapshot), g, "in/shop/web-1").(*plan.InboundPolicy)
			if diff := cmp.Diff([2]string{tt.client, tt.server}, [2]string{tracedAs(in.ClientTracing), tracedAs(in.ServerTracing)}); diff != "" {
				t.Errorf("traces of client and server (-want +got):\n%s", diff)
			}
		})
	}
}

// tracedAs says in words what is done about traces.
func tracedAs(p *plan.Tracing) string {
	words := []string{"by", p.Origin}
	if p.Provider != nil {
		words = append(words, "to", p.Provider.Name)
	}
	words = append(words, fmt.Sprintf("%v%%", p.Sampling))
	for _, tag := range p.Tags {
		words = append(words, "tags", tag.Name+"="+tag.Value)
	}
	words = append(words, "length", strconv.Itoa(int(p.MaxTagLength)))
	for _, flag := range []struct {
		set  bool
		word string
	}{{p.OTelNames, "otel"}, {p.NoReport, "unreported"}, {p.NoIstioTags, "untagged"}, {p.NoPropagation, "unpropagated"}, {p.SampleAtRandom, "random"}} {
		if flag.set {
			words = append(words, flag.word)
		}
	}
	return strings.Join(words, " ")
}

// TestCollectorsThatAreNotThere: one problem, which says what there is; none where the mesh is not known.
func TestCollectorsThatAreNotThere(t *testing.T) {
	snapshot, _ := compiletest.Load(t, telemetryOf("shop", "all", "1", "{tracing: [{providers: [{name: gone}]}, {providers: [{name: otlp}]}]}"))
	for _, tt := range []struct {
		name string
		mesh model.MeshTracing
		want []string
	}{
		{"others_are_there", model.MeshTracing{Providers: []model.TraceProvider{{Name: "otlp"}}}, []string{
			`warning: Telemetry shop/all: spec.tracing[0].providers[0].name: no provider of the mesh that spans can be sent to is called "gone": none are sent (write one of those that the mesh has: otlp)`,
		}},
		{"none_is_there", model.MeshTracing{}, []string{
			`warning: Telemetry shop/all: spec.tracing[0].providers[0].name: no provider of the mesh that spans can be sent to is called "gone": none are sent (add it to mesh.extensionProviders, or set tracing.otlp.endpoint)`,
			`warning: Telemetry shop/all: spec.tracing[1].providers[0].name: no provider of the mesh that spans can be sent to is called "otlp": none are sent (add it to mesh.extensionProviders, or set tracing.otlp.endpoint)`,
		}},
		{"without_a_mesh", model.MeshTracing{Unknown: true}, nil},
	} {
		var got []string
		for _, p := range compile.Check(store.NewReader(snapshot), compile.Global{ClusterDomain: "cluster.local", Tracing: tt.mesh}) {
			got = append(got, p.String())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestTracesWithoutACollector: rules that name no provider, in a mesh that has none for all, send nothing, and that is said once for each
// object. Where any object names one, they may be for its workloads.
func TestTracesWithoutACollector(t *testing.T) {
	const sampled, other = "{tracing: [{disableSpanReporting: true}, {randomSamplingPercentage: 100}]}", "{tracing: [{providers: [{name: otlp}]}]}"
	const said = `warning: Telemetry shop/all: spec.tracing[1].providers: no spans are sent: neither this object nor another names a provider, and the mesh has none for all ` +
		`(name one of mesh.extensionProviders here or in mesh.defaultProviders.tracing, or set tracing.otlp.endpoint)`
	providers := []model.TraceProvider{{Name: "otlp"}}
	for _, tt := range []struct {
		name    string
		objects string
		mesh    model.MeshTracing
		want    []string
	}{
		{"no_provider", telemetryOf("shop", "all", "1", sampled), model.MeshTracing{}, []string{said}},
		{"none_for_all", telemetryOf("shop", "all", "1", sampled), model.MeshTracing{Providers: providers}, []string{said}},
		{"one_for_all", telemetryOf("shop", "all", "1", sampled), model.MeshTracing{Providers: providers, Default: "otlp"}, nil},
		{"another_object_names_it", telemetryOf("shop", "all", "1", sampled) + telemetryOf("fairlead-system", "mesh", "1", other), model.MeshTracing{Providers: providers}, nil},
		{"spans_are_not_wanted", telemetryOf("shop", "all", "1", "{tracing: [{disableSpanReporting: true}]}"), model.MeshTracing{}, nil},
		{"tracing_is_off", telemetryOf("shop", "all", "1", sampled), model.MeshTracing{Off: true}, nil},
		{"without_a_mesh", telemetryOf("shop", "all", "1", sampled), model.MeshTracing{Unknown: true}, nil},
	} {
		snapshot, _ := compiletest.Load(t, tt.objects)
		var got []string
		for _, p := range compile.Check(store.NewReader(snapshot), compile.Global{ClusterDomain: "cluster.local", Tracing: tt.mesh}) {
			got = append(got, p.String())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
