package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
)

const good = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","operation":"CREATE","namespace":"myapp"}}`

// send asks a handler that refuses everything in namespace "closed", and counts what was no review.
func send(t *testing.T, method, media, body string) (answer *httptest.ResponseRecorder, strange int) {
	t.Helper()
	h := Handler(func(_ context.Context, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if r.Namespace == "closed" {
			return Refuse("the namespace is closed")
		}
		return &admissionv1.AdmissionResponse{Allowed: true, Warnings: Warnings([]string{"take care"})}
	}, func(*http.Request, error) { strange++ })
	r := httptest.NewRequest(method, "/", bytes.NewReader([]byte(body)))
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	answer = httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer, strange
}

func TestHandlerAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, body, message string
		allowed             bool
	}{
		{"allowed", good, "", true},
		{"refused", strings.Replace(good, "myapp", "closed", 1), "fairlead: the namespace is closed", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, strange := send(t, http.MethodPost, "application/json; charset=utf-8", tt.body)
			var review admissionv1.AdmissionReview
			if err := json.Unmarshal(answer.Body.Bytes(), &review); err != nil || answer.Code != http.StatusOK || strange != 0 {
				t.Fatalf("status %d, %v: %s", answer.Code, err, answer.Body)
			}
			r := review.Response
			if review.Kind != "AdmissionReview" || review.APIVersion != "admission.k8s.io/v1" || r.UID != "u1" || r.Allowed != tt.allowed {
				t.Errorf("answer %s", answer.Body)
			}
			if !tt.allowed && (r.Result.Message != tt.message || r.Result.Code != http.StatusUnprocessableEntity) {
				t.Errorf("result %+v", r.Result)
			}
			if tt.allowed && (len(r.Warnings) != 1 || r.Warnings[0] != "fairlead: take care") {
				t.Errorf("warnings %q", r.Warnings)
			}
		})
	}
}

func TestHandlerRefusesWhatIsNoReview(t *testing.T) {
	for _, tt := range []struct {
		name, method, media, body string
		want                      int
	}{
		{"a_get", http.MethodGet, "application/json", "", http.StatusMethodNotAllowed},
		{"a_form", http.MethodPost, "application/x-www-form-urlencoded", good, http.StatusUnsupportedMediaType},
		{"no_type", http.MethodPost, "", good, http.StatusUnsupportedMediaType},
		{"no_json", http.MethodPost, "application/json", "{", http.StatusBadRequest},
		{"another_version", http.MethodPost, "application/json", strings.Replace(good, "k8s.io/v1", "k8s.io/v1beta1", 1), http.StatusBadRequest},
		{"no_request", http.MethodPost, "application/json", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, http.StatusBadRequest},
		{"no_uid", http.MethodPost, "application/json", strings.Replace(good, "u1", "", 1), http.StatusBadRequest},
		{"too_much", http.MethodPost, "application/json", strings.Repeat(" ", maxReview+1), http.StatusRequestEntityTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, strange := send(t, tt.method, tt.media, tt.body)
			if answer.Code != tt.want || strange != 1 || answer.Body.Len() == 0 {
				t.Errorf("status %d (%s), told of %d, want %d", answer.Code, answer.Body, strange, tt.want)
			}
		})
	}
}
