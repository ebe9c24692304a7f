// Package grpcstream is what the servers of long gRPC streams have in common: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
// as far as they need it, on an http.Handler.
//
// In: requests of HTTP/2 with gRPC's content type. Out: messages cut from their bodies (Frames), decompressed where the server takes that
// (Decompress), the time that the client gives its call (Deadline), the prefix of messages to send (Seal), the status that ends a call
// (SetStatus), and the time that a client has to take a message (Patience).
//
// Frames belong to one goroutine, a Patience to who writes. Messages are bytes here: the package links no protobuf, for the sidecar has it
// too. What it sends is never compressed.
//
// To debug: errors are a StatusError where the peer broke a rule, else those of the connection.
package grpcstream
