// Package cluster is the command line's access to a Kubernetes cluster: who and where it is, as kubectl would choose;
// reading objects; and connections into pods.
//
// In: a kubeconfig, a context and a namespace, all optional. Out: objects of k8s.io/api decoded from JSON, and net.Conns
// to ports inside pods. A Client may be used by several goroutines.
//
// It stands above internal/apiserver, which makes the requests, beside internal/kube and internal/source/kube, because the
// control plane watches everything for months, and a command asks ten questions once and exits: it needs kubeconfig files,
// credential plugins and port-forwarding, and must start quickly. Nothing here watches, caches or retries.
//
// A connection into a pod ends at the loopback of the pod's network namespace, where the sidecar's admin port listens.
// It goes through the API server and the kubelet, so it works wherever kubectl port-forward does.
//
// To debug: Client.Server is the URL that it asks; every error carries the path asked for. Errors of the API server are
// *errors.StatusError of k8s.io/apimachinery, so apierrors.IsNotFound and friends tell them apart.
package cluster
