package model

import "slices"

// Report collects the problems found while one object is read.
type Report struct {
	Ref      Ref
	Problems []Problem
}

// Reject refuses the object.
func (r *Report) Reject(field, message, fix string) { r.add(Rejected, field, message, fix) }

// Warn lets the object stand without what field asks for.
func (r *Report) Warn(field, message, fix string) { r.add(Warning, field, message, fix) }

// Unsupported warns of a field that does nothing here.
func (r *Report) Unsupported(field string) {
	r.Warn(field, "not supported by Fairlead: it has no effect", "remove it, or do not rely on it")
}

// Rejected reports whether the object is refused.
func (r *Report) Rejected() bool {
	return slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Severity == Rejected })
}

func (r *Report) add(severity Severity, field, message, fix string) {
	r.Problems = append(r.Problems, Problem{Ref: r.Ref, Severity: severity, Field: field, Message: message, Fix: fix})
}
