// Package dns answers the pod's DNS questions inside the sidecar: names of the mesh from a table, all others by asking
// the upstream servers that the pod would have asked.
//
// In: bound sockets, a Table that knows the names, and an Upstream. Out: answers on the sockets. A and AAAA of a mesh
// name are answered here; other types of it, and other names, are forwarded as the bytes that came. Resolver asks the
// upstream servers for the addresses of a host, for endpoints that are given by name.
//
// Server, Upstream and Resolver are safe for concurrent use. What the table knows is answered at once by the goroutine that
// reads the socket. Other questions have goroutines of their own, at most
// Options.Concurrency at a time, divided among clients and zones; more are answered SERVFAIL and counted, never queued.
//
// The sockets must be bound to loopback addresses: an answer has to leave from the address that the kernel redirected
// the question to. The package opens no listening socket, caches nothing, never changes a forwarded answer, and follows
// no name outside the servers it was given.
//
// To debug: Server.WriteMetrics shows what became of questions; every forward that fails is logged with the server's name.
package dns
