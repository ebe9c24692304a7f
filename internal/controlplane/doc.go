// Package controlplane puts the control plane together: objects become the model, the model becomes what proxies do, and
// proxies hear of it.
//
// In: Options. Out: two listeners, on Kubernetes three. The discovery port serves the calls of api/fairlead/v1 (what to
// do, and certificates) over TLS; the monitor port tells people and Prometheus how things are, over plain HTTP; the
// webhook port answers the API server about pods (package inject) and about objects of configuration (admission.go).
//
// It stands on a backing: files of one machine (backing.go) or a cluster (kube.go). That is all that differs between the
// two: where objects come from, who vouches for a token, where the CA is, and what else runs.
//
// The path of a change: the source reads it into the inbox; engine has it translated with config/* (objectBook), stages it
// until the pacer says that it is due (staging), commits it to the store, has the graph (package graph) compile exactly the
// subscribed resources that read what changed, and tells discovery which answers are new (watches). One goroutine does all
// that; it owns store and graph, so nothing in them needs a lock. Two parts have a lock, for other goroutines use them: inbox,
// and watches, where names are asked for and answers are read. What sidecars say of their pods takes the same path
// (healthBook). A further wire is one more graph.Compiler beside native. The whole model is checked beside the goroutine, on a
// snapshot, and statuses follow from that (checks).
//
// A ControlPlane is run once. A broken object never takes effect: its last good version stays, the problem is logged
// once and served until it is gone. On files, the package writes nothing but the CA; on a cluster, the leader also writes
// statuses, root certificates and the webhooks' caBundle.
//
// To debug, ask the monitor port: /debug/problemz for what is wrong with the configuration, /debug/syncz for what
// each proxy has, /debug/endpointz for the endpoints that proxies were told, /metrics for counts.
package controlplane
