package check

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/cluster"
	"fairlead.dev/fairlead/internal/cluster/clustertest"
)

func gather(t *testing.T, s *clustertest.Server, scope Scope) *Facts {
	t.Helper()
	c, err := cluster.Load(cluster.Options{Kubeconfig: s.Kubeconfig(t)})
	if err != nil {
		t.Fatal(err)
	}
	return Gather(t.Context(), Options{Cluster: c, CLI: release, System: SystemNamespace, Scope: scope})
}

// named is the metadata of an object.
func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// install puts a whole installation into the API server, with one controller pod and one pod that has a sidecar.
func install(t *testing.T, s *clustertest.Server) {
	t.Helper()
	ca := newCA(t, "cluster.local", time.Now(), 3650*24*time.Hour)
	const system = "/api/v1/namespaces/fairlead-system/"
	const rbac = "/apis/rbac.authorization.k8s.io/v1/"
	const admission = "/apis/admissionregistration.k8s.io/v1/"
	service := admissionv1.WebhookClientConfig{CABundle: ca.pem, Service: &admissionv1.ServiceReference{Namespace: SystemNamespace, Name: Controller}}
	secret := ca.secret()
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: SystemNamespace, Name: Controller}}
	labels := map[string]string{"app": "c"}
	ready := corev1.PodStatus{
		Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		InitContainerStatuses: []corev1.ContainerStatus{{Name: ProxyContainer, Ready: true}},
	}
	web := corev1.Pod{ObjectMeta: named("shop", "web-1"), Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: ProxyContainer}}}, Status: ready}
	controller := corev1.Pod{ObjectMeta: named(SystemNamespace, "c-1"), Status: ready}
	controller.Labels = labels
	shop := corev1.Namespace{ObjectMeta: named("", "shop")}
	shop.Labels = map[string]string{injectLabel: enabled}
	slice := discoveryv1.EndpointSlice{ObjectMeta: named(SystemNamespace, "s"), Endpoints: []discoveryv1.Endpoint{{TargetRef: &corev1.ObjectReference{Name: "c-1"}}}}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: Controller}
	for path, object := range map[string]any{
		"/version":                                                 map[string]string{"gitVersion": "v1.34.4+k3s1", "major": "1", "minor": "34+"},
		"/api/v1/namespaces/fairlead-system":                       corev1.Namespace{ObjectMeta: named("", SystemNamespace)},
		"/api/v1/namespaces/shop":                                  shop,
		system + "serviceaccounts/fairlead-controller":             corev1.ServiceAccount{ObjectMeta: named(SystemNamespace, Controller)},
		system + "configmaps/fairlead":                             corev1.ConfigMap{ObjectMeta: named(SystemNamespace, configMap), Data: map[string]string{injectorKey: "image: x\n"}},
		system + "secrets/fairlead-ca":                             secret,
		system + "services/fairlead-controller":                    corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}, {Port: 15012}}}},
		system + "pods/c-1":                                        controller,
		"/api/v1/namespaces/shop/pods/web-1":                       web,
		"/api/v1/namespaces/shop/configmaps/fairlead-ca-root-cert": corev1.ConfigMap{ObjectMeta: named("shop", rootsConfigMap), Data: map[string]string{rootsKey: string(ca.pem)}},
		"/apis/apps/v1/namespaces/fairlead-system/deployments/fairlead-controller": appsv1.Deployment{
			Spec:   appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}},
			Status: appsv1.DeploymentStatus{ReadyReplicas: 1, UpdatedReplicas: 1},
		},
		"/apis/coordination.k8s.io/v1/namespaces/fairlead-system/leases/fairlead-leader": coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: new("c-1")}},
		"/apis/discovery.k8s.io/v1/namespaces/fairlead-system/endpointslices/s":          slice,
		rbac + "clusterrolebindings/fairlead-controller":                                 rbacv1.ClusterRoleBinding{ObjectMeta: named("", "fairlead-controller"), Subjects: subjects, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "r"}},
		rbac + "clusterrolebindings/other":                                               rbacv1.ClusterRoleBinding{ObjectMeta: named("", "other"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "gone"}},
		rbac + "clusterroles/r":                                                          rbacv1.ClusterRole{},
		rbac + "namespaces/fairlead-system/rolebindings/b":                               rbacv1.RoleBinding{ObjectMeta: named(SystemNamespace, "b"), Subjects: subjects, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "r"}},
		rbac + "namespaces/fairlead-system/roles/r":                                      rbacv1.Role{},
		admission + "mutatingwebhookconfigurations/fairlead-sidecar-injector": admissionv1.MutatingWebhookConfiguration{
			ObjectMeta: named("", injectorWebhook), Webhooks: []admissionv1.MutatingWebhook{{Name: "a", ClientConfig: service}},
		},
		admission + "validatingwebhookconfigurations/fairlead-validator": admissionv1.ValidatingWebhookConfiguration{
			ObjectMeta: named("", validatorWebhook), Webhooks: []admissionv1.ValidatingWebhook{{Name: "b", ClientConfig: service}},
		},
		"/apis/fairlead.dev":                 versionList("fairlead.dev/v1alpha1"),
		"/apis/fairlead.dev/v1alpha1":        kindList("HealthCheckPolicy"),
		"/apis/networking.istio.io":          versionList("networking.istio.io/v1", "networking.istio.io/v1alpha3"),
		"/apis/networking.istio.io/v1":       kindList("VirtualService", "DestinationRule"),
		"/apis/networking.istio.io/v1alpha3": kindList("ServiceEntry", "WorkloadEntry"),
		"/apis/security.istio.io":            versionList("security.istio.io/v1"),
		"/apis/security.istio.io/v1":         kindList("PeerAuthentication"),
		"/apis/telemetry.istio.io":           versionList("telemetry.istio.io/v1"),
		"/apis/telemetry.istio.io/v1":        kindList("Telemetry"),
	} {
		s.Put(t, path, object)
	}
	s.Listen(t, "fairlead-system/c-1", MonitorPort, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, map[string]string{
			"/version":        `{"version": "0.1.0"}`,
			"/debug/problemz": `[]`,
			"/debug/clusterz": `[{"id": "east", "secretName": "fairlead-system/east", "syncStatus": "synced"}]`,
			"/debug/syncz":    `[{"id": "web-1.shop", "namespace": "shop", "version": "0.1.0", "state": "SYNCED"}]`,
		}[r.URL.Path])
	}))
	serving := newServing(t, ca, "fairlead-controller.fairlead-system.svc", time.Now())
	certificate, err := tls.X509KeyPair(serving.pem, serving.keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	webhook := httptest.NewUnstartedServer(http.NotFoundHandler())
	webhook.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}
	webhook.StartTLS()
	t.Cleanup(webhook.Close)
	s.ListenRaw("fairlead-system/c-1", webhookPort, webhook.Listener)
}

func versionList(versions ...string) metav1.APIGroup {
	var group metav1.APIGroup
	for _, v := range versions {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: v})
	}
	return group
}

func kindList(kinds ...string) metav1.APIResourceList {
	var list metav1.APIResourceList
	for _, k := range kinds {
		list.APIResources = append(list.APIResources, metav1.APIResource{Kind: k})
	}
	return list
}

func TestGatherOfAWholeInstallation(t *testing.T) {
	s := clustertest.New(t)
	install(t, s)
	for _, scope := range []Scope{{Proxy: true}, {Proxy: true, Namespace: "shop"}, {}} {
		f := gather(t, s, scope)
		for _, c := range Evaluate(f) {
			for _, r := range c.Results {
				if r.Status != Passed {
					t.Errorf("%+v: %s: %s: %q, %s", scope, c.Name, r.Name, r.Details, r.Hint)
				}
			}
		}
		want := API{Server: f.API.Value.Server, Version: "v1.34.4+k3s1", Major: 1, Minor: 34, Ahead: f.API.Value.Ahead}
		if f.API.Value != want || f.API.Value.Ahead.Abs() > 10*time.Second {
			t.Errorf("API = %+v", f.API.Value)
		}
	}
}

// What a cluster holds of other meshes' objects is counted, in whatever version is served.
func TestGatherCountsWhatIsNotObeyed(t *testing.T) {
	s := clustertest.New(t)
	install(t, s)
	resources := func(kinds map[string]string) metav1.APIResourceList {
		var list metav1.APIResourceList
		for name, kind := range kinds {
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: name, Kind: kind})
		}
		return list
	}
	s.Put(t, "/apis/security.istio.io/v1", resources(map[string]string{"peerauthentications": "PeerAuthentication", "authorizationpolicies": "AuthorizationPolicy"}))
	s.Put(t, "/apis/gateway.networking.k8s.io", versionList("gateway.networking.k8s.io/v1"))
	s.Put(t, "/apis/gateway.networking.k8s.io/v1", resources(map[string]string{"httproutes": "HTTPRoute", "gateways": "Gateway"}))
	policy := metav1.PartialObjectMetadata{ObjectMeta: named("shop", "deny-all")}
	s.Put(t, "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/deny-all", policy)
	const routes = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/"
	route := func(name, parents string) {
		s.Put(t, routes+name, map[string]any{"metadata": named("shop", name), "spec": map[string]any{"parentRefs": json.RawMessage(parents)}})
	}
	route("ingress", `[{"name":"a"},{"name":"b"}]`)
	route("mesh", `[{"group":"","kind":"Service","name":"a"}]`)
	got := map[string]string{}
	for _, scope := range []Scope{{}, {Pre: true}} {
		for _, c := range Evaluate(gather(t, s, scope)) {
			for _, r := range c.Results {
				if strings.Contains(r.Anchor, "policies") || strings.Contains(r.Anchor, "unobeyed") {
					got[r.Anchor] = r.Status.String() + ": " + strings.Join(r.Details, "; ")
				}
			}
		}
	}
	const lost = "1 AuthorizationPolicy (security.istio.io) in namespace shop: the calls that it denies are let through"
	const gateway = "1 routes with a Gateway among their parents (httproutes) in namespace shop: no Gateway is served, which takes a controller of its own"
	want := map[string]string{
		"config-policies": "error: " + lost, "config-unobeyed": "warning: " + gateway, "pre-unobeyed": "warning: " + lost + "; " + gateway,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGatherKeepsWhyThereIsNoAnswer(t *testing.T) {
	s := clustertest.New(t)
	install(t, s)
	s.Fail("/api/v1/namespaces/fairlead-system/secrets/cacerts", http.StatusForbidden)
	s.Fail("/api/v1/namespaces", http.StatusForbidden)
	s.Fail("/apis/rbac.authorization.k8s.io/v1/clusterroles/r", http.StatusNotFound)
	s.Fail("/api/v1/namespaces/fairlead-system/pods/c-1/portforward", http.StatusForbidden)
	report := Evaluate(gather(t, s, Scope{Proxy: true, Namespace: "shop"}))
	got := map[string]string{}
	for _, c := range report {
		for _, r := range c.Results {
			if r.Status != Passed {
				got[r.Anchor] = r.Status.String()
			}
		}
	}
	want := map[string]string{
		"config-rbac": "error", "config-ca-bundle": "warning", "config-labels": "warning", "config-pod-security": "warning",
		"identity-ca": "warning", "identity-trust-domain": "warning", "identity-expiry": "warning", "identity-roots": "warning",
		"webhook-certificate": "error", "controller-answers": "error", "controller-version": "warning", "controller-problems": "warning", "controller-clusters": "warning",
		"controller-sync": "warning", "proxy-connected": "warning", "proxy-version": "warning",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is not well (-want +got):\n%s", diff)
	}
}

func TestGatherBeforeAnInstallation(t *testing.T) {
	s := clustertest.New(t)
	s.Put(t, "/version", map[string]string{"gitVersion": "v1.34.4", "major": "1", "minor": "34"})
	if r := Evaluate(gather(t, s, Scope{Pre: true})); !r.OK() || len(r) != 2 {
		t.Errorf("%+v", r)
	}
	s.Fail("rbac.authorization.k8s.io/clusterroles", http.StatusForbidden)
	got := find(Evaluate(gather(t, s, Scope{Pre: true})), accessRBAC)
	want := &Result{
		Name: "can create ClusterRoles and ClusterRoleBindings", Anchor: accessRBAC, Status: Failed,
		Details: []string{"may not create clusterroles.rbac.authorization.k8s.io"},
		Hint:    "install with the rights of a cluster admin, or let a cluster admin install",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.Fail("/version", http.StatusServiceUnavailable)
	if r := Evaluate(gather(t, s, Scope{})); r.OK() || len(r) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestWorkload(t *testing.T) {
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "web-5c8f-x", Labels: map[string]string{"pod-template-hash": "5c8f"},
				OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-5c8f", Controller: new(true)}},
			},
			Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning},
		}
		change(p)
		return p
	}
	in := map[string]string{injectLabel: enabled}
	base := Workload{Namespace: "shop", Name: "web-5c8f-x", Owner: "deploy/web"}
	with := func(change func(*Workload)) Workload {
		w := base
		change(&w)
		return w
	}
	for _, tt := range []struct {
		name   string
		pod    *corev1.Pod
		labels map[string]string
		want   Workload
	}{
		{"not opted in", pod(func(*corev1.Pod) {}), nil, base},
		{"slipped through", pod(func(*corev1.Pod) {}), in, with(func(w *Workload) { w.Missing = true })},
		{"opted out", pod(func(p *corev1.Pod) { p.Labels[injectLabel] = "disabled" }), in, base},
		{"host network", pod(func(p *corev1.Pod) { p.Spec.HostNetwork = true }), in, base},
		{"done", pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), in, with(func(w *Workload) { w.Missing, w.Finished = true, true })},
		{"no owner", pod(func(p *corev1.Pod) { p.OwnerReferences = nil }), nil, with(func(w *Workload) { w.Owner = "pod/web-5c8f-x" })},
		{"stateful", pod(func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "Node"}, {Kind: "StatefulSet", Name: "db", Controller: new(true)}}
		}), nil, with(func(w *Workload) { w.Owner = "statefulset/db" })},
		{"native", pod(func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: ProxyContainer}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "x"}, {Name: ProxyContainer, Ready: true}}
		}), in, with(func(w *Workload) { w.Sidecar = &Sidecar{Ready: true} })},
		{"classic, crashed", pod(func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: ProxyContainer})
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: ProxyContainer, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
		}), in, with(func(w *Workload) { w.Sidecar = &Sidecar{Trouble: "CrashLoopBackOff"} })},
		{"as the sidecar's user", pod(func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: new(int64(1337))}
			p.Spec.InitContainers = []corev1.Container{{Name: ProxyContainer, SecurityContext: &corev1.SecurityContext{RunAsUser: new(int64(1337))}}}
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: ProxyContainer, Ready: true}}
		}), in, with(func(w *Workload) { w.Sidecar, w.AsProxy = &Sidecar{Ready: true}, []string{"container app"} })},
		{"not started", pod(func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodPending
			p.Spec.InitContainers = []corev1.Container{{Name: ProxyContainer}}
		}), in, with(func(w *Workload) { w.Sidecar = &Sidecar{Trouble: "the pod is pending"} })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, workload(tt.pod, tt.labels)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
