// Package fairleadv1 is the contract of the control channel: the .proto files, and the Go that protoc-gen-go makes of
// them.
//
// The product does not link the generated code: internal/discovery reads and writes the same messages by hand, because a
// sidecar has no memory to spare for protobuf's reflection. The generated code is what its tests compare with, and
// what a tool of your own may import. `go generate` needs protoc and protoc-gen-go.
package fairleadv1
