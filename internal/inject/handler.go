package inject

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/admission"
)

// HandlerOptions are what the webhook needs. Config, Native, Namespaces and Logger are required.
type HandlerOptions struct {
	// Config gives the configuration in force. It is called for every request.
	Config func() Config
	// Native says whether the API server knows native sidecars (1.29 and later).
	Native func() bool
	// Namespaces gives the labels of a namespace; ok is false where it is not known. That the API server asks at all is
	// proof that its selectors matched, so labels that do not opt in, which an informer may still show a moment after
	// they were set, are not held against the pod; a label that says no is.
	Namespaces func(name string) (labels map[string]string, ok bool)
	Logger     *slog.Logger
	// Observe, where not nil, is told once of every request, from many goroutines.
	Observe func(Outcome, Decision)
}

// Outcome is what became of an admission request.
type Outcome uint8

// The outcomes.
const (
	// Success is that of a pod that got its sidecar.
	Success Outcome = iota + 1
	// Skip is that of a pod that is allowed as it is; the decision says why.
	Skip
	// Failure is that of a pod that was refused, or of a request that was none.
	Failure
)

// String implements fmt.Stringer.
func (o Outcome) String() string {
	switch o {
	case Success:
		return "success"
	case Skip:
		return "skip"
	case Failure:
		return "failure"
	}
	return "unknown"
}

// NewHandler gives the mutating webhook: AdmissionReview (admission.k8s.io/v1) in, AdmissionReview with a JSON patch
// out. It has no side effects, so that dry runs need no care. What is no review gets a status of 4xx.
func NewHandler(o HandlerOptions) http.Handler {
	h := &handler{o: o}
	return admission.Handler(h.admit, func(r *http.Request, err error) {
		h.observe(Failure, Decision{})
		o.Logger.WarnContext(r.Context(), "admission request refused", slog.Any("error", err), slog.String("peer", r.RemoteAddr))
	})
}

type handler struct{ o HandlerOptions }

// admit answers one request. A pod is refused only for what its owner can mend.
func (h *handler) admit(ctx context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	pods := metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
	if request.Resource != pods || request.SubResource != "" || request.Operation != admissionv1.Create {
		h.observe(Skip, Decision{})
		return &admissionv1.AdmissionResponse{Allowed: true}
	}
	log := h.o.Logger.With(slog.String("namespace", request.Namespace))
	var pod corev1.Pod
	if err := json.Unmarshal(request.Object.Raw, &pod); err != nil {
		return h.refuse(ctx, log, fmt.Errorf("the object is no Pod: %s", mistyped(err)))
	}
	log = log.With(slog.String("pod", nameOf(&pod)))
	after, decision, err := Pod(&pod, h.request(request.Namespace))
	if err != nil {
		return h.refuse(ctx, log, err)
	}
	response := &admissionv1.AdmissionResponse{
		Allowed: true, Warnings: admission.Warnings(decision.Warnings),
		AuditAnnotations: map[string]string{"decision": decision.String()},
	}
	outcome := Skip
	if decision.Inject() {
		outcome = Success
	}
	if after != &pod {
		response.Patch, err = json.Marshal(Diff(&pod, after))
		if err != nil {
			return h.refuse(ctx, log, fmt.Errorf("patch: %w", err))
		}
		response.PatchType = new(admissionv1.PatchTypeJSONPatch)
	}
	log.DebugContext(ctx, "pod admitted", slog.String("decision", decision.String()))
	h.observe(outcome, decision)
	return response
}

// request gathers what is known beside the pod.
func (h *handler) request(namespace string) Request {
	labels, _ := h.o.Namespaces(namespace)
	if labels[keyInject] == "" {
		labels = EnabledNamespace()
	}
	return Request{Namespace: namespace, NamespaceLabels: labels, Config: h.o.Config(), Native: h.o.Native()}
}

func (h *handler) refuse(ctx context.Context, log *slog.Logger, err error) *admissionv1.AdmissionResponse {
	h.observe(Failure, Decision{})
	log.InfoContext(ctx, "pod refused", slog.Any("error", err))
	return admission.Refuse(err.Error())
}

func (h *handler) observe(o Outcome, d Decision) {
	if h.o.Observe != nil {
		h.o.Observe(o, d)
	}
}

// nameOf gives a pod's name, or, for it has none before it is stored, what the name will begin with.
func nameOf(pod *corev1.Pod) string {
	if pod.Name == "" {
		return pod.GenerateName + "*"
	}
	return pod.Name
}
