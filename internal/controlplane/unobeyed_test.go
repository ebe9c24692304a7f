package controlplane

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
)

// askAdmission sends a request for an object, JSON, as the API server does.
func askAdmission(t *testing.T, h http.Handler, operation admissionv1.Operation, object, old string) *admissionv1.AdmissionResponse {
	t.Helper()
	var header metav1.TypeMeta
	if err := json.Unmarshal([]byte(object), &header); err != nil {
		t.Fatal(err)
	}
	kind := runtimeschema.FromAPIVersionAndKind(header.APIVersion, header.Kind)
	review := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "u", Operation: operation, Object: runtime.RawExtension{Raw: []byte(object)},
			Kind: metav1.GroupVersionKind{Group: kind.Group, Version: kind.Version, Kind: kind.Kind},
		},
	}
	if old != "" {
		review.Request.OldObject.Raw = []byte(old)
	}
	body, err := json.Marshal(review)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	review = admissionv1.AdmissionReview{}
	if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || review.Response == nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return review.Response
}

const namespaces = `
{apiVersion: v1, kind: Namespace, metadata: {name: ours, labels: {fairlead.dev/inject: enabled}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: theirs, labels: {istio-injection: enabled}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: pods, annotations: {fairlead.dev/status: "{}"}}, spec: {containers: [{name: a}, {name: fairlead-proxy}]}, status: {phase: Running, podIP: 10.0.0.9}}
`

// What the mesh APIs have and Fairlead does not obey is never accepted in silence.
func TestUnobeyedKindsAtAdmission(t *testing.T) {
	p := &ControlPlane{engine: engineWith(t, namespaces), metrics: newMetrics("test")}
	object := func(apiVersion, kind, namespace, more string) string {
		return `{"apiVersion":"` + apiVersion + `","kind":"` + kind + `","metadata":{"name":"x","namespace":"` + namespace + `"` + more + `},"spec":{"rules":[{}]}}`
	}
	policy := func(namespace, more string) string {
		return object("security.istio.io/v1", "AuthorizationPolicy", namespace, more)
	}
	for _, tt := range []struct {
		name, object, old string
		refused           bool
		want              string // part of the refusal or of the warning; "" for silence
	}{
		{name: "policy_of_a_namespace_that_opted_in", object: policy("ours", ""), refused: true, want: "namespace ours is in the mesh"},
		{name: "policy_of_a_namespace_with_meshed_pods", object: policy("pods", ""), refused: true, want: "namespace pods is in the mesh"},
		{name: "policy_for_the_whole_mesh", object: policy("fairlead-system", ""), refused: true, want: "for the whole mesh"},
		{name: "policy_of_another_mesh", object: policy("theirs", ""), want: "the calls that it denies are let through"},
		{name: "policy_of_linkerd", object: object("policy.linkerd.io/v1alpha1", "AuthorizationPolicy", "ours", ""), refused: true, want: "is in the mesh"},
		{
			name: "policy_that_was_there_and_only_loses_a_finalizer", object: policy("ours", ""), old: policy("ours", `,"finalizers":["a.b/c"]`),
			want: "the calls that it denies are let through",
		},
		{name: "tokens", object: object("security.istio.io/v1beta1", "RequestAuthentication", "ours", ""), want: "tokens are not checked"},
		{name: "gateway_api", object: object("gateway.networking.k8s.io/v1alpha2", "UDPRoute", "ours", ""), want: "UDPRoute"},
		{name: "linkerd", object: object("linkerd.io/v1alpha2", "ServiceProfile", "ours", ""), want: "write an HTTPRoute"},
		{name: "younger_than_this_program", object: object("networking.istio.io/v1", "Teleport", "ours", ""), want: "has no effect"},
		{name: "obeyed", object: object("networking.istio.io/v1beta1", "VirtualService", "ours", "")},
		{name: "harmless", object: object("gateway.networking.k8s.io/v1beta1", "ReferenceGrant", "ours", "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			operation := admissionv1.Create
			if tt.old != "" {
				operation = admissionv1.Update
			}
			r := askAdmission(t, p.unobeyedValidator(), operation, tt.object, tt.old)
			said := strings.Join(r.Warnings, "\n")
			if r.Allowed == tt.refused {
				t.Fatalf("allowed %v, want refused %v: %+v", r.Allowed, tt.refused, r)
			}
			if tt.refused {
				said = r.Result.Message
			}
			if !strings.Contains(said, tt.want) || tt.want == "" && said != "" {
				t.Errorf("it says %q, want %q", said, tt.want)
			}
		})
	}
}
