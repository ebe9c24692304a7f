package file

import (
	"fairlead.dev/fairlead/internal/model"
)

// Object is one manifest that was read without a mistake.
type Object struct {
	Ref model.Ref
	// Value is a pointer to the typed object: *corev1.Service, *appsv1.Deployment, *istionetv1.VirtualService (for
	// every version of networking.istio.io), *gatewayv1.HTTPRoute (v1beta1 too), and so on. It is shared: whoever
	// changes it makes a copy.
	Value any
	// Pos is the first line of the document.
	Pos model.Position
	// Locate finds the line of a field path such as "spec.http[0].route[1].destination.host" or
	// "metadata.annotations[fairlead.dev/inject]". A path that was not written gives its nearest written parent.
	Locate func(field string) model.Position

	doc  *document // what it was read from
	slot slot      // where in the file
}

// same reports whether o and p were read from the same text at the same place, so that nothing downstream can
// tell them apart, line numbers included.
func (o *Object) same(p *Object) bool {
	return o.Pos == p.Pos && o.slot == p.slot && o.doc.text == p.doc.text
}

// Change is what happened since the previous one.
type Change struct {
	// Upserts are new or changed objects. The first Change holds every object.
	Upserts []Object
	// Deletes are objects no longer in force.
	Deletes []model.Ref
	// Problems are all present reading problems, ordered by file and line; they replace the former ones.
	Problems []model.Problem
}

// slot is the place of an object in its file: the document counted from 1 and, inside a List, the item counted
// from 1 (0 outside of one).
type slot struct{ document, item int }

// document is one YAML document or JSON value of a file.
type document struct {
	file  string
	text  string
	line  int // of the file on which text starts
	index int // in the file, from 1
}

// pos gives the position of a line of the document, counted from 1.
func (d *document) pos(line int) model.Position {
	return model.Position{File: d.file, Line: d.line + max(line, 1) - 1}
}
