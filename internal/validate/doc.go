// Package validate says what is wrong with a set of objects: in each of them, and between them. `fairlead validate` and
// `fairlead lab` ask it before there is a control plane, and admission asks it for what only the whole model tells.
//
// In: objects as the sources decode them, or problems and a reader of a store. Out: problems. It is what a control plane
// that had just these objects would say, because it is made of the same parts: the rows of package config translate, and
// package compile looks at the result. It stands apart from the control plane so that a program which only validates
// does not link one.
//
// Everything is a pure function, safe from any goroutine. To debug: `fairlead validate -f FILE`.
package validate
