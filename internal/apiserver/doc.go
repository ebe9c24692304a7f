// Package apiserver is the one client of a Kubernetes API server: requests, lists by pages, watches, and the loop of list
// and watch on which everything stands that follows objects.
//
// In: a *rest.Config, from which only the way to the server and the credentials are taken. Out: answers, and objects as
// they came, in JSON or in protobuf, to be decoded by the caller, who knows their Go type: there is no scheme, and no type
// of Kubernetes is linked because of this package (docs/adr/0012-one-client-of-the-api-server.md).
//
// An error is what the server said (*apierrors.StatusError), or why there is no answer (*url.Error, the end of ctx). Nothing
// is tried again but what the server asks for, where a [Request] allows it. Clients are safe for concurrent use; a
// [Follower] belongs to one goroutine, and starts none.
//
// To debug: set the environment variable GODEBUG=http2debug=1, or give the rest.Config a Transport that prints.
package apiserver
