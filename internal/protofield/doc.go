// Package protofield takes protobuf messages apart by their fields, without descriptors and without reflection, for the
// programs that have no memory for those.
//
// In: the bytes of a message, which may be a stranger's. Out: its fields, one after the other. It keeps nothing, and is safe
// for concurrent use.
//
// To debug: the error names no field, for what is malformed has none; protoc --decode_raw shows how far the bytes make sense.
package protofield
