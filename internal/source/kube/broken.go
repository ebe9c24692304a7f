package kube

import (
	"errors"
	"fmt"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source/file"
)

// problemsOf says what is wrong with an object that could not be decoded. The reader of manifests knows the fields
// by name, so it is asked first.
func problemsOf(ref model.Ref, err error) []model.Problem {
	if broken, ok := errors.AsType[*undecodable](err); ok {
		_, found := file.Decode("object.json", broken.text)
		var problems []model.Problem
		for _, p := range found {
			if p.Severity == model.Rejected {
				p.Ref, p.Pos = ref, model.Position{}
				problems = append(problems, p)
			}
		}
		if len(problems) > 0 {
			return problems
		}
	}
	return []model.Problem{{
		Ref: ref, Severity: model.Rejected, Message: fmt.Sprintf("is no %s: %v", ref.Kind, err),
		Fix: "install the CRD with its schema: the API server then refuses such objects",
	}}
}
