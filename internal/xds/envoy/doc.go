// Package envoy says the mesh in the words of Envoy's API: clusters, their endpoints, listeners, routes and secrets, for Envoys
// and for apps that call by gRPC's own xDS client.
//
// In: what internal/compile makes of the model, and the Class of the clients that ask. Out: resources as plan.Encoded, named as
// Istio names them. A Compiler has the methods of a graph.Compiler, so that a resource is computed again when something that
// it was made of has changed, is encoded once, and is shared by all clients to whom it is the same: its canonical name holds
// as much of the class as makes a difference. An endpoint that comes or goes changes one ClusterLoadAssignment of each class,
// and nothing else.
//
// Functions are pure, and everything here may be used from any goroutine. The package does no I/O, serves nobody and knows no
// versions or acknowledgements. It never gives out a resource that the client's own rules refuse: Envoy's validation, and what
// gRPC's clients demand beyond it.
//
// To debug: print a resource with protojson, or look at an Envoy's /config_dump; the names are the same.
package envoy
