// Package expression compiles what users write in CEL, the Common Expression Language, about calls: the filter of an access log,
// the value of a label.
//
// In: the text. Out: a model.Expression, which sidecars evaluate without a library of CEL (package telemetry), or an error that
// says what is wrong and where. The words are Envoy's attributes (envoyproxy.io, "Attributes"), as far as a sidecar knows them;
// Attributes lists them. cel-go parses and checks types, so that what is accepted here is CEL; what it means to a sidecar is
// translated, and refused where it has no counterpart.
//
// Pure functions that may be called from any goroutine. To see what becomes of a text: go test -run TestCompile -v.
package expression
