package install

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/deploy"
)

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
