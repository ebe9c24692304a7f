// Package inject puts the sidecar into pods: at admission, as a mutating webhook, and offline, into manifests. Both do
// the same, because both call [Pod].
//
// In: a Pod, the labels of its namespace, and the [Config] that the operator wrote. Out: a [Decision], which can be
// printed, and where it says so the Pod with the containers, volumes and probes of the mesh. [Diff] tells two such Pods
// apart as JSON patch operations that leave alone whatever this package does not know; [Edit] applies them to the
// documents of a YAML stream, [NewHandler] answers the API server with them, and [Remove] undoes them.
//
// Everything but the handler is a pure function: no clock, no environment, no I/O, arguments are never changed. The
// handler is safe for concurrent use and keeps no state.
//
// It never looks at anything but the pod and its namespace, so that a pod is injected the same way wherever it comes
// from, and it never changes a pod twice: [Pod] of an injected pod says [AlreadyInjected].
//
// To debug: `fairlead inject -f FILE` prints what would be created and why not; the webhook's decisions are in the
// controller's log at level debug and in the API server's audit log (annotation "decision").
package inject
