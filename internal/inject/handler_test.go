package inject_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"fairlead.dev/fairlead/internal/inject"
)

// seen is what Observe was told.
type seen struct {
	outcome inject.Outcome
	reason  inject.Reason
}

func newHandler(namespaces map[string]map[string]string, into *[]seen) http.Handler {
	return inject.NewHandler(inject.HandlerOptions{
		Config: defaultConfig,
		Native: func() bool { return true },
		Namespaces: func(name string) (map[string]string, bool) {
			labels, ok := namespaces[name]
			return labels, ok
		},
		Logger:  slog.New(slog.DiscardHandler),
		Observe: func(o inject.Outcome, d inject.Decision) { *into = append(*into, seen{o, d.Reason}) },
	})
}

// review wraps an object as the API server does.
func review(tb testing.TB, object any, change func(*admissionv1.AdmissionRequest)) []byte {
	tb.Helper()
	raw, err := json.Marshal(object)
	if err != nil {
		tb.Fatal(err)
	}
	r := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "u1", Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"}, Namespace: "myapp",
			Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: raw},
		},
	}
	if change != nil {
		change(r.Request)
	}
	body, err := json.Marshal(r)
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

func send(h http.Handler, body []byte) *http.Response {
	r := httptest.NewRequest(http.MethodPost, "/inject", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func ask(tb testing.TB, h http.Handler, body []byte) *admissionv1.AdmissionResponse {
	tb.Helper()
	resp := send(h, body)
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		tb.Fatalf("status %d, %v: %s", resp.StatusCode, err, answer)
	}
	var out admissionv1.AdmissionReview
	if err := json.Unmarshal(answer, &out); err != nil || out.APIVersion != "admission.k8s.io/v1" || out.Kind != "AdmissionReview" || out.Response == nil {
		tb.Fatalf("%s: %v", answer, err)
	}
	return out.Response
}

// TestHandlerDoesWhatEditDoes sends every pod of the golden files through the webhook.
func TestHandlerDoesWhatEditDoes(t *testing.T) {
	for _, s := range stories(t) {
		t.Run(s.name, func(t *testing.T) {
			h := inject.NewHandler(inject.HandlerOptions{
				Config: func() inject.Config { return s.request.Config }, Native: func() bool { return s.request.Native },
				Namespaces: func(string) (map[string]string, bool) { return nil, false }, Logger: slog.New(slog.DiscardHandler),
			})
			in, _ := s.file("in.yaml")
			s.inject(in, func(before, after *corev1.Pod, d inject.Decision) {
				object := before.DeepCopy()
				object.Namespace = "" // as the API server sends what a workload creates
				resp := ask(t, h, review(t, object, func(r *admissionv1.AdmissionRequest) { r.Namespace = before.Namespace }))
				if !resp.Allowed || (resp.Patch != nil) != d.Inject() || resp.AuditAnnotations["decision"] != d.String() {
					t.Fatalf("response %+v, want %s", resp, d)
				}
				if resp.Patch == nil {
					return
				}
				if *resp.PatchType != admissionv1.PatchTypeJSONPatch {
					t.Errorf("patch type %s", *resp.PatchType)
				}
				got, err := applyPatch(tree(t, before), resp.Patch)
				if diff := cmp.Diff(tree(t, after), got, cmpopts.EquateEmpty()); err != nil || diff != "" {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
			})
		})
	}
}

func TestHandler(t *testing.T) {
	namespaces := map[string]map[string]string{"off": {key: "disabled"}, "stale": {}}
	hostNetwork := app(nil, nil)
	hostNetwork.Spec.HostNetwork = true
	tests := []struct {
		name    string
		object  any
		change  func(*admissionv1.AdmissionRequest)
		want    seen
		message string
	}{
		{name: "unknown_namespace", object: app(nil, nil), want: seen{inject.Success, inject.Injected}},
		{
			name: "informer_behind", object: app(nil, nil), want: seen{inject.Success, inject.Injected},
			change: func(r *admissionv1.AdmissionRequest) { r.Namespace = "stale" },
		},
		{
			name: "namespace_that_says_no", object: app(nil, nil), want: seen{inject.Skip, inject.Disabled},
			change: func(r *admissionv1.AdmissionRequest) { r.Namespace = "off" },
		},
		{name: "host_network", object: hostNetwork, want: seen{inject.Skip, inject.HostNetwork}},
		{
			name: "not_a_creation", object: app(nil, nil), want: seen{inject.Skip, ""},
			change: func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Update },
		},
		{
			name: "not_a_pod", object: app(nil, nil), want: seen{inject.Skip, ""},
			change: func(r *admissionv1.AdmissionRequest) { r.Resource.Resource = "services" },
		},
		{
			name: "subresource", object: app(nil, nil), want: seen{inject.Skip, ""},
			change: func(r *admissionv1.AdmissionRequest) { r.SubResource = "ephemeralcontainers" },
		},
		{
			name: "no_object", object: app(nil, nil), want: seen{inject.Failure, ""},
			change:  func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte(`"pod"`) },
			message: "fairlead: the object is no Pod: a value of type string stands here, expected a mapping",
		},
		{
			name: "a_bad_annotation", object: app(nil, map[string]string{"fairlead.dev/drain": "5"}), want: seen{inject.Failure, ""},
			message: `fairlead: annotation fairlead.dev/drain: "5" is no duration; write 5s or 1m30s`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []seen
			resp := ask(t, newHandler(namespaces, &got), review(t, tt.object, tt.change))
			if diff := cmp.Diff([]seen{tt.want}, got, cmp.AllowUnexported(seen{})); diff != "" {
				t.Errorf("observed (-want +got):\n%s", diff)
			}
			if resp.UID != "u1" || resp.Allowed != (tt.want.outcome != inject.Failure) || (resp.Patch != nil) != (tt.want.outcome == inject.Success) {
				t.Errorf("response %+v", resp)
			}
			if tt.message != "" && (resp.Result == nil || resp.Result.Message != tt.message || resp.Result.Code != http.StatusUnprocessableEntity) {
				t.Errorf("result %+v, want %s", resp.Result, tt.message)
			}
		})
	}
}

func TestHandlerWarns(t *testing.T) {
	var got []seen
	resp := ask(t, newHandler(nil, &got), review(t, app(nil, map[string]string{"fairlead.dev/dran": "5s"}), nil))
	want := []string{"fairlead: unknown annotation fairlead.dev/dran, did you mean fairlead.dev/drain?"}
	if diff := cmp.Diff(want, resp.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestHandlerRefusesWhatIsNoReview(t *testing.T) {
	good := review(t, app(nil, nil), nil)
	tests := []struct {
		name, method, contentType string
		body                      []byte
		want                      int
	}{
		{"a_get", http.MethodGet, "application/json", nil, http.StatusMethodNotAllowed},
		{"a_form", http.MethodPost, "application/x-www-form-urlencoded", good, http.StatusUnsupportedMediaType},
		{"no_type", http.MethodPost, "", good, http.StatusUnsupportedMediaType},
		{"no_json", http.MethodPost, "application/json", []byte("{"), http.StatusBadRequest},
		{"another_version", http.MethodPost, "application/json", bytes.Replace(good, []byte("k8s.io/v1"), []byte("k8s.io/v1beta1"), 1), http.StatusBadRequest},
		{"no_request", http.MethodPost, "application/json", []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`), http.StatusBadRequest},
		{"too_much", http.MethodPost, "application/json", []byte(`"` + strings.Repeat("x", 9<<20) + `"`), http.StatusRequestEntityTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []seen
			r := httptest.NewRequest(tt.method, "/inject", bytes.NewReader(tt.body))
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			w := httptest.NewRecorder()
			newHandler(nil, &got).ServeHTTP(w, r)
			if w.Code != tt.want || len(got) != 1 || got[0].outcome != inject.Failure {
				t.Errorf("status %d (%s), observed %v, want %d", w.Code, w.Body, got, tt.want)
			}
		})
	}
}

// TestHandlerTakesLargePods: 3 MiB is what the API server takes.
func TestHandlerTakesLargePods(t *testing.T) {
	pod := app(nil, nil)
	pod.Spec.Containers[0].Args = []string{strings.Repeat("x", 3<<20-1024)}
	var got []seen
	if resp := ask(t, newHandler(nil, &got), review(t, pod, nil)); !resp.Allowed || resp.Patch == nil {
		t.Errorf("response %+v", resp)
	}
}
