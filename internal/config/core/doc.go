// Package core translates the objects of Kubernetes itself into model values.
//
// In: one Service, EndpointSlice, Pod, Node or Namespace, as an API server or a manifest gives it. Out: its model
// value, and a [model.Problem] with the path of the field for everything that cannot be what it says; a nil value
// means that the object was refused or has nothing for the mesh. Positions are for the caller to fill in.
//
// Every function is pure: it reads its arguments only, looks nothing up, and keeps nothing of them that could change,
// for strings are copied by reference and maps by value. So all are safe concurrently.
//
// It never invents what needs a second object: the pods behind a Service, the port behind a named target port and
// the locality of a pod are joined later, in package compile.
//
// To debug: `fairlead validate -f FILE` prints the problems; the tests are tables from object to value.
package core
