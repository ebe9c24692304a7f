// Package compile turns what users asked for (package model) into what a proxy does (package plan). Every rule of
// precedence and merging between Gateway API's, SMI's and Istio's objects is here.
//
// In: a store.Reader on one snapshot, the mesh-wide Global, who asks (Client), a name. Out: a plan.Resource.
// Resolve turns the name that a proxy asks for into the canonical one, which may depend on the asking namespace;
// Compile depends on the canonical name alone, so its result is computed and encoded once for all clients. Check
// reports what objects say about each other that cannot work, RouteStatus what became of one Gateway API route.
//
// A snapshot is the model at one moment, a view what the callers of one namespace see of it. Each subject is a small type
// that holds the one that it needs: destinationRules, routing, references, dnsNames, endpointShards and so on. resolver
// and compileName put them together.
//
// All functions are pure: equal arguments give equal results. What they read is noted by the Reader, and nothing
// else may influence them; an endpoint that comes or goes is therefore a new shard and nothing more. They may be
// called from any goroutine, each call with its own Reader. They never fail: a name without meaning gives no
// resource, a reference to something missing gives a Backend that says so.
//
// To debug: print the resource, then Reader.Keys for why it has to be computed again.
package compile
