// Package mirror decides which mirrors there are to be: Services by which those of other clusters are called under names of their
// own, as Linkerd makes them of its Links.
//
// In: a snapshot of the store, which has Links, the Services of all clusters and what is known of these clusters, and which gateways
// are alive. Out: the Services that there are to be, those that are to go, and what became of every Service that a Link selects: a
// value that can be printed. Nothing is written here: on Kubernetes the leader writes the Services (internal/incluster), in the lab
// they are objects for the control plane alone.
//
// A Service that was not made here is never among what is written or deleted, whatever it is called and whatever labels it
// has but those of both Linkerd's mirrors and this control plane's. Of a cluster that has not said yet what it has, or is
// away, mirrors stay as they are.
//
// The functions are pure and safe from any goroutine. To debug: the status of the Link, or "fairlead multicluster check".
package mirror
