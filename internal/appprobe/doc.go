// Package appprobe makes the probes of a pod's app in the kubelet's place. The kubelet has no certificate of the mesh,
// so its own connections to the app would be refused under mutual TLS; it asks the sidecar instead, at
// /app-health/<container>/{livez,readyz,startupz}, and the sidecar asks the app. The HTTP hooks of a container's life
// (postStart, preStop) go the same way.
//
// In: the probes as the pod declared them, and a way to dial past the redirection. Out: an http.Handler that answers
// 200 where the kubelet's own probe would have passed, and otherwise the app's status or 503 with the reason in one
// line. What passes is decided as the kubelet decides it (k8s.io/kubernetes/pkg/probe): HTTP statuses 200 to 399,
// redirects followed on the same host only, certificates not verified, at most 10 KiB of the body read; a TCP
// connection; SERVING from grpc.health.v1.
//
// The handler may be called from any goroutine; of each probe one run is under way at a time, and all who ask meanwhile
// get its outcome. Nothing is kept between two runs but whether the last one passed: a change is logged, once.
//
// A Prober is one probe for who makes it by himself, as the sidecar does for a HealthCheckPolicy; it may also ask for certain
// statuses, or for what the app says on a connection.
//
// To debug: GET the path on port 15020; the body says what the app answered.
package appprobe
