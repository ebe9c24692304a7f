// Package dashboard serves the page that shows the mesh in a browser, and what the page asks for.
//
// In: a [Mesh], which is how the fairlead command reaches the control plane and sidecars with the rights of its user, and the
// built page. Out: an http.Handler with the page at /, JSON and two event streams below /api/v1/. Each number comes from the same
// query as that of a command, and its answer names that command.
//
// It is for the machine that it runs on: a request must name a loopback address or "localhost", or a host that was allowed, and
// must not come from another site's page ([guard]). It keeps nothing: a stream asks for itself, and all that it started
// ends with it. Safe for any number of requests at once, of which [maxStreams] may be streams.
//
// To debug: curl -sN localhost:50750/api/v1/events.
package dashboard
