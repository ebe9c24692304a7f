// Package install renders the chart of package deploy without Helm, and puts the result into a cluster: applies it,
// waits until it works, prunes what an earlier version had made, removes it all.
//
// In: values from files and flags, and for everything but rendering a Cluster. Out: a Release, which is a list of
// objects in the order in which to apply them, and lines of progress. Rendering is pure: no clock, no network, and the
// same input gives the same bytes.
//
// What an installation consists of is written down in the cluster, in ConfigMap fairlead-install: its version, the
// values it was made with, and its objects. It is part of what is rendered, so `fairlead install | kubectl apply -f -`
// leaves the same record, and upgrades and removals need no state of their own.
//
// Nothing is taken from others: an object that exists and does not say that it is part of Fairlead stops an
// installation before anything is changed (a CustomResourceDefinition is left as it is), and only what says so is ever
// deleted. The CA and the CustomResourceDefinitions outlive the mesh unless they are asked for by name.
//
// The chart is rendered with text/template and those of Helm's functions that it uses (see functions); a function that is
// not there fails the tests. Nothing here is safe for concurrent use.
//
// To debug, compare with `helm template deploy/chart`: apart from the record, the namespace and the label
// app.kubernetes.io/managed-by it is the same.
package install
