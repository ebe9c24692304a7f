package check

import (
	"context"
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/admin"
)

// trouble is one thing that is wrong, and what is said of it.
type trouble struct {
	name   string
	anchor string
	cause  func(*Facts, *pair)
	want   Status
	// says is in the details or the hint.
	says string
}

func apiTroubles() []trouble {
	return []trouble{
		{"unreachable", "api-query", func(f *Facts, _ *pair) { f.API.Err = errors.New("connection refused") }, Failed, "connection refused"},
		{"old", "api-version", func(f *Facts, _ *pair) { f.API.Value = API{Version: "v1.24.9", Major: 1, Minor: 24} }, Failed, "the API server is v1.24.9"},
		{"clock far ahead", "identity-clock", func(f *Facts, _ *pair) { f.API.Value.Ahead = time.Hour }, Failed, "1h0m0s ahead"},
		{"clock a little behind", "identity-clock", func(f *Facts, _ *pair) { f.API.Value.Ahead = -40 * time.Second }, Warned, "40s behind"},
	}
}

func configTroubles() []trouble {
	return []trouble{
		{"not installed", "config-namespace", func(f *Facts, _ *pair) { f.Namespace.Err = missing("namespaces") }, Failed, "fairlead install"},
		{"going", "config-namespace", func(f *Facts, _ *pair) { f.Namespace.Value.DeletionTimestamp = &metav1.Time{} }, Failed, "is being deleted"},
		{"hidden", "config-namespace", func(f *Facts, _ *pair) { f.Namespace.Err = denied("namespaces") }, Warned, "not checked"},
		{"no account", "config-service-account", func(f *Facts, _ *pair) { f.ServiceAccount.Err = missing("serviceaccounts") }, Failed, "fairlead upgrade"},
		{"no answer", "config-service-account", func(f *Facts, _ *pair) { f.ServiceAccount.Err = context.DeadlineExceeded }, Warned, "not checked"},
		{"something else", "config-service-account", func(f *Facts, _ *pair) { f.ServiceAccount.Err = errors.New("etcd is gone") }, Failed, "etcd is gone"},
		{"no bindings", "config-rbac", func(f *Facts, _ *pair) { f.Bindings.Value = nil }, Failed, "names ServiceAccount fairlead-system/fairlead-controller"},
		{"no cluster-wide binding", "config-rbac", func(f *Facts, _ *pair) { f.Bindings.Value = f.Bindings.Value[1:] }, Failed, "no ClusterRoleBinding names"},
		{"no role", "config-rbac", func(f *Facts, _ *pair) { f.Bindings.Value[0].RoleErr = missing("clusterroles") }, Failed, "refers to ClusterRole fairlead-controller, which does not exist"},
		{"hidden role", "config-rbac", func(f *Facts, _ *pair) { f.Bindings.Value[0].RoleErr = denied("clusterroles") }, Warned, "not checked"},
		{"no group", "config-crds", func(f *Facts, _ *pair) { f.Kinds[0].Served = Got[[]string]{Err: missing("x")} }, Warned, "Istio networking: the API server does not know DestinationRule, VirtualService"},
		{"a kind less", "config-crds", func(f *Facts, _ *pair) { f.Kinds[1].Served = Got[[]string]{Value: []string{"HTTPRoute"}} }, Warned, "Gateway API: the API server does not know GRPCRoute"},
		{"no injector", "config-injector", func(f *Facts, _ *pair) { f.Config.Err = missing("configmaps") }, Failed, "there is no ConfigMap fairlead-system/fairlead"},
		{"no key", "config-injector", func(f *Facts, _ *pair) { f.Config.Value.Data = nil }, Failed, "has no key injector.yaml"},
		{"a slip", "config-injector", func(f *Facts, _ *pair) { f.Config.Value.Data[injectorKey] = "imag: x\n" }, Failed, "imag"},
		{"no webhooks", "config-webhooks", func(f *Facts, _ *pair) { f.Webhooks.Value = nil }, Failed, "no pod gets a sidecar"},
		{"another's webhook", "config-webhooks", func(f *Facts, _ *pair) { f.Webhooks.Value[0].Service = "other/x" }, Failed, "asks other/x, not Service"},
		{"no caBundle", "config-ca-bundle", func(f *Facts, _ *pair) { f.Webhooks.Value[1].CABundle = nil }, Failed, "webhook validator.fairlead.dev: caBundle is empty"},
		{"bad caBundle", "config-ca-bundle", func(f *Facts, _ *pair) { f.Webhooks.Value[1].CABundle = []byte("x") }, Failed, "there is no certificate in it"},
		{"no CA to compare with", "config-ca-bundle", func(f *Facts, _ *pair) { f.CA.Err = denied("secrets") }, Warned, "not checked"},
	}
}

func unobeyedTroubles() []trouble {
	policies := func(namespaces ...string) func(*Facts, *pair) {
		return func(f *Facts, _ *pair) {
			u := Unobeyed{Kind: "AuthorizationPolicy (security.istio.io)", Loss: "calls are let through", Protects: true, ByNamespace: map[string]int{}}
			for _, ns := range namespaces {
				u.ByNamespace[ns] += 2
			}
			f.Unobeyed = []Got[[]Unobeyed]{{}, {Value: []Unobeyed{u}}}
		}
	}
	return []trouble{
		{"in a namespace that opted in", "config-policies", policies("shop", "default"), Failed, "2 AuthorizationPolicy (security.istio.io) in namespace shop: calls are let through"},
		{"for the whole mesh", "config-policies", policies("fairlead-system"), Failed, "in namespace fairlead-system"},
		{"where one pod opted in", "config-policies", func(f *Facts, ca *pair) {
			policies("default")(f, ca)
			f.Opted.Value = []string{"default"}
		}, Failed, "in namespace default"},
		{"that nothing enforces", "config-policies", policies("default"), Warned, "no mesh in this cluster enforces them"},
		{"hidden", "config-policies", func(f *Facts, _ *pair) { f.Unobeyed = []Got[[]Unobeyed]{{Err: denied("x")}} }, Warned, "not checked"},
		{"without effect", "config-unobeyed", func(f *Facts, _ *pair) {
			f.Unobeyed = []Got[[]Unobeyed]{{Value: []Unobeyed{{Kind: "Sidecar", Loss: "it narrows nothing down", ByNamespace: map[string]int{"shop": 1, "default": 7}}}}}
		}, Warned, "1 Sidecar in namespace shop: it narrows nothing down"},
	}
}

func namespaceTroubles() []trouble {
	with := func(n Namespace) func(*Facts, *pair) {
		return func(f *Facts, _ *pair) { f.Namespaces.Value = append(f.Namespaces.Value, n) }
	}
	roots := func(f *Facts, name string) { f.Roots.Value[name] = f.Roots.Value["shop"] }
	labelled := func(labels map[string]string) func(*Facts, *pair) {
		return with(Namespace{Name: "bank", Labels: labels})
	}
	return []trouble{
		{"a word of pods", "config-labels", labelled(map[string]string{injectLabel: "true"}), Warned, "namespace bank has the label fairlead.dev/inject=true, which means nothing"},
		{"Istio's label", "config-labels", labelled(map[string]string{istioInjection: "enabled"}), Warned, "namespace bank has istio-injection=enabled, for a mesh that has no injector here"},
		{"Istio's revision", "config-labels", labelled(map[string]string{istioRevision: "canary"}), Warned, "istio.io/rev=canary"},
		{"Linkerd's annotation", "config-labels", with(Namespace{Name: "bank", Linkerd: "enabled"}), Warned, "linkerd.io/inject=enabled"},
		{"an annotation", "config-labels", with(Namespace{Name: "bank", Annotated: "enabled"}), Warned, "it has to be a label"},
		{"two meshes", "config-labels", func(f *Facts, ca *pair) {
			labelled(map[string]string{istioInjection: "enabled", injectLabel: enabled})(f, ca)
			f.Webhooks.Value = append(f.Webhooks.Value, Webhook{Mutating: true, Config: "i", Name: "namespace.sidecar-injector.istio.io"})
			roots(f, "bank")
		}, Warned, "whichever sidecar comes first"},
		{"hidden", "config-labels", func(f *Facts, _ *pair) { f.Namespaces.Err = denied("namespaces") }, Warned, "not checked"},
		{"restricted", "config-pod-security", func(f *Facts, _ *pair) {
			f.Config.Value.Data[injectorKey], f.CNI.Err = "image: x\n", missing("daemonsets")
			f.Namespaces.Value[2].Labels[podSecurity] = "restricted"
		}, Failed, "namespace shop has pod-security.kubernetes.io/enforce=restricted: the API server refuses its pods"},
		{"levels hidden", "config-pod-security", func(f *Facts, _ *pair) { f.Namespaces.Err = denied("namespaces") }, Warned, "not checked"},
		{"the sidecar's user", "proxy-user", func(f *Facts, _ *pair) { f.Workloads.Value[0].AsProxy = []string{"container app"} }, Warned, "pod shop/web-1, container app: runs as user or group 1337"},
		{"opted in already", "proxy-pods", func(f *Facts, _ *pair) { f.Scope.Namespace, f.Workloads.Value = "shop", nil }, Warned, "no pod in namespace shop has a sidecar, although shop opted in"},
	}
}

func identityTroubles(t *testing.T) []trouble {
	t.Helper()
	other := func(f *Facts, domain string, life time.Duration) *pair { return newCA(t, domain, f.Now, life) }
	return []trouble{
		{"old caBundle", "config-ca-bundle", func(f *Facts, _ *pair) { f.CA.Value = other(f, "cluster.local", 1e18).secret() }, Failed, "lacks the root of Secret fairlead-system/fairlead-ca"},
		{"none", "identity-ca", func(f *Facts, _ *pair) { f.CA.Err = missing("secrets") }, Failed, "there is no Secret fairlead-system/fairlead-ca, nor cacerts"},
		{"wrong key", "identity-ca", func(f *Facts, _ *pair) {
			f.CA.Value.Data["ca.key"] = other(f, "cluster.local", 1e18).keyPEM
		}, Failed, "do not belong together"},
		{"no key", "identity-ca", func(f *Facts, _ *pair) { f.CA.Value.Data["ca.key"] = nil }, Failed, "key ca.key is missing"},
		{"a leaf", "identity-ca", func(f *Facts, ca *pair) {
			f.CA.Value = newServing(t, ca, "x", f.Now).secret()
		}, Failed, "is not that of a CA"},
		{"ended", "identity-ca", func(f *Facts, _ *pair) { f.Now = f.Now.AddDate(20, 0, 0) }, Failed, "has expired"},
		{"ended on the API server's clock", "identity-expiry", func(f *Facts, _ *pair) { f.API.Value.Ahead = 3700 * 24 * time.Hour }, Failed, "ended on 2036-11-19"},
		{"ends soon", "identity-expiry", func(f *Facts, _ *pair) { f.Now = f.Now.Add(3600 * 24 * time.Hour) }, Warned, "in 50 days"},
		{"hidden", "identity-expiry", func(f *Facts, _ *pair) { f.CA.Err = denied("secrets") }, Warned, "not checked"},
		{"another mesh's", "identity-trust-domain", func(f *Facts, _ *pair) { f.CA.Value = other(f, "example.org", 1e18).secret() }, Failed, "is of trust domain example.org, the controller runs with cluster.local"},
		{"flag in two words", "identity-trust-domain", func(f *Facts, _ *pair) {
			f.Deployment.Value.Spec.Template.Spec.Containers[0].Args = []string{"--trust-domain", "example.org"}
		}, Failed, "the controller runs with example.org"},
		{"no controller to compare with", "identity-trust-domain", func(f *Facts, _ *pair) { f.Deployment.Err = missing("deployments") }, Warned, "not checked"},
		{"no roots where they matter", "identity-roots", func(f *Facts, _ *pair) { delete(f.Roots.Value, "shop") }, Failed, "namespace shop has no ConfigMap fairlead-ca-root-cert"},
		{"no roots where they do not matter yet", "identity-roots", func(f *Facts, _ *pair) { delete(f.Roots.Value, "default") }, Warned, "namespace default has no ConfigMap"},
		{"old roots", "identity-roots", func(f *Facts, _ *pair) { f.Roots.Value["shop"] = string(other(f, "cluster.local", 1e18).pem) }, Failed, "ConfigMap shop/fairlead-ca-root-cert lacks the CA's root"},
		{"no certificate", "identity-roots", func(f *Facts, _ *pair) { f.Roots.Value["shop"] = "" }, Failed, "there is no certificate in it"},
	}
}

func webhookTroubles(t *testing.T) []trouble {
	t.Helper()
	return []trouble{
		{"no service", "webhook-service", func(f *Facts, _ *pair) { f.Service.Err = missing("services") }, Failed, "there is no Service"},
		{"no port", "webhook-service", func(f *Facts, _ *pair) { f.Service.Value.Spec.Ports[0].Port = 8443 }, Failed, "no port 443, that of the webhooks"},
		{"no endpoints", "webhook-endpoints", func(f *Facts, _ *pair) { f.Endpoints.Value = nil }, Failed, "has no endpoints"},
		{"none ready", "webhook-endpoints", func(f *Facts, _ *pair) {
			f.Endpoints.Value = []Endpoint{{Pod: "x"}}
		}, Failed, "has 1 endpoint, none of them ready"},
		{"another name", "webhook-certificate", func(f *Facts, ca *pair) {
			f.Replicas[1].Serving.Value[0] = newServing(t, ca, "other.svc", f.Now).cert
		}, Failed, "pod fairlead-controller-2: x509: certificate is valid for other.svc"},
		{"another CA", "webhook-certificate", func(f *Facts, _ *pair) {
			ca := newCA(t, "cluster.local", f.Now, time.Hour)
			f.Replicas[0].Serving.Value[0] = newServing(t, ca, "fairlead-controller.fairlead-system.svc", f.Now).cert
		}, Failed, "unknown authority"},
		{"no TLS", "webhook-certificate", func(f *Facts, _ *pair) { f.Replicas[0].Serving.Err = errors.New("nothing listens") }, Failed, "pod fairlead-controller-1: nothing listens"},
		{"no bundle", "webhook-certificate", func(f *Facts, _ *pair) { f.Webhooks.Value = nil }, Warned, "not checked"},
		{"nobody to ask", "webhook-certificate", func(f *Facts, _ *pair) { f.Replicas = nil }, Warned, "no control plane pod is ready"},
		{"none is ready", "webhook-renewal", func(f *Facts, _ *pair) { f.Replicas[0].Ready, f.Replicas[1].Ready = false, false }, Warned, "not checked"},
		{"late", "webhook-renewal", func(f *Facts, _ *pair) { f.Now = f.Now.Add(20 * time.Hour) }, Warned, "is not renewed"},
	}
}

func controllerTroubles() []trouble {
	status := func(f *Facts) *appsv1.DeploymentStatus { return &f.Deployment.Value.Status }
	container := func(f *Facts, s *corev1.ContainerStatus) {
		p := &f.Pods.Value[0]
		p.Status.Conditions, p.Status.ContainerStatuses = nil, []corev1.ContainerStatus{*s}
		s.Name = "controller"
		p.Status.ContainerStatuses[0].Name = "controller"
	}
	return []trouble{
		{"none", "controller-replicas", func(f *Facts, _ *pair) { f.Deployment.Err = missing("deployments") }, Failed, "there is no Deployment"},
		{"scaled away", "controller-replicas", func(f *Facts, _ *pair) { f.Deployment.Value.Spec.Replicas = new(int32(0)) }, Failed, "--replicas=1"},
		{"none ready", "controller-replicas", func(f *Facts, _ *pair) { status(f).ReadyReplicas = 0 }, Failed, "none of 2 replicas is ready"},
		{"one ready", "controller-replicas", func(f *Facts, _ *pair) { status(f).ReadyReplicas = 1 }, Warned, "1 of 2 replicas are ready"},
		{"rolling", "controller-replicas", func(f *Facts, _ *pair) { status(f).UpdatedReplicas = 1 }, Warned, "rollout status"},
		{"no pods", "controller-pods", func(f *Facts, _ *pair) {
			f.Pods.Value = nil
			status(f).Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota"}}
		}, Failed, "has no pods: exceeded quota"},
		{"crash", "controller-pods", func(f *Facts, _ *pair) {
			container(f, &corev1.ContainerStatus{
				RestartCount: 7, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}},
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "starting\nno such flag: -x\n"}},
			})
		}, Warned, "container controller: CrashLoopBackOff; it ended with code 1 (Error) 7 times: no such flag: -x"},
		{"image", "controller-pods", func(f *Facts, _ *pair) {
			container(f, &corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"}}})
		}, Warned, "container controller: ErrImagePull: no such image"},
		{"mount", "controller-pods", func(f *Facts, _ *pair) {
			container(f, &corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}})
			f.Events.Value = map[string]string{"Pod/fairlead-controller-1": "FailedMount: no such Secret"}
		}, Warned, "container controller: ContainerCreating; FailedMount: no such Secret"},
		{"ended", "controller-pods", func(f *Facts, _ *pair) {
			container(f, &corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}})
		}, Warned, "ended with code 137 (OOMKilled)"},
		{"all unready", "controller-pods", func(f *Facts, _ *pair) {
			f.Pods.Value = f.Pods.Value[:1]
			f.Pods.Value[0].Status.Conditions = nil
			f.Events.Value = map[string]string{"Pod/fairlead-controller-1": "Unhealthy: Readiness probe failed"}
		}, Failed, "running, but not ready; Unhealthy: Readiness probe failed"},
		{"not scheduled", "controller-pods", func(f *Facts, _ *pair) {
			f.Pods.Value[0].Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "no node has room"}}}
		}, Warned, "not scheduled: no node has room"},
		{"silent", "controller-answers", func(f *Facts, _ *pair) { f.Replicas[0].Version.Err = errors.New("nothing listens") }, Failed, "pod fairlead-controller-1: nothing listens"},
		{"no lease", "controller-leader", func(f *Facts, _ *pair) { f.Lease.Err = missing("leases") }, Warned, "there is no Lease"},
		{"free lease", "controller-leader", func(f *Facts, _ *pair) { f.Lease.Value.Spec.HolderIdentity = nil }, Warned, "no replica holds"},
		{"old lease", "controller-leader", func(f *Facts, _ *pair) { f.Lease.Value.Spec.RenewTime.Time = f.Now.Add(-time.Minute) }, Warned, "has not renewed it since 2026-11-22 11:59 UTC"},
		{"newer program", "controller-version", func(f *Facts, _ *pair) { f.CLI = "0.2.0" }, Warned, "2 pods of the control plane: version 0.1.0; this program: 0.2.0"},
		{"half an upgrade", "controller-version", func(f *Facts, _ *pair) { f.Replicas[1].Version.Value = "0.2.0" }, Warned, "1 pod of the control plane: version 0.2.0"},
		{"nobody answers", "controller-version", func(f *Facts, _ *pair) { f.Replicas = nil }, Warned, "not checked"},
		{"problems", "controller-problems", func(f *Facts, _ *pair) {
			for i := range f.Replicas {
				f.Replicas[i].Problems.Value = []admin.Problem{{Severity: "warning", Text: "VirtualService a/b: no such host"}}
			}
		}, Warned, "VirtualService a/b: no such host"},
		{"nobody tells problems", "controller-problems", func(f *Facts, _ *pair) { f.Replicas = nil }, Warned, "not checked"},
		{"cluster away", "controller-clusters", func(f *Facts, _ *pair) {
			for i := range f.Replicas {
				f.Replicas[i].Clusters.Value = []admin.RemoteCluster{{ID: "east", SecretName: "a/b", SyncStatus: "stale", Cause: "no answer"}, {ID: "north", SyncStatus: "synced"}}
			}
		}, Warned, "cluster east of a/b: stale: no answer"},
		{"cluster never read", "controller-clusters", func(f *Facts, _ *pair) {
			f.Replicas[0].Clusters.Value = []admin.RemoteCluster{{ID: "east", SyncStatus: "syncing", Cause: "Unauthorized"}}
		}, Warned, "syncing: Unauthorized"},
		{"two clusters of one name", "controller-clusters", func(f *Facts, _ *pair) {
			f.Replicas[0].Clusters.Value = []admin.RemoteCluster{{ID: "east", SecretName: "a/b", SyncStatus: "synced", Cause: "it calls itself west, as this cluster does"}}
		}, Warned, "cluster east of a/b: synced: it calls itself west, as this cluster does"},
		{"nobody tells of clusters", "controller-clusters", func(f *Facts, _ *pair) { f.Replicas = nil }, Warned, "not checked"},
		{"refusal", "controller-sync", func(f *Facts, _ *pair) {
			p := &f.Replicas[0].Proxies.Value[0]
			p.State, p.Refused = "ERROR", []admin.Refusal{{Resource: "dst/x", Reason: "no backends"}}
		}, Warned, "sidecar web-1.shop refuses dst/x: no backends"},
		{"too old", "controller-sync", func(f *Facts, _ *pair) {
			f.Replicas[0].Proxies.Value[0].LeftOut = []admin.Refusal{{Resource: "dst/x", Reason: "destination.backends: field 23"}}
		}, Warned, "sidecar web-1.shop is too old for a part of dst/x until its pod is restarted: destination.backends: field 23"},
		{"stale for long", "controller-sync", func(f *Facts, _ *pair) { f.Replicas[0].Proxies.Value[0].State = "STALE" }, Warned, "has not confirmed anything since 2026-11-22 11:00 UTC"},
		{"nobody tells of sidecars", "controller-sync", func(f *Facts, _ *pair) { f.Replicas = nil }, Warned, "not checked"},
	}
}

func otherTroubles() []trouble {
	return []trouble{
		{"no daemonset", "cni-daemonset", func(f *Facts, _ *pair) { f.CNI.Err = missing("daemonsets") }, Failed, "pods with a sidecar do not start"},
		{"not on every node", "cni-daemonset", func(f *Facts, _ *pair) { f.CNI.Value.Status.NumberReady = 2 }, Failed, "ready on 2 of 3 nodes"},
		{"rolling", "cni-daemonset", func(f *Facts, _ *pair) { f.CNI.Value.Status.UpdatedNumberScheduled = 2 }, Warned, "newest revision on 2 of 3 nodes"},
		{"nowhere", "cni-daemonset", func(f *Facts, _ *pair) { f.CNI.Value.Status.DesiredNumberScheduled = 0 }, Warned, "matches no node"},
		{"unused", "cni-injector", func(f *Facts, _ *pair) { f.Config.Value.Data[injectorKey] = "image: x\n" }, Warned, "init container all the same"},
		{"no pods known", "proxy-pods", func(f *Facts, _ *pair) { f.Workloads.Err = denied("pods") }, Warned, "not checked"},
		{"no sidecars", "proxy-pods", func(f *Facts, _ *pair) { f.Scope.Namespace, f.Workloads.Value = "default", nil }, Warned, "no pod in namespace default has a sidecar"},
		{"not ready", "proxy-ready", func(f *Facts, _ *pair) { f.Workloads.Value[0].Sidecar.Ready = false }, Failed, "pod shop/web-1: fairlead-proxy: running, but not ready"},
		{"crash", "proxy-ready", func(f *Facts, _ *pair) {
			w := &f.Workloads.Value[0]
			w.Created, w.Sidecar = f.Now, &Sidecar{Trouble: "CrashLoopBackOff"}
		}, Failed, "fairlead-proxy: CrashLoopBackOff"},
		{"just begun", "proxy-ready", func(f *Facts, _ *pair) {
			w := &f.Workloads.Value[0]
			w.Created, w.Sidecar = f.Now.Add(-time.Second), &Sidecar{}
		}, Warned, "running, but not ready"},
		{"started before", "proxy-missing", func(f *Facts, _ *pair) {
			for _, name := range []string{"a", "b", "c", "d"} {
				f.Workloads.Value = append(f.Workloads.Value, Workload{Namespace: "shop", Name: name, Owner: "deploy/old", Missing: true})
			}
		}, Warned, "namespace shop, deploy/old: 4 pods without a sidecar: a, b, c and 1 more"},
		{"not connected", "proxy-connected", func(f *Facts, _ *pair) { f.Replicas[1].Proxies.Value = nil }, Warned, "pod shop/web-2 goes on with the configuration it has"},
		{"perhaps connected", "proxy-connected", func(f *Facts, _ *pair) { f.Replicas[1].Proxies.Err = errors.New("x") }, Warned, "not checked"},
		{"old sidecar", "proxy-version", func(f *Facts, _ *pair) { f.Replicas[0].Proxies.Value[0].Version = "0.0.9" }, Warned, "sidecar web-1.shop: version 0.0.9, control plane: 0.1.0"},
		{"no version to compare with", "proxy-version", func(f *Facts, _ *pair) { f.Replicas = nil }, Warned, "not checked"},
	}
}

func preTroubles() []trouble {
	deny := func(anchor string) func(*Facts, *pair) {
		return func(f *Facts, _ *pair) {
			for i := range f.Access {
				if f.Access[i].Check == anchor {
					f.Access[i].Allowed.Value, f.Access[i].Reason = false, "no rule"
				}
			}
		}
	}
	with := func(w Webhook) func(*Facts, *pair) {
		return func(f *Facts, _ *pair) { f.Webhooks.Value = []Webhook{w} }
	}
	return []trouble{
		{"another's", "pre-installed", with(Webhook{Mutating: true, Config: injectorWebhook, Service: "mesh/x"}), Failed, "belongs to an installation in namespace mesh"},
		{"ours", "pre-installed", with(Webhook{Config: validatorWebhook, Service: "fairlead-system/fairlead-controller"}), Warned, "fairlead upgrade"},
		{"going", "pre-installed", func(f *Facts, _ *pair) {
			f.Namespace = Got[corev1.Namespace]{Value: corev1.Namespace{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{}}}}
		}, Failed, "is being deleted"},
		{"hidden", "pre-installed", func(f *Facts, _ *pair) { f.Webhooks.Err = denied("x") }, Warned, "not checked"},
		{"Istio", "pre-other-mesh", with(Webhook{Mutating: true, Config: "istio-sidecar-injector", Name: "namespace.sidecar-injector.istio.io"}), Warned, "Istio injects sidecars"},
		{"Linkerd", "pre-other-mesh", with(Webhook{Mutating: true, Config: "l", Name: "linkerd-proxy-injector.linkerd.io"}), Warned, "Linkerd injects sidecars"},
		{"unobeyed", "pre-unobeyed", func(f *Facts, _ *pair) {
			f.Unobeyed = []Got[[]Unobeyed]{{Value: []Unobeyed{{Kind: "AuthorizationPolicy", Loss: "x", Protects: true, ByNamespace: map[string]int{"a": 2, "b": 1}}}}}
		}, Warned, "3 AuthorizationPolicy in namespaces a, b: x"},
		{"unobeyed hidden", "pre-unobeyed", func(f *Facts, _ *pair) { f.Unobeyed = []Got[[]Unobeyed]{{Err: denied("x")}} }, Warned, "not checked"},
		{"namespace", accessNamespace, deny(accessNamespace), Failed, "may not create pre-create-namespace: no rule"},
		{"rbac", accessRBAC, deny(accessRBAC), Failed, "rights of a cluster admin"},
		{"crds", accessCRD, deny(accessCRD), Failed, "may not"},
		{"webhooks", accessWebhook, deny(accessWebhook), Failed, "may not"},
		{"objects", accessObjects, deny(accessObjects), Failed, "may not"},
		{"no review", accessObjects, func(f *Facts, _ *pair) { f.Access[4].Allowed.Err = denied("x") }, Warned, "not checked"},
	}
}
