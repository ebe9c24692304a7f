package file

import (
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// object is one manifest that was read without a mistake, and where.
type object struct {
	source.Object

	doc  *document // what it was read from
	slot slot      // where in the file
}

// same reports whether o and p were read from the same text at the same place, so that nothing downstream can
// tell them apart, line numbers included.
func (o *object) same(p *object) bool {
	return o.Pos == p.Pos && o.slot == p.slot && o.doc.text == p.doc.text
}

// sources gives what others may see of objects.
func sources(list []object) []source.Object {
	out := make([]source.Object, len(list))
	for i := range list {
		out[i] = list[i].Object
	}
	return out
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
