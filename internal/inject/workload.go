package inject

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/admission"
)

// NewWorkloadHandler gives the validating webhook for what makes pods: Deployments, Jobs and the like. Their owner
// does not see the warnings that a pod gets, for a controller creates it, and a pod that is refused shows up in events alone;
// so they are given where `kubectl apply` prints them. Nothing is refused here.
func NewWorkloadHandler(o HandlerOptions) http.Handler {
	h := &handler{o: o}
	return admission.Handler(func(_ context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		response := &admissionv1.AdmissionResponse{Allowed: true}
		if request.SubResource == "" && (request.Operation == admissionv1.Create || request.Operation == admissionv1.Update) {
			response.Warnings = admission.Warnings(workloadWarnings(request.Object.Raw, h.request(request.Namespace)))
		}
		return response
	}, nil)
}

// workloadWarnings says what the owner of an object that makes pods should know about them. What cannot be read is for
// the API server to refuse.
func workloadWarnings(object []byte, r Request) []string {
	var m struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	if json.Unmarshal(object, &m) != nil {
		return nil
	}
	path, hasPods := templatePath(m.Kind)
	if !hasPods || path == "" {
		return nil
	}
	warnings := Misplaced(m.Kind, m.Metadata.Annotations)
	template, err := inside(object, path)
	if err != nil {
		return warnings
	}
	var pod corev1.Pod
	if json.Unmarshal(template, &pod) != nil {
		return warnings
	}
	_, decision, err := Pod(&pod, r)
	if err != nil {
		return append(warnings, "its pods will be refused: "+err.Error())
	}
	return append(warnings, decision.Warnings...)
}

// Misplaced warns of annotations about sidecars that stand on an object that makes pods, where nothing reads them.
func Misplaced(kind string, written map[string]string) (warnings []string) {
	path, hasPods := templatePath(kind)
	if !hasPods || path == "" {
		return nil
	}
	read := map[string]bool{keyInject: true, istioInject: true}
	for _, a := range annotations() {
		read[domain+a.name] = true
		if a.istio != "" {
			read[a.istio] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(written)) {
		if read[key] {
			warnings = append(warnings, fmt.Sprintf("annotation %s has no effect on a %s: it belongs to its pods, under %s.metadata.annotations",
				key, kind, strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", ".")))
		}
	}
	return warnings
}
