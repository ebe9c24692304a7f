package install

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// everything turns on all that is optional.
const everything = `
image: {hub: "registry.local:5000/mesh", tag: v9, pullPolicy: Always, pullSecrets: [a, b]}
controller:
  replicas: 3
  tolerations: [{key: a, operator: Exists}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
  topologySpreadConstraints: [{topologyKey: a, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {a: b}}}]
  priorityClassName: system-cluster-critical
  podAnnotations: {a: b, prometheus.io/scrape: "false"}
  podLabels: {c: d}
  extraArgs: [--pprof]
  resources: {requests: {cpu: 1}, limits: {memory: 1Gi}}
mesh: {accessLog: off, outboundPolicy: REGISTRY_ONLY, trustDomain: example.org, trustDomainAliases: [old.example.org, cluster.local], clusterDomain: example.local, clusterID: "one: two # three", network: net1, localityLbSetting: {failover: [{from: west, to: east}]}}
proxy: {excludeInboundPorts: 80, excludeOutboundPorts: "25,8000-8010", nativeSidecar: false, resources: {limits: {memory: 64Mi}}}
cni: {enabled: true, repair: label, confName: 10-x.conflist, podAnnotations: {a: b}, seLinuxOptions: {type: spc_t}, maxUnavailable: 10%}
gateway:
  enabled: true
  network: net2
  replicas: 3
  service: {type: ClusterIP, externalIPs: [192.0.2.1, "2001:db8::1"], annotations: {a: b}}
  extraArgs: [--max-connections=5000]
  tolerations: [{key: a, operator: Exists}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
  topologySpreadConstraints: [{topologyKey: a, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {a: b}}}]
  priorityClassName: system-cluster-critical
  podAnnotations: {a: b, prometheus.io/scrape: "false"}
crds: {istio: true, smi: true, gatewayAPI: true}
podDisruptionBudget: {minAvailable: 50%}
dashboards: {enabled: true, annotations: {grafana_folder: Mesh}}
alerts: {enabled: true, labels: {release: prometheus}}
networkPolicy: {enabled: true, metricsFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]}
`

// noForeignKinds leaves out the definitions that take long to read, for tests of something else.
const noForeignKinds = "crds: {istio: false, smi: true, gatewayAPI: false}"

// small are values over those of noForeignKinds.
func small(t testing.TB, text string) []Values {
	t.Helper()
	return []Values{values(t, noForeignKinds), values(t, text)}
}

// somewhere says where the images are.
const somewhere = "image: {hub: registry.example.com/mesh}"

func values(t testing.TB, text string) Values {
	t.Helper()
	v, err := ParseValues("values.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func rendered(t testing.TB, o Options) *Release {
	t.Helper()
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	o.Values = append([]Values{values(t, somewhere)}, o.Values...)
	r, err := Render(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// cases are the golden files: options and values, and what comes of them.
func cases(t testing.TB) map[string]*txtar.Archive {
	t.Helper()
	files, err := filepath.Glob("testdata/render/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	all := map[string]*txtar.Archive{}
	for _, f := range files {
		a, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[f] = a
	}
	return all
}

// caseOptions reads the options of a case: lines "key value".
func caseOptions(t testing.TB, a *txtar.Archive) Options {
	t.Helper()
	o := Options{Namespace: DefaultNamespace, Version: "1.2.3"}
	for _, f := range a.Files {
		switch f.Name {
		case "options":
			for line := range strings.Lines(string(f.Data)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
				switch key {
				case "namespace":
					o.Namespace = value
				case "kube-version":
					o.KubeVersion = value
				case "ha":
					ha, err := HighlyAvailable()
					if err != nil {
						t.Fatal(err)
					}
					o.Values = append(o.Values, ha)
				default:
					t.Fatalf("unknown option %q", key)
				}
			}
		case "values.yaml":
			o.Values = append(o.Values, values(t, string(f.Data)))
		}
	}
	return o
}

// TestRender compares what is rendered with golden files. Of definitions of kinds they hold the names.
func TestRender(t *testing.T) {
	for file, a := range cases(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			r := rendered(t, caseOptions(t, a))
			r.Objects = slices.Clone(r.Objects)
			var names []string
			r.Objects = slices.DeleteFunc(r.Objects, func(o *unstructured.Unstructured) bool {
				if o.GetKind() != "CustomResourceDefinition" {
					return false
				}
				names = append(names, o.GetName()+"\n")
				return true
			})
			var got bytes.Buffer
			if err := r.WriteYAML(&got); err != nil {
				t.Fatal(err)
			}
			compareGolden(t, file, a, map[string]string{"crds": strings.Join(names, ""), "want.yaml": got.String()})
		})
	}
}

func compareGolden(t *testing.T, file string, a *txtar.Archive, got map[string]string) {
	t.Helper()
	want := map[string]string{}
	inputs := a.Files[:0:0]
	for _, f := range a.Files {
		if _, ok := got[f.Name]; ok {
			want[f.Name] = string(f.Data)
		} else {
			inputs = append(inputs, f)
		}
	}
	if *update {
		for _, name := range slices.Sorted(maps.Keys(got)) {
			inputs = append(inputs, txtar.File{Name: name, Data: []byte(got[name])})
		}
		a.Files = inputs
		if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rendered (-want +got; -update rewrites):\n%s", diff)
	}
}

// find decodes the object of a kind and name; it must be there.
func find[T any](t testing.TB, r *Release, kind, name string) *T {
	t.Helper()
	for _, o := range r.Objects {
		if o.GetKind() != kind || o.GetName() != name {
			continue
		}
		out := new(T)
		text, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	t.Fatalf("no %s %s", kind, name)
	return nil
}

func exists(r *Release, kind, name string) bool {
	return slices.ContainsFunc(r.Objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
}

func TestRenderOptions(t *testing.T) {
	tests := []struct {
		name string
		o    Options
		want string // in the error; empty for none
		look func(*testing.T, *Release)
	}{
		{
			name: "no_place_for_images", o: Options{Values: []Values{values(t, `image: {hub: ""}`)}},
			want: "image.hub is not set: say where the images are, such as --set image.hub=registry.example.com/mesh",
		},
		{name: "namespace_that_cannot_be", o: Options{Namespace: "Not_a_name"}, want: `namespace "Not_a_name"`},
		{name: "kubernetes_too_old", o: Options{KubeVersion: "v1.20.3"}, want: "Kubernetes v1.20.3 is too old: Fairlead needs >=1.27.0"},
		{name: "kubernetes_version_that_is_none", o: Options{KubeVersion: "new"}, want: `"new"`},
		{name: "version_of_a_provider", o: Options{KubeVersion: "v1.33.5-gke.1125000+x"}},
		{
			name: "no_budget_for_one_replica", o: Options{},
			look: func(t *testing.T, r *Release) {
				t.Helper()
				if exists(r, "PodDisruptionBudget", "fairlead-controller") {
					t.Error("a budget of 1 for 1 replica blocks the draining of its node")
				}
			},
		},
		{
			name: "a_gateway_without_a_network", o: Options{Values: []Values{values(t, "gateway: {enabled: true}")}},
			want: "gateway.network is not set: say which network the gateway leads into, such as --set gateway.network=net1, or set mesh.network",
		},
		{
			name: "a_network_that_is_no_label", o: Options{Values: []Values{values(t, `gateway: {enabled: true, network: "net 1"}`)}},
			want: "gateway.network: 'net 1' does not match pattern",
		},
		{
			name: "a_gateway_of_the_mesh_s_network", o: Options{Values: []Values{values(t, "mesh: {network: net1}\ngateway: {enabled: true, replicas: 1}")}},
			look: func(t *testing.T, r *Release) {
				t.Helper()
				if got := find[corev1.Service](t, r, "Service", "fairlead-gateway").Labels["topology.istio.io/network"]; got != "net1" {
					t.Errorf("the Service is the gateway of %q", got)
				}
				if got := find[appsv1.Deployment](t, r, "Deployment", "fairlead-gateway").Spec.Template.Labels["topology.istio.io/network"]; got != "net1" {
					t.Errorf("the pods are of network %q", got)
				}
				if exists(r, "PodDisruptionBudget", "fairlead-gateway") {
					t.Error("there is a budget for one replica")
				}
			},
		},
		{
			name: "no_gateway_unless_asked_for", o: Options{},
			look: func(t *testing.T, r *Release) {
				t.Helper()
				if exists(r, "Deployment", "fairlead-gateway") || exists(r, "Service", "fairlead-gateway") || exists(r, "ServiceAccount", "fairlead-gateway") {
					t.Error("there is a gateway")
				}
			},
		},
		{
			name: "sleep_before_the_end_only_where_it_is_known", o: Options{KubeVersion: "1.29"},
			look: func(t *testing.T, r *Release) {
				t.Helper()
				if c := find[appsv1.Deployment](t, r, "Deployment", "fairlead-controller").Spec.Template.Spec.Containers[0]; c.Lifecycle != nil {
					t.Errorf("lifecycle = %v", c.Lifecycle)
				}
			},
		},
		{
			name: "null_takes_a_default_away", o: Options{Values: []Values{values(t, "controller: {resources: null}")}},
			look: func(t *testing.T, r *Release) {
				t.Helper()
				if c := find[appsv1.Deployment](t, r, "Deployment", "fairlead-controller").Spec.Template.Spec.Containers[0]; c.Resources.Requests != nil {
					t.Errorf("requests = %v", c.Resources.Requests)
				}
			},
		},
		{
			name: "a_port_without_tls_where_it_is_asked_for", o: Options{Values: []Values{values(t, "controller: {plaintextXDS: true}\nnetworkPolicy: {enabled: true}")}},
			look: func(t *testing.T, r *Release) {
				t.Helper()
				if args := find[appsv1.Deployment](t, r, "Deployment", "fairlead-controller").Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--grpc-addr=:15010") {
					t.Errorf("arguments %q", args)
				}
				if ports := find[corev1.Service](t, r, "Service", "fairlead-controller").Spec.Ports; !slices.ContainsFunc(ports, func(p corev1.ServicePort) bool { return p.Port == 15010 }) {
					t.Errorf("ports %v", ports)
				}
			},
		},
		{
			name: "the_installer_writes_to_the_node_only_in_a_privileged_namespace", o: Options{Values: []Values{values(t, "cni: {enabled: true}")}},
			look: func(t *testing.T, r *Release) {
				t.Helper()
				if got := find[corev1.Namespace](t, r, "Namespace", DefaultNamespace).Labels["pod-security.kubernetes.io/enforce"]; got != "privileged" {
					t.Errorf("enforce = %s", got)
				}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.o.Namespace == "" {
				tt.o.Namespace = DefaultNamespace
			}
			tt.o.Values = append(small(t, somewhere), tt.o.Values...)
			r, err := Render(tt.o)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("Render = %v, want an error with %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.look != nil {
				tt.look(t, r)
			}
		})
	}
}

func TestWriteYAMLIsInOrderAndReadsBack(t *testing.T) {
	r := rendered(t, Options{Values: []Values{values(t, everything), values(t, noForeignKinds)}})
	var text bytes.Buffer
	if err := r.WriteYAML(&text); err != nil {
		t.Fatal(err)
	}
	objects, err := parseObjects(map[string]string{"out.yaml": text.String()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Objects, objects); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if objects[0].GetKind() != "Namespace" || objects[1].GetKind() != "CustomResourceDefinition" {
		t.Errorf("begins with %s and %s, want the namespace and a CRD", refOf(objects[0]), refOf(objects[1]))
	}
}

func TestWriteRemoval(t *testing.T) {
	r := rendered(t, Options{Values: small(t, "{}")})
	tests := []struct {
		name        string
		keep        Keep
		first, last string
	}{
		{"keeps_what_users_have", Keep{CRDs: true, CA: true}, "ValidatingWebhookConfiguration", "ServiceAccount"},
		{"purges_all", Keep{}, "ValidatingWebhookConfiguration", "Namespace"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var text bytes.Buffer
			if err := r.WriteRemoval(&text, tt.keep); err != nil {
				t.Fatal(err)
			}
			objects, err := parseObjects(map[string]string{"out.yaml": text.String()})
			if err != nil {
				t.Fatal(err)
			}
			if got := objects[0].GetKind(); got != tt.first {
				t.Errorf("first = %s, want %s", got, tt.first)
			}
			if got := objects[len(objects)-1].GetKind(); got != tt.last {
				t.Errorf("last = %s, want %s", got, tt.last)
			}
			if strings.Contains(text.String(), "spec:") {
				t.Error("more than names")
			}
		})
	}
}

// TestMonitoring: dashboards and alerts are objects where they are asked for, and nowhere else.
func TestMonitoring(t *testing.T) {
	none := rendered(t, Options{Values: small(t, "{}")})
	for _, o := range none.Objects {
		if strings.HasPrefix(o.GetName(), "fairlead-dashboard-") || o.GetKind() == "PrometheusRule" {
			t.Errorf("%s is there unasked", refOf(o))
		}
	}
	r := rendered(t, Options{Values: small(t, "{dashboards: {enabled: true, annotations: {grafana_folder: Mesh}}, alerts: {enabled: true, labels: {release: prom}}}")})
	for _, name := range []string{"mesh", "workload", "control-plane"} {
		m := find[corev1.ConfigMap](t, r, "ConfigMap", "fairlead-dashboard-"+name)
		if m.Labels["grafana_dashboard"] != "1" || m.Annotations["grafana_folder"] != "Mesh" {
			t.Errorf("%s: labels %v, annotations %v", m.Name, m.Labels, m.Annotations)
		}
		var page struct{ UID string }
		if err := json.Unmarshal([]byte(m.Data["fairlead-"+name+".json"]), &page); err != nil || page.UID != "fairlead-"+name {
			t.Errorf("%s: uid %q, %v", m.Name, page.UID, err)
		}
	}
	rule := find[struct {
		Metadata struct{ Labels map[string]string }
		Spec     struct {
			Groups []struct {
				Name  string
				Rules []struct{ Alert, Expr string }
			}
		}
	}](t, r, "PrometheusRule", "fairlead")
	if rule.Metadata.Labels["release"] != "prom" || len(rule.Spec.Groups) != 2 || rule.Spec.Groups[0].Rules[0].Alert != "FairleadNoHealthyUpstream" {
		t.Errorf("PrometheusRule: %+v", rule)
	}
	alerts := slices.IndexFunc(r.Objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "PrometheusRule" })
	webhooks := slices.IndexFunc(r.Objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "MutatingWebhookConfiguration" })
	if alerts > webhooks {
		t.Error("the webhooks are applied before the PrometheusRule")
	}
}
