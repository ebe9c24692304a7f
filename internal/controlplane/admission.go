package controlplane

import (
	"context"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"

	"fairlead.dev/fairlead/internal/admission"
	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/store"
)

// verdict is what the control plane would say of an object if it were written.
type verdict struct {
	// refusals are the mistakes for which the object would not be put in force; warnings are the ones with which it
	// would. Both are lines as `fairlead validate` prints them.
	refusals, warnings []string
}

// review judges an object, JSON, as it would be read from a manifest: strictly, by its translator, and together with
// everything that is in force. It is safe for concurrent use.
func (e *engine) review(object []byte) verdict {
	objects, problems := file.Decode("object.json", object)
	var v verdict
	v.add(problems)
	for i := range objects {
		o := &objects[i]
		t := translate(o.Ref, o.Value, e.domain)
		v.add(t.problems)
		if t.commit == nil {
			continue
		}
		v.add(slices.DeleteFunc(compile.Check(store.NewReader(e.store.Try(t.commit)), e.graph.global), func(p model.Problem) bool {
			return p.Ref != o.Ref
		}))
	}
	return v
}

func (v *verdict) add(problems []model.Problem) {
	for _, p := range problems {
		p.Pos = model.Position{} // lines of the API server's JSON mean nothing to anybody
		switch p.Severity {
		case model.Rejected:
			v.refusals = append(v.refusals, strings.TrimPrefix(p.String(), "error: "))
		case model.Warning:
			v.warnings = append(v.warnings, strings.TrimPrefix(p.String(), "warning: "))
		}
	}
}

// validator is the validating webhook: it refuses what would not be put in force and lets pass with a warning what
// cannot do what it says. What is deleted is never held up.
func (p *ControlPlane) validator() http.Handler {
	return admission.Handler(func(_ context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if request.Operation != admissionv1.Create && request.Operation != admissionv1.Update || request.SubResource != "" {
			return &admissionv1.AdmissionResponse{Allowed: true}
		}
		v := p.engine.review(request.Object.Raw)
		p.metrics.countValidation(len(v.refusals) == 0)
		if len(v.refusals) > 0 {
			return admission.Refuse(strings.Join(v.refusals, "; "))
		}
		return &admissionv1.AdmissionResponse{Allowed: true, Warnings: admission.Warnings(v.warnings)}
	}, nil)
}

// reader looks at the newest state.
func (e *engine) reader() *store.Reader { return store.NewReader(e.store.Snapshot()) }
