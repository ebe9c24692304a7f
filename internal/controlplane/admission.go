package controlplane

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

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
	// missing is set where the object refers to something that is not there.
	missing bool
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
		v.missing = v.missing || p.Missing
		p.Pos = model.Position{} // lines of the API server's JSON mean nothing to anybody
		switch p.Severity {
		case model.Rejected:
			v.refusals = append(v.refusals, strings.TrimPrefix(p.String(), "error: "))
		case model.Warning:
			v.warnings = append(v.warnings, strings.TrimPrefix(p.String(), "warning: "))
		}
	}
}

// What is written just before an object, in the same `kubectl apply` for example, may not have been read yet: before an
// object is said to refer to nothing, it is looked at again for a while.
const (
	missingPatience = 500 * time.Millisecond
	missingPause    = 50 * time.Millisecond
)

// reviewPatiently is review, with patience for what is missing.
func (e *engine) reviewPatiently(ctx context.Context, object []byte) verdict {
	v := e.review(object)
	if !v.missing || len(v.refusals) > 0 {
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, missingPatience)
	defer cancel()
	again := time.NewTicker(missingPause)
	defer again.Stop()
	for v.missing {
		select {
		case <-ctx.Done():
			return v
		case <-again.C:
			v = e.review(object)
		}
	}
	return v
}

// validator is the validating webhook: it refuses what would not be put in force and lets pass with a warning what
// cannot do what it says. What is deleted is never held up.
func (p *ControlPlane) validator() http.Handler {
	return admission.Handler(func(ctx context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if request.Operation != admissionv1.Create && request.Operation != admissionv1.Update || request.SubResource != "" {
			return &admissionv1.AdmissionResponse{Allowed: true}
		}
		v := p.engine.reviewPatiently(ctx, request.Object.Raw)
		p.metrics.countValidation(len(v.refusals) == 0)
		if len(v.refusals) > 0 {
			return admission.Refuse(strings.Join(v.refusals, "; "))
		}
		return &admissionv1.AdmissionResponse{Allowed: true, Warnings: admission.Warnings(v.warnings)}
	}, nil)
}

// reader looks at the newest state.
func (e *engine) reader() *store.Reader { return store.NewReader(e.store.Snapshot()) }
