package file

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	istionetv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	kubeyaml "sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

const virtualService = `# a comment
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: users
  namespace: myapp
  annotations:
    fairlead.dev/inject: "false"
spec:
  hosts: [users]
  http:
  - route:
    - destination: {host: users, subset: v1}
      weight: 90
    - destination:
        host: users
        subset: v2
        port: {number: 8080}
      weight: 10
    timeout: 1m30s
    retries:
      attempts: 3
      retryOn: 5xx
`

func decodeOne(t *testing.T, name, text string) source.Object {
	t.Helper()
	objects, problems := Decode(name, []byte(text))
	if len(objects) != 1 || len(problems) != 0 {
		t.Fatalf("Decode = %d objects, problems %v, want one object", len(objects), problems)
	}
	return objects[0]
}

func TestDecodeVirtualServiceValue(t *testing.T) {
	o := decodeOne(t, "vs.yaml", virtualService)
	vs, ok := o.Value.(*istionetv1.VirtualService)
	if !ok {
		t.Fatalf("Value is a %T", o.Value)
	}
	if want := (model.Ref{Kind: "VirtualService", Key: model.Key{Namespace: "myapp", Name: "users"}}); o.Ref != want {
		t.Errorf("Ref = %v, want %v", o.Ref, want)
	}
	http := vs.Spec.GetHttp()[0]
	routes := http.GetRoute()
	if len(routes) != 2 || routes[0].GetWeight() != 90 || routes[1].GetDestination().GetPort().GetNumber() != 8080 {
		t.Errorf("routes = %v", routes)
	}
	if got := http.GetTimeout().AsDuration().String(); got != "1m30s" {
		t.Errorf("timeout = %s, want 1m30s", got)
	}
	if got := http.GetRetries().GetRetryOn(); got != "5xx" {
		t.Errorf("retryOn = %q, want 5xx", got)
	}
}

func TestDecodeValues(t *testing.T) {
	t.Run("enum_by_name", func(t *testing.T) {
		o := decodeOne(t, "dr.yaml", `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a}, spec: {host: a, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}}`)
		got := o.Value.(*istionetv1.DestinationRule).Spec.GetTrafficPolicy().GetLoadBalancer().GetSimple()
		if got != networkingv1alpha3.LoadBalancerSettings_ROUND_ROBIN {
			t.Errorf("simple: ROUND_ROBIN is read as %v", got)
		}
	})
	t.Run("default_namespace", func(t *testing.T) {
		o := decodeOne(t, "svc.json", `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80, "targetPort": "http"}]}}`)
		svc := o.Value.(*corev1.Service)
		if svc.Namespace != "default" || o.Ref.Namespace != "default" || svc.Spec.Ports[0].TargetPort.StrVal != "http" {
			t.Errorf("Service = %v", svc)
		}
	})
	t.Run("merge_keys", func(t *testing.T) {
		o := decodeOne(t, "ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels: &l {a: b, c: d}\n  annotations: {<<: *l, c: e}\n")
		want := map[string]string{"a": "b", "c": "e"}
		if diff := cmp.Diff(want, o.Value.(*corev1.Namespace).Annotations); diff != "" {
			t.Errorf("annotations (-want +got):\n%s", diff)
		}
	})
	t.Run("beta_route_is_v1", func(t *testing.T) {
		o := decodeOne(t, "r.yaml", `{apiVersion: gateway.networking.k8s.io/v1beta1, kind: HTTPRoute, metadata: {name: a}, spec: {rules: [{timeouts: {request: 5s}}]}}`)
		if got := *o.Value.(*gatewayv1.HTTPRoute).Spec.Rules[0].Timeouts.Request; got != "5s" {
			t.Errorf("timeout = %v", got)
		}
	})
	t.Run("pod_status_is_kept_and_istio_status_dropped", func(t *testing.T) {
		pod := decodeOne(t, "p.yaml", `{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {podIP: 10.0.0.1, x: 1}}`)
		if got := pod.Value.(*corev1.Pod).Status.PodIP; got != "10.0.0.1" {
			t.Errorf("podIP = %q", got)
		}
		decodeOne(t, "v.yaml", `{apiVersion: networking.istio.io/v1, kind: VirtualService, status: {conditions: 7}, metadata: {name: a}}`)
	})
}

func TestLocate(t *testing.T) {
	inList := "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: b\n"
	objects, _ := Decode("list.yaml", []byte(inList))
	for _, tt := range []struct {
		name, field string
		object      source.Object
		want        string
	}{
		{"first_line", "", decodeOne(t, "vs.yaml", "---\n"+virtualService), "vs.yaml:3"},
		{"field", "spec.hosts", decodeOne(t, "vs.yaml", virtualService), "vs.yaml:10"},
		{"inside_a_flow_map", "spec.http[0].route[0].destination.subset", decodeOne(t, "vs.yaml", virtualService), "vs.yaml:13"},
		{"inside_a_list", "spec.http[0].route[1].destination.subset", decodeOne(t, "vs.yaml", virtualService), "vs.yaml:17"},
		{"absent_gives_the_parent", "spec.http[0].route[1].headers.request", decodeOne(t, "vs.yaml", virtualService), "vs.yaml:15"},
		{"index_out_of_range", "spec.http[7].route", decodeOne(t, "vs.yaml", virtualService), "vs.yaml:11"},
		{"json_name_of_a_proto_name", "spec.http[0].retries.retryOn", decodeOne(t, "vs.yaml", virtualService), "vs.yaml:23"},
		{"key_with_dots", "metadata.annotations[fairlead.dev/inject]", decodeOne(t, "vs.yaml", virtualService), "vs.yaml:8"},
		{"quoted_key", `metadata.annotations["fairlead.dev/inject"]`, decodeOne(t, "vs.yaml", virtualService), "vs.yaml:8"},
		{"nonsense", "[[..]x[", decodeOne(t, "vs.yaml", virtualService), "vs.yaml:2"},
		{"item_of_a_list", "metadata.name", objects[1], "list.yaml:8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.object.Locate(tt.field).String(); got != tt.want {
				t.Errorf("Locate(%q) = %s, want %s", tt.field, got, tt.want)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	for _, tt := range []struct{ name, word, want string }{
		{"transposed", "lables", "labels"},
		{"case", "NAMESPACE", "namespace"},
		{"prefix", "meta", "metadata"},
		{"inside", "abels", "labels"},
		{"nothing_near", "xyzzy", ""},
		{"too_short", "m", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := nearest(tt.word, []string{"metadata", "labels", "namespace"}); got != tt.want {
				t.Errorf("nearest(%q) = %q, want %q", tt.word, got, tt.want)
			}
		})
	}
}

// scalars are ways to write a plain value whose meaning differs between versions of YAML.
func scalars() []string {
	return []string{
		"yes", "Yes", "NO", "on", "off", "y", "n", "true", "True", "~", "null", "Null", "nULL", "a", "-", "+", ".", "..", "1", "-1", "+1",
		"1_000", "0777", "0o17", "0b11", "-0b11", "+0b11", "0x1F", "-0x1F", "1.0", "1.", ".5", "-.5", "+.5", "1e3", "1.5e-3", "1e400", "1e21", "1e-7", "123456789012345678901",
		"18446744073709551615", "-9223372036854775808", "1:20", "2026-01-31", "2026-1-3", "2026-01-31T08:00:00Z", "2026-01-31 08:00:00", "20260-01-31",
		"1__0", "_1", "1_", "08", "0_7", ".inf", "-.inf", "+.INF", ".nan", ".NaN", "-.nan", "5s", "1.2.3", "10.0.0.1", "0.0", "-0", "-0.0", "1.10", "0x", "0b", "0b2", "Infinity", "inf", "nan", "1e", "e1",
		"!!str 1", "!!str yes", "!!int 1", "!!int a", "!!float 1", "!!bool yes", "!!null x", "!!str", `"yes"`, `'1'`, "!!int \"1\"", "!foo a", "=", "<",
	}
}

// kubectlJSON gives what kubectl makes of a YAML text.
func kubectlJSON(text string) (value any, ok bool) {
	data, err := kubeyaml.YAMLToJSON([]byte(text))
	if err != nil {
		return nil, false
	}
	return value, json.Unmarshal(data, &value) == nil
}

// ourJSON gives what the walker makes of it.
func ourJSON(text string) (value any, ok bool) {
	root, err := parse(text)
	if err != nil || root == nil {
		return nil, false
	}
	w := walker{}
	w.value(root, &place{schema: &schema{shape: anyShape}})
	if len(w.mistakes) > 0 {
		return nil, false
	}
	return value, json.Unmarshal(w.out, &value) == nil
}

func TestScalarsMeanWhatTheyMeanToKubectl(t *testing.T) {
	for _, s := range scalars() {
		for _, text := range []string{"a: " + s + "\n", s + ": b\n"} {
			want, wantOK := kubectlJSON(text)
			got, ok := ourJSON(text)
			if diff := cmp.Diff(want, got); wantOK && ok && diff != "" {
				t.Errorf("%s (-kubectl +ours):\n%s", text, diff)
			}
			if !wantOK && ok && text[:3] == "a: " {
				t.Errorf("%s: read as %v, kubectl refuses it", text, got)
			}
		}
	}
}

// FuzzDecode: whatever the text, Decode ends, does not panic, says the same twice, and never both accepts and
// silently drops a document.
func FuzzDecode(f *testing.F) {
	archives, err := filepath.Glob("testdata/decode/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			if file.Name != "want" {
				f.Add(filepath.Ext(file.Name) == ".json", file.Data)
			}
		}
	}
	f.Add(false, []byte(strings.Repeat("[", 5000)))
	f.Add(true, []byte(strings.Repeat(`{"a":`, 5000)))
	f.Add(false, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"+strings.Repeat("x: 1\n", 60)))
	f.Add(false, []byte("a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: &s {spec: *s}\n"))
	f.Fuzz(func(t *testing.T, isJSON bool, data []byte) {
		name := "x.yaml"
		if isJSON {
			name = "x.json"
		}
		var first, second strings.Builder
		describe(&first, name, data)
		describe(&second, name, data)
		if diff := cmp.Diff(first.String(), second.String()); diff != "" {
			t.Errorf("Decode differs (-first +second):\n%s", diff)
		}
		if strings.Count(first.String(), "\n") != strings.Count(strings.ToValidUTF8(first.String(), ""), "\n") {
			t.Errorf("not one line per problem: %q", first.String())
		}
	})
}

// FuzzMeaning: a document that both read means the same to kubectl and to us.
func FuzzMeaning(f *testing.F) {
	for _, s := range scalars() {
		f.Add("a: " + s)
	}
	f.Add("a: &x {b: 1}\nc: {<<: *x, d: [1, 2]}\n")
	f.Add("<<: {a: 1}\na: 2\n")
	f.Fuzz(func(t *testing.T, text string) {
		var n yaml.Node
		if strings.ContainsAny(text, "!%") || strings.Contains(text, "---") || strings.Contains(text, "...") || yaml.Unmarshal([]byte(text), &n) != nil {
			return // tags, directives and many documents are not what this is about
		}
		got, ok := ourJSON(text)
		want, wantOK := kubectlJSON(text)
		if ok && wantOK {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q (-kubectl +ours):\n%s", text, diff)
			}
		}
	})
}

func TestFolded(t *testing.T) {
	for name, want := range map[string]string{"virtual_Service": "virtualservice", "apiVersion": "apiversion", "a-b": "ab", "ÄÖ_ü": "äöü"} {
		if got := folded(name); got != want {
			t.Errorf("folded(%q) = %q, want %q", name, got, want)
		}
	}
}
