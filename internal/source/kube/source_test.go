package kube

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	networking "istio.io/api/networking/v1alpha3"
	istionetv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

func TestSourceFirstChangeHoldsEverything(t *testing.T) {
	f := newFake(t)
	f.offer(istioV1, "VirtualService", "DestinationRule", "ServiceEntry")
	f.offer(gatewayV1, "HTTPRoute")
	f.put(t, namespaces, "{apiVersion: v1, kind: Namespace, metadata: {name: myapp, labels: {a: b}}, status: {phase: Active}}")
	f.put(t, nodes, "{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {zone: z}}, status: {images: [{names: [x]}]}}")
	f.put(t, services, `{apiVersion: v1, kind: Service, metadata: {name: users, namespace: myapp, generation: 3, uid: u,
		creationTimestamp: "2026-01-31T08:00:00Z", finalizers: [x], managedFields: [{manager: kubectl}],
		annotations: {kubectl.kubernetes.io/last-applied-configuration: long, networking.istio.io/exportTo: .}},
		spec: {ports: [{port: 80}]}, status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}}`)
	f.put(t, pods, `{apiVersion: v1, kind: Pod, metadata: {name: users-1, namespace: myapp, labels: {app: users}, ownerReferences: [
		{apiVersion: v1, kind: Other, name: o, uid: u}, {apiVersion: apps/v1, kind: ReplicaSet, name: users, uid: u, controller: true, blockOwnerDeletion: true}]},
		spec: {serviceAccountName: sa, nodeName: n1, volumes: [{name: v}], initContainers: [{name: fairlead-proxy, restartPolicy: Always, image: i}],
		containers: [{name: app, image: i, env: [{name: A, value: b}], ports: [{name: http, containerPort: 8080}]}]},
		status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}], conditions: [{type: Ready, status: "True"}]}}`)
	f.put(t, slicesPath, `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: users-x, namespace: myapp}, addressType: IPv4,
		endpoints: [{addresses: [10.0.0.1], hints: {forZones: [{name: z}]}, targetRef: {kind: Pod, name: users-1, namespace: myapp, uid: u}}]}`)
	f.put(t, virtual, `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: users, namespace: myapp},
		spec: {hosts: [users]}, status: {observedGeneration: 3, conditions: [{type: Reconciled}]}}`)
	f.put(t, httpRoutes, `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: users, namespace: myapp},
		spec: {rules: [{name: r}]}, status: {parents: [{controllerName: x}]}}`)

	_, v, _ := run(t, f.config())
	first := v.first(t)

	meta := func(name, revision string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: "myapp", ResourceVersion: revision}
	}
	clusterWide := func(name, revision, label, value string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, ResourceVersion: revision, Labels: map[string]string{label: value}}
	}
	always, yes, rule := corev1.ContainerRestartPolicyAlways, true, gatewayv1.SectionName("r")
	users := meta("users", "103")
	users.UID, users.Generation, users.CreationTimestamp = "u", 3, metav1.NewTime(time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC))
	users.Annotations = map[string]string{"networking.istio.io/exportTo": "."}
	pod := meta("users-1", "104")
	pod.Labels = map[string]string{"app": "users"}
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "users", UID: "u", Controller: &yes}}
	ref := func(kind, name string) model.Ref {
		return model.Ref{Kind: kind, Key: model.Key{Namespace: "myapp", Name: name}}
	}
	want := []source.Object{
		{Ref: ref("EndpointSlice", "users-x"), Value: &discoveryv1.EndpointSlice{
			ObjectMeta: meta("users-x", "105"), AddressType: "IPv4", Endpoints: []discoveryv1.Endpoint{
				{
					Addresses: []string{"10.0.0.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "users-1", Namespace: "myapp"},
					Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "z"}}},
				},
			},
		}},
		{Ref: ref("HTTPRoute", "users"), Value: &gatewayv1.HTTPRoute{
			ObjectMeta: meta("users", "107"), Spec: gatewayv1.HTTPRouteSpec{Rules: []gatewayv1.HTTPRouteRule{{Name: &rule}}},
		}},
		{Ref: model.Ref{Kind: "Namespace", Key: model.Key{Name: "myapp"}}, Value: &corev1.Namespace{ObjectMeta: clusterWide("myapp", "101", "a", "b")}},
		{Ref: model.Ref{Kind: "Node", Key: model.Key{Name: "n1"}}, Value: &corev1.Node{ObjectMeta: clusterWide("n1", "102", "zone", "z")}},
		{Ref: ref("Pod", "users-1"), Value: &corev1.Pod{
			ObjectMeta: pod,
			Spec: corev1.PodSpec{
				ServiceAccountName: "sa", NodeName: "n1",
				InitContainers: []corev1.Container{{Name: "fairlead-proxy", RestartPolicy: &always}},
				Containers:     []corev1.Container{{Name: "app", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}},
			},
			Status: corev1.PodStatus{
				Phase: "Running", PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}},
				Conditions: []corev1.PodCondition{{Type: "Ready", Status: "True"}},
			},
		}},
		{Ref: ref("Service", "users"), Value: &corev1.Service{
			ObjectMeta: users, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}}},
		}},
		{Ref: ref("VirtualService", "users"), Value: &istionetv1.VirtualService{
			ObjectMeta: meta("users", "106"), Spec: networking.VirtualService{Hosts: []string{"users"}},
		}},
	}
	opts := cmp.Options{
		cmpopts.IgnoreTypes(metav1.TypeMeta{}),
		cmp.Comparer(func(a, b *istionetv1.VirtualService) bool { // protobuf messages have hidden state
			return slices.Equal(a.Spec.GetHosts(), b.Spec.GetHosts()) && cmp.Equal(a.ObjectMeta, b.ObjectMeta) &&
				len(a.Status.GetConditions()) == len(b.Status.GetConditions()) && a.Status.GetObservedGeneration() == b.Status.GetObservedGeneration()
		}),
		cmpopts.IgnoreFields(source.Object{}, "Locate"),
	}
	if diff := cmp.Diff(source.Change{Upserts: want}, first, opts, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("first change (-want +got):\n%s", diff)
	}
	if n := f.seen("LIST " + pods + "?fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed&limit=500"); n != 1 {
		t.Errorf("%d lists of unfinished pods, want 1", n)
	}
}

func TestSourceOfAnEmptyClusterStillSays(t *testing.T) {
	_, v, _ := run(t, newFake(t).config())
	if c := v.first(t); len(c.Upserts)+len(c.Deletes)+len(c.Problems) != 0 {
		t.Errorf("first change = %+v, want an empty one", c)
	}
}

func TestSourceFollows(t *testing.T) {
	f := newFake(t)
	f.put(t, services, service("a"))
	_, v, _ := run(t, f.config())
	v.until(t, "a", func() bool { return v.refs() == "Service myapp/a" })
	f.put(t, services, service("b"))
	v.until(t, "b", func() bool { return v.refs() == "Service myapp/a, Service myapp/b" })
	f.remove(services, "myapp/a")
	v.until(t, "b alone", func() bool { return v.refs() == "Service myapp/b" })
	f.put(t, services, "{apiVersion: v1, kind: Service, metadata: {name: b, namespace: myapp, generation: 7}}")
	v.until(t, "b changed", func() bool {
		b, ok := v.objects[model.Ref{Kind: "Service", Key: model.Key{Namespace: "myapp", Name: "b"}}].(*corev1.Service)
		return ok && b.Generation == 7
	})
}

func TestSourceWaitsForKindsOfTheServerItself(t *testing.T) {
	f := newFake(t)
	f.answer(pods, http.StatusForbidden)
	f.put(t, services, service("a"))
	s, v, log := run(t, f.config())
	log.until(t, "does not let a kind be read")
	want := []model.Problem{{
		Ref: model.Ref{Kind: "ClusterRole", Key: model.Key{Name: "fairlead-controller"}}, Severity: model.Warning,
		Message: "does not allow to list pods: no Pod is read",
		Fix:     `add the rule {apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]}`,
	}}
	if diff := cmp.Diff(want, s.Problems()); diff != "" {
		t.Errorf("Problems (-want +got):\n%s", diff)
	}
	v.mu.Lock()
	if len(v.changes) > 0 {
		t.Errorf("a change without the pods: %+v", v.changes[0])
	}
	v.mu.Unlock()
	f.answer(pods, 0)
	v.until(t, "a", func() bool { return v.refs() == "Service myapp/a" })
	if n := log.count("does not let a kind be read"); n != 1 {
		t.Errorf("%d lines about one refusal", n)
	}
}

func TestSourceDoesWithoutCustomKinds(t *testing.T) {
	f := newFake(t)
	f.offer(istioV1, "VirtualService")
	f.put(t, virtual, route("users", "users"))
	f.answer(virtual, http.StatusForbidden)
	_, v, log := run(t, f.config())
	v.until(t, "a change with the refusal", func() bool {
		return len(v.problems) == 1 && v.problems[0] == "warning: ClusterRole fairlead-controller: "+
			"does not allow to list virtualservices.networking.istio.io: no VirtualService is read "+
			`(add the rule {apiGroups: ["networking.istio.io"], resources: ["virtualservices"], verbs: ["list", "watch"]})`
	})
	f.answer(virtual, 0)
	v.until(t, "the route", func() bool { return len(v.problems) == 0 && v.refs() == "VirtualService myapp/users" })
	if n := log.count("level=ERROR"); n > 0 {
		t.Errorf("%d errors in the log", n)
	}
}

func TestSourceFollowsCRDs(t *testing.T) {
	f := newFake(t)
	const old = "networking.istio.io/v1beta1"
	_, v, log := run(t, f.config())
	v.first(t)

	f.put(t, "/apis/"+old+"/virtualservices", strings.ReplaceAll(route("users", "users"), istioV1, old))
	f.offer(old, "VirtualService")
	v.until(t, "the route of v1beta1", func() bool { return v.refs() == "VirtualService myapp/users" })

	f.put(t, virtual, route("users", "users"))
	f.put(t, virtual, route("orders", "orders"))
	f.offer(istioV1, "VirtualService")
	v.until(t, "the routes of v1", func() bool { return v.refs() == "VirtualService myapp/orders, VirtualService myapp/users" })

	f.withdraw(old)
	f.withdraw(istioV1)
	f.disconnect()
	v.until(t, "no routes", func() bool { return len(v.objects) == 0 })
	if n := log.count("level=WARN") + log.count("level=ERROR"); n > 0 {
		t.Errorf("%d complaints in the log:\n%s", n, log.text.String())
	}
}

func TestSourceBrokenObjectsKeepTheirLastGoodVersion(t *testing.T) {
	f := newFake(t)
	f.offer(istioV1, "VirtualService", "DestinationRule", "ServiceEntry")
	f.put(t, virtual, route("good", "a"))
	f.put(t, virtual, route("bad", "{not: a host}"))
	_, v, _ := run(t, f.config())
	complaint := func() bool {
		return len(v.problems) == 1 && strings.Contains(v.problems[0], "VirtualService myapp/bad: spec.hosts[0]")
	}
	v.until(t, "the good one and a complaint", func() bool { return complaint() && v.refs() == "VirtualService myapp/good" })
	f.put(t, virtual, route("bad", "b"))
	v.until(t, "both", func() bool { return len(v.problems) == 0 && len(v.objects) == 2 })
	f.put(t, virtual, "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: bad, namespace: myapp}, spec: {hosts: [{not: a host}]}}")
	v.until(t, "a complaint, and the last good version", func() bool { return complaint() && len(v.objects) == 2 })
	f.remove(virtual, "myapp/bad")
	v.until(t, "the good one alone", func() bool { return len(v.problems) == 0 && v.refs() == "VirtualService myapp/good" })
}

func TestNewWantsAConfig(t *testing.T) {
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "rest.Config") {
		t.Errorf("New = %v, want a complaint about the config", err)
	}
	if _, err := NewWriter(WriterOptions{}); err == nil || !strings.Contains(err.Error(), "rest.Config") {
		t.Errorf("NewWriter = %v, want a complaint about the config", err)
	}
}

func TestOutboxKeepsTheNewest(t *testing.T) {
	a, b := model.Ref{Kind: "Service", Key: model.Key{Name: "a"}}, model.Ref{Kind: "Service", Key: model.Key{Name: "b"}}
	kinds := []config.Kind{{Name: "Service"}, {Name: "Pod"}}
	box := newOutbox(kinds)
	box.put(a, "1", nil)
	box.put(b, "1", nil)
	box.remove(b)
	box.listed(subject{kind: &kinds[0]})
	if _, _, ok := box.take(); ok {
		t.Fatal("a change before all kinds are listed")
	}
	box.listed(subject{kind: &kinds[1]})
	box.put(a, "2", nil)
	change, first, ok := box.take()
	if diff := cmp.Diff([]source.Object{{Ref: a, Value: "2"}}, change.Upserts, cmpopts.IgnoreFields(source.Object{}, "Locate")); !first || !ok || diff != "" || change.Deletes != nil {
		t.Errorf("first take = %+v, %v, %v", change, first, ok)
	}
	if _, _, ok := box.take(); ok {
		t.Error("a change without a change")
	}
	box.put(a, "3", nil)
	box.remove(a)
	box.put(b, "4", nil)
	change, first, ok = box.take()
	if first || !ok || len(change.Upserts) != 1 || change.Upserts[0].Ref != b || !slices.Equal(change.Deletes, []model.Ref{a}) {
		t.Errorf("second take = %+v, %v, %v", change, first, ok)
	}
}

func TestRules(t *testing.T) {
	var got []string
	for _, r := range Rules() {
		got = append(got, r.String())
	}
	for _, want := range []string{
		`{apiGroups: [""], resources: ["nodes"], verbs: ["list", "watch"]}`,
		`{apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]}`,
		`{apiGroups: ["gateway.networking.k8s.io"], resources: ["httproutes"], verbs: ["list", "watch", "get"]}`,
		`{apiGroups: ["gateway.networking.k8s.io"], resources: ["httproutes/status"], verbs: ["patch"]}`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not among the rules:\n%s", want, strings.Join(got, "\n"))
		}
	}
}

func TestSourceWithoutDiscovery(t *testing.T) {
	f := newFake(t)
	kinds := 0
	for _, version := range []string{istioV1, gatewayV1} {
		f.answer("/apis/"+version, http.StatusForbidden)
		for _, k := range config.Kinds() {
			if group, _, _ := strings.Cut(version, "/"); k.Group == group {
				kinds++
			}
		}
	}
	_, v, _ := run(t, f.config())
	v.until(t, "complaints about every kind of the two groups", func() bool { return len(v.changes) > 0 && len(v.problems) == kinds })
}

func TestRunNamesWhatIsWrongWithTheConfig(t *testing.T) {
	config := &rest.Config{Host: "https://127.0.0.1:1", TLSClientConfig: rest.TLSClientConfig{CAFile: "/no/such/ca.crt"}}
	s, err := New(Options{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "/no/such/ca.crt") {
		t.Errorf("Run = %v, want the missing file", err)
	}
	w, err := NewWriter(WriterOptions{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "/no/such/ca.crt") {
		t.Errorf("Writer.Run = %v, want the missing file", err)
	}
}
