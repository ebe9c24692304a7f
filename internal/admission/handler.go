package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxReview bounds the body of a request. The API server takes objects of 3 MiB (kube-apiserver,
// MaxRequestBodyBytes); a review wraps one, on updates two.
const maxReview = 8 << 20

// Handler gives an HTTP handler that answers every review with what admit says; the UID is filled in. Refused, where
// not nil, is told of requests that are no reviews.
func Handler(admit func(context.Context, *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse, refused func(*http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, status, err := read(w, r)
		if err != nil {
			if refused != nil {
				refused(r, err)
			}
			http.Error(w, err.Error(), status)
			return
		}
		response := admit(r.Context(), request)
		response.UID = request.UID
		body, err := json.Marshal(admissionv1.AdmissionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: kind},
			Response: response,
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // a caller that went away asks again
	})
}

const kind = "AdmissionReview"

// read reads and checks what was sent. status is that of the error.
func read(w http.ResponseWriter, r *http.Request) (request *admissionv1.AdmissionRequest, status int, err error) {
	if r.Method != http.MethodPost {
		return nil, http.StatusMethodNotAllowed, errors.New("method " + r.Method + ": an AdmissionReview is sent by POST")
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, http.StatusUnsupportedMediaType, fmt.Errorf("content-type %q: an AdmissionReview is application/json", r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReview))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the body is larger than %d bytes", maxReview)
	}
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("body: %w", err)
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("no AdmissionReview: %w", err)
	}
	if want := admissionv1.SchemeGroupVersion.String(); review.APIVersion != want || review.Kind != kind {
		return nil, http.StatusBadRequest, fmt.Errorf("%q %q is no AdmissionReview of %s", review.APIVersion, review.Kind, want)
	}
	if review.Request == nil || review.Request.UID == "" {
		return nil, http.StatusBadRequest, errors.New("the AdmissionReview has no request, or its request no uid")
	}
	return review.Request, http.StatusOK, nil
}

// Refuse is the answer that keeps an object out, with a line that says why.
func Refuse(message string) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{
		Status: metav1.StatusFailure, Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity,
		Message: "fairlead: " + message,
	}}
}

// Warnings says who warns: kubectl shows warnings of all webhooks alike.
func Warnings(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = "fairlead: " + line
	}
	return out
}
