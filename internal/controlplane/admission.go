package controlplane

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"fairlead.dev/fairlead/internal/admission"
	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/validate"
)

// opinion is what the control plane would say of an object if it were written.
type opinion struct {
	// refusals are the mistakes for which the object would not be put in force; warnings are the ones with which it
	// would. Both are lines as `fairlead validate` prints them.
	refusals, warnings []string
	// missing is set where the object refers to something that is not there.
	missing bool
}

// review judges an object, JSON, as it would be read from a manifest: strictly, by its translator, and together with
// everything that is in force. It is safe for concurrent use.
func (e *engine) review(object []byte) opinion {
	objects, problems := file.Decode("object.json", object)
	var v opinion
	for i := range objects {
		o := &objects[i]
		t := e.kinds.Translate(o.Value, config.Place{Ref: o.Ref, ClusterDomain: e.global.ClusterDomain, ClusterID: e.global.ClusterID})
		problems = append(problems, t.Problems...)
		if t.Commit == nil {
			continue
		}
		problems = append(problems, slices.DeleteFunc(compile.Check(store.NewReader(e.store.Try(t.Commit)), e.global), func(p model.Problem) bool {
			return p.Ref != o.Ref || ofSecret(p)
		})...)
	}
	v.add(validate.RefuseUnguarded(problems, e.reader(), e.global))
	return v
}

// ofSecret reports whether a problem is that a Secret lacks something: none is read before an object in force names it.
func ofSecret(p model.Problem) bool {
	return p.Missing && strings.HasSuffix(strings.ToLower(p.Field), "credentialname")
}

func (v *opinion) add(problems []model.Problem) {
	for _, p := range problems {
		v.missing = v.missing || p.Missing
		p.Pos = model.Position{} // lines of the API server's JSON mean nothing to the user
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
func (e *engine) reviewPatiently(ctx context.Context, object []byte) opinion {
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

// validator is the validating webhook for the kinds that are obeyed: it refuses what would not be put in force and lets
// pass with a warning what cannot do what it says. What is deleted is never held up.
func (p *ControlPlane) validator() http.Handler {
	return admission.Handler(func(ctx context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if !writes(request) {
			return &admissionv1.AdmissionResponse{Allowed: true}
		}
		return p.answer(request, p.engine.reviewPatiently(ctx, request.Object.Raw))
	}, nil)
}

// unobeyedValidator is the validating webhook for all other kinds of the mesh APIs. The API server asks it about every
// kind in their groups, so what the other webhook is asked about too is allowed at once.
func (p *ControlPlane) unobeyedValidator() http.Handler {
	return admission.Handler(func(_ context.Context, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if !writes(request) || p.engine.kinds.Has(request.Kind.Group, request.Kind.Kind) {
			return &admissionv1.AdmissionResponse{Allowed: true}
		}
		return p.answer(request, p.engine.review(request.Object.Raw))
	}, nil)
}

// writes reports whether a request stores an object that is to stay.
func writes(request *admissionv1.AdmissionRequest) bool {
	return (request.Operation == admissionv1.Create || request.Operation == admissionv1.Update) && request.SubResource == ""
}

// answer puts an opinion into words. An update that leaves the specification as it is changes nothing for the mesh, and
// may be the last step of a deletion (a finalizer that is taken off): it goes through with a warning.
func (p *ControlPlane) answer(request *admissionv1.AdmissionRequest, v opinion) *admissionv1.AdmissionResponse {
	if request.Operation == admissionv1.Update && sameSpec(request.OldObject.Raw, request.Object.Raw) {
		v = opinion{warnings: append(v.refusals, v.warnings...)}
	}
	if len(v.refusals) == 0 {
		p.metrics.admitted.Inc()
	} else {
		p.metrics.rejected.Inc()
	}
	if len(v.refusals) > 0 {
		return admission.Refuse(strings.Join(v.refusals, "; "))
	}
	return &admissionv1.AdmissionResponse{Allowed: true, Warnings: admission.Warnings(v.warnings)}
}

// sameSpec reports whether two objects, JSON, differ in metadata and status at most.
func sameSpec(before, after []byte) bool {
	var old, updated struct {
		Spec any `json:"spec"`
	}
	if json.Unmarshal(before, &old) != nil || json.Unmarshal(after, &updated) != nil {
		return false
	}
	return reflect.DeepEqual(old.Spec, updated.Spec)
}

// reader looks at the newest state.
func (e *engine) reader() *store.Reader { return store.NewReader(e.store.Snapshot()) }
