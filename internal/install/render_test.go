package install

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/deploy"
	"fairlead.dev/fairlead/internal/config/catalog"
	"fairlead.dev/fairlead/internal/inject"
	kubesource "fairlead.dev/fairlead/internal/source/kube"
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
mesh: {accessLog: off, outboundPolicy: REGISTRY_ONLY, trustDomain: example.org, trustDomainAliases: [old.example.org, cluster.local], clusterDomain: example.local, clusterID: "one: two # three"}
proxy: {excludeInboundPorts: 80, excludeOutboundPorts: "25,8000-8010", nativeSidecar: false, resources: {limits: {memory: 64Mi}}}
cni: {enabled: true, repair: label, confName: 10-x.conflist, podAnnotations: {a: b}, seLinuxOptions: {type: spc_t}, maxUnavailable: 10%}
crds: {istio: true, smi: true, gatewayAPI: true}
podDisruptionBudget: {minAvailable: 50%}
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

// TestRenderedObjectsHaveNoUnknownFields decodes everything that any case renders into its Go type.
func TestRenderedObjectsHaveNoUnknownFields(t *testing.T) {
	for file, a := range cases(t) {
		o := caseOptions(t, a)
		if !strings.Contains(file, "customised") { // one with the definitions is enough
			o.Values = append(o.Values, values(t, noForeignKinds))
		}
		for _, o := range rendered(t, o).Objects {
			into := typed(o)
			if into == nil {
				t.Fatalf("%s: no type for %s", file, refOf(o))
			}
			text, err := o.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			d := json.NewDecoder(bytes.NewReader(text))
			d.DisallowUnknownFields()
			if err := d.Decode(into); err != nil {
				t.Errorf("%s: %s: %v", file, refOf(o), err)
			}
		}
	}
}

func typed(o *unstructured.Unstructured) any {
	switch o.GetKind() {
	case "Namespace":
		return &corev1.Namespace{}
	case "CustomResourceDefinition":
		return &apiextensionsv1.CustomResourceDefinition{}
	case "ServiceAccount":
		return &corev1.ServiceAccount{}
	case "ClusterRole":
		return &rbacv1.ClusterRole{}
	case "ClusterRoleBinding":
		return &rbacv1.ClusterRoleBinding{}
	case "Role":
		return &rbacv1.Role{}
	case "RoleBinding":
		return &rbacv1.RoleBinding{}
	case "ConfigMap":
		return &corev1.ConfigMap{}
	case "Service":
		return &corev1.Service{}
	case "NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	case "PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}
	case "DaemonSet":
		return &appsv1.DaemonSet{}
	case "Deployment":
		return &appsv1.Deployment{}
	case "MutatingWebhookConfiguration":
		return &admissionv1.MutatingWebhookConfiguration{}
	case "ValidatingWebhookConfiguration":
		return &admissionv1.ValidatingWebhookConfiguration{}
	}
	return nil
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

// TestTemplatesReadNoUnknownValue renders with an error instead of an empty text for what does not exist.
func TestTemplatesReadNoUnknownValue(t *testing.T) {
	for _, text := range []string{somewhere, everything} {
		ch, err := loadChart()
		if err != nil {
			t.Fatal(err)
		}
		options := chartutil.ReleaseOptions{Name: "fairlead", Namespace: "n", IsInstall: true}
		capabilities := chartutil.DefaultCapabilities.Copy()
		capabilities.KubeVersion.Version = "v1.30.0"
		top, err := chartutil.ToRenderValues(ch, values(t, text).Settings, options, capabilities)
		if err != nil {
			t.Fatal(err)
		}
		files, err := engine.Engine{Strict: true}.Render(ch, top)
		if err != nil {
			t.Fatal(err)
		}
		if objects, err := parseObjects(files); err != nil || len(objects) == 0 {
			t.Errorf("rendered as Helm would: %d objects, %v", len(objects), err)
		} else if slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Namespace" }) {
			t.Error("Helm would render the namespace of the release")
		}
	}
}

// TestHelmLeavesDefinitionsOfOthersAlone: Helm refuses a release that contains an object which another one, or none, made.
func TestHelmLeavesDefinitionsOfOthersAlone(t *testing.T) {
	const name = "virtualservices.networking.istio.io"
	for _, tt := range []struct {
		name        string
		annotations map[string]any // nil: there is no such definition
		rendered    bool
	}{
		{"none", nil, true},
		{"made_by_nobody_of_helm", map[string]any{}, false},
		{"of_this_release", map[string]any{"meta.helm.sh/release-name": "fairlead", "meta.helm.sh/release-namespace": "n"}, true},
		{"of_another_release", map[string]any{"meta.helm.sh/release-name": "istio-base", "meta.helm.sh/release-namespace": "n"}, false},
		{"of_another_namespace", map[string]any{"meta.helm.sh/release-name": "fairlead", "meta.helm.sh/release-namespace": "m"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ch, err := loadChart()
			if err != nil {
				t.Fatal(err)
			}
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if tt.annotations == nil || path.Base(r.URL.Path) != name {
					w.WriteHeader(http.StatusNotFound)
					io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
					return
				}
				json.NewEncoder(w).Encode(map[string]any{
					"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
					"metadata": map[string]any{"name": name, "annotations": tt.annotations},
				})
			}))
			t.Cleanup(api.Close)
			client, err := dynamic.NewForConfig(&rest.Config{Host: api.URL})
			if err != nil {
				t.Fatal(err)
			}
			options := chartutil.ReleaseOptions{Name: "fairlead", Namespace: "n", IsInstall: true}
			top, err := chartutil.ToRenderValues(ch, values(t, somewhere).Settings, options, chartutil.DefaultCapabilities)
			if err != nil {
				t.Fatal(err)
			}
			files, err := engine.RenderWithClientProvider(ch, top, definitions{client})
			if err != nil {
				t.Fatal(err)
			}
			objects, err := parseObjects(files)
			if err != nil {
				t.Fatal(err)
			}
			r := &Release{Objects: objects}
			if got := exists(r, "CustomResourceDefinition", name); got != tt.rendered {
				t.Errorf("%s is rendered: %t, want %t", name, got, tt.rendered)
			}
			if !exists(r, "CustomResourceDefinition", "trafficsplits.split.smi-spec.io") {
				t.Error("a definition that is not there is not rendered")
			}
		})
	}
}

// definitions is a cluster that templates may look definitions of kinds up in.
type definitions struct{ client dynamic.Interface }

func (d definitions) GetClientFor(string, string) (dynamic.NamespaceableResourceInterface, bool, error) {
	return d.client.Resource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")), false, nil
}

// TestHelmRefusesToGuessWhereTheImagesAre: a hub by default would be a name that anybody may have registered.
func TestHelmRefusesToGuessWhereTheImagesAre(t *testing.T) {
	ch, err := loadChart()
	if err != nil {
		t.Fatal(err)
	}
	options := chartutil.ReleaseOptions{Name: "fairlead", Namespace: "n", IsInstall: true}
	top, err := chartutil.ToRenderValues(ch, map[string]any{}, options, chartutil.DefaultCapabilities)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Render(ch, top); err == nil || !strings.Contains(err.Error(), "image.hub is not set: say where the images are") {
		t.Errorf("Render = %v, want an error about image.hub", err)
	}
}

// TestSchemaKnowsEveryValue compares the settings of values.yaml with those of the schema.
func TestSchemaKnowsEveryValue(t *testing.T) {
	chart, err := deploy.Chart()
	if err != nil {
		t.Fatal(err)
	}
	text, err := fs.ReadFile(chart, "values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	schemaText, err := fs.ReadFile(chart, "values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defaults := values(t, string(text))
	if err := check(schemaText, []Values{defaults}); err != nil {
		t.Errorf("defaults: %v", err)
	}
	var root schema
	if err := json.Unmarshal(schemaText, &root); err != nil {
		t.Fatal(err)
	}
	want := []string{"global"}
	for name, section := range root.Properties {
		for key := range section.Properties {
			want = append(want, name+"."+key)
		}
	}
	got := []string{"global"}
	for name, section := range defaults.Settings {
		table, ok := section.(map[string]any)
		if !ok {
			t.Fatalf("%s is not a section", name)
		}
		for key := range table {
			got = append(got, name+"."+key)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-schema +values.yaml):\n%s", diff)
	}
}

// TestObjectsFitIntoAnAnnotation keeps `kubectl apply` possible: it stores the object in an annotation, and those of an
// object may have 262,144 bytes together.
func TestObjectsFitIntoAnAnnotation(t *testing.T) {
	for _, o := range rendered(t, Options{Values: []Values{values(t, everything)}}).Objects {
		text, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if size := len(text); size > 240_000 {
			t.Errorf("%s has %d bytes", refOf(o), size)
		}
	}
}

func TestInjectorConfigIsWhatTheInjectorReads(t *testing.T) {
	for name, text := range map[string]string{"defaults": "{}", "everything": everything} {
		t.Run(name, func(t *testing.T) {
			r := rendered(t, Options{Version: "1.2.3", Values: []Values{values(t, text), values(t, noForeignKinds)}})
			config, err := inject.ParseConfig([]byte(find[corev1.ConfigMap](t, r, "ConfigMap", "fairlead").Data["injector.yaml"]), inject.Config{})
			if err != nil {
				t.Fatal(err)
			}
			want := inject.DefaultConfig()
			want.Image = "registry.example.com/mesh/proxy:1.2.3"
			want.Resources = config.Resources
			want.ImagePullPolicy = "IfNotPresent"
			if name == "everything" {
				want.Image, want.ImagePullPolicy, want.ImagePullSecrets = "registry.local:5000/mesh/proxy:v9", "Always", []inject.SecretName{"a", "b"}
				want.NativeSidecar, want.CNI, want.ExcludeInboundPorts, want.ExcludeOutboundPorts = inject.No, true, "80", "25,8000-8010"
			}
			if diff := cmp.Diff(want, config); diff != "" {
				t.Errorf("injector.yaml (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWebhooksLeaveTheAuthorityToTheController: what is applied must not name caBundle, or an upgrade would take it away.
func TestWebhooksLeaveTheAuthorityToTheController(t *testing.T) {
	r := rendered(t, Options{Values: small(t, "{}")})
	mutating := find[admissionv1.MutatingWebhookConfiguration](t, r, "MutatingWebhookConfiguration", "fairlead-sidecar-injector")
	for _, w := range mutating.Webhooks {
		if w.ClientConfig.CABundle != nil {
			t.Errorf("%s has a caBundle", w.Name)
		}
		for _, ns := range []string{"kube-system", "kube-node-lease", "kube-public", DefaultNamespace} {
			if !slices.ContainsFunc(w.NamespaceSelector.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool {
				return e.Key == "kubernetes.io/metadata.name" && e.Operator == "NotIn" && slices.Contains(e.Values, ns)
			}) {
				t.Errorf("%s would ask for pods of %s", w.Name, ns)
			}
		}
	}
	validating := find[admissionv1.ValidatingWebhookConfiguration](t, r, "ValidatingWebhookConfiguration", "fairlead-validator")
	for _, w := range validating.Webhooks {
		if w.ClientConfig.CABundle != nil || *w.FailurePolicy != admissionv1.Ignore {
			t.Errorf("%s: caBundle %q, failurePolicy %s", w.Name, w.ClientConfig.CABundle, *w.FailurePolicy)
		}
	}
}

// TestValidatorIsAskedAboutEveryKindOfAMesh keeps the chart's groups and those of the catalog the same: a kind that the
// webhook is not asked about could be void in silence.
func TestValidatorIsAskedAboutEveryKindOfAMesh(t *testing.T) {
	r := rendered(t, Options{Values: small(t, "webhook: {validationFailurePolicy: Fail}")})
	config := find[admissionv1.ValidatingWebhookConfiguration](t, r, "ValidatingWebhookConfiguration", "fairlead-validator")
	i := slices.IndexFunc(config.Webhooks, func(w admissionv1.ValidatingWebhook) bool {
		return *w.ClientConfig.Service.Path == "/validate/unobeyed"
	})
	if i < 0 {
		t.Fatalf("no webhook asks at /validate/unobeyed: %+v", config.Webhooks)
	}
	w := config.Webhooks[i]
	if *w.FailurePolicy != admissionv1.Ignore {
		t.Errorf("failurePolicy %s: other controllers could not write their objects while ours is away", *w.FailurePolicy)
	}
	if w.NamespaceSelector != nil || w.ObjectSelector != nil {
		t.Errorf("selectors %v, %v leave objects out", w.NamespaceSelector, w.ObjectSelector)
	}
	all := admissionv1.NamespacedScope
	want := []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: catalog.Groups(), APIVersions: []string{"*"}, Resources: []string{"*"}, Scope: &all},
	}}
	if diff := cmp.Diff(want, w.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// TestRules says what the controller may do, once as the packages that use it say.
func TestRules(t *testing.T) {
	r := rendered(t, Options{Values: []Values{values(t, everything), values(t, noForeignKinds)}})
	want := grants{}
	for _, rule := range kubesource.Rules() {
		want.add([]string{rule.Group}, []string{rule.Resource}, nil, rule.Verbs)
	}
	// What internal/kube uses.
	want.add([]string{"authentication.k8s.io"}, []string{"tokenreviews"}, nil, []string{"create"})
	want.add([]string{""}, []string{"configmaps"}, []string{"fairlead-ca-root-cert"}, []string{"list", "watch", "create", "patch"})
	want.add([]string{"admissionregistration.k8s.io"}, []string{"mutatingwebhookconfigurations"}, []string{"fairlead-sidecar-injector"}, []string{"list", "watch", "patch"})
	want.add([]string{"admissionregistration.k8s.io"}, []string{"validatingwebhookconfigurations"}, []string{"fairlead-validator"}, []string{"list", "watch", "patch"})
	got := grants{}
	got.addRules(find[rbacv1.ClusterRole](t, r, "ClusterRole", "fairlead-controller").Rules)
	if diff := cmp.Diff(want.sorted(), got.sorted()); diff != "" {
		t.Errorf("ClusterRole fairlead-controller (-used +granted):\n%s", diff)
	}
	for _, o := range r.Objects {
		if o.GetKind() != "ClusterRole" && o.GetKind() != "Role" {
			continue
		}
		granted := grants{}
		granted.addRules(find[rbacv1.ClusterRole](t, r, o.GetKind(), o.GetName()).Rules)
		for g := range granted {
			if strings.Contains(g, "*") {
				t.Errorf("%s: wildcard in %q", refOf(o), g)
			}
			if o.GetKind() == "ClusterRole" && strings.Contains(g, "secrets") {
				t.Errorf("%s reaches secrets of all namespaces: %q", refOf(o), g)
			}
		}
	}
}

// grants are single permissions: "group resource name verb".
type grants map[string]bool

func (g grants) add(groups, resources, names, verbs []string) {
	if len(names) == 0 {
		names = []string{""}
	}
	for _, group := range groups {
		for _, resource := range resources {
			for _, name := range names {
				for _, verb := range verbs {
					g[fmt.Sprintf("%q %s %q %s", group, resource, name, verb)] = true
				}
			}
		}
	}
}

func (g grants) addRules(rules []rbacv1.PolicyRule) {
	for _, r := range rules {
		g.add(r.APIGroups, r.Resources, r.ResourceNames, r.Verbs)
	}
}

func (g grants) sorted() []string { return slices.Sorted(maps.Keys(g)) }

// TestControllerIsRestricted checks what the restricted Pod Security Standard demands of a pod.
func TestControllerIsRestricted(t *testing.T) {
	d := find[appsv1.Deployment](t, rendered(t, Options{Values: []Values{values(t, everything), values(t, noForeignKinds)}}), "Deployment", "fairlead-controller")
	spec := d.Spec.Template.Spec
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		t.Error("the pod shares a namespace of the host")
	}
	for _, v := range spec.Volumes {
		if v.ConfigMap == nil {
			t.Errorf("volume %s is not a ConfigMap", v.Name)
		}
	}
	s := spec.SecurityContext
	if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser == 0 ||
		s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("securityContext of the pod = %+v", s)
	}
	for _, c := range spec.Containers {
		s := c.SecurityContext
		if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Privileged != nil ||
			s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.Capabilities == nil ||
			!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
			t.Errorf("securityContext of %s = %+v", c.Name, s)
		}
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				t.Errorf("%s has host port %d", c.Name, p.HostPort)
			}
		}
	}
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

// TestSplitsDefinition checks what no API server would: that every version takes weights as their controllers write them.
func TestSplitsDefinition(t *testing.T) {
	crd := find[apiextensionsv1.CustomResourceDefinition](t, rendered(t, Options{Values: small(t, "{}")}), "CustomResourceDefinition", "trafficsplits.split.smi-spec.io")
	var versions []string
	for _, v := range crd.Spec.Versions {
		versions = append(versions, v.Name)
		backend := v.Schema.OpenAPIV3Schema.Properties["spec"].Properties["backends"].Items.Schema
		if !v.Served || !backend.Properties["weight"].XIntOrString {
			t.Errorf("%s: served %v, weight %+v", v.Name, v.Served, backend.Properties["weight"])
		}
	}
	if diff := cmp.Diff([]string{"v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1"}, versions); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
}

// TestValuesFilesAreValid renders the presets of the chart as Helm would.
func TestValuesFilesAreValid(t *testing.T) {
	ha, err := HighlyAvailable()
	if err != nil {
		t.Fatal(err)
	}
	r := rendered(t, Options{Values: append(small(t, "{}"), ha)})
	if d := find[appsv1.Deployment](t, r, "Deployment", "fairlead-controller"); *d.Spec.Replicas < 2 {
		t.Errorf("replicas = %d", *d.Spec.Replicas)
	}
	if !exists(r, "PodDisruptionBudget", "fairlead-controller") {
		t.Error("no budget")
	}
	text, err := yaml.Marshal(r.Values)
	if err != nil || !strings.Contains(string(text), "podAntiAffinity") {
		t.Errorf("values of the release = %s, %v", text, err)
	}
}
