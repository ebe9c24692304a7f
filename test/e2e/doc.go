// Package e2e tells stories on a real Kubernetes: an API server, a kubelet, containers, Fairlead installed as a user
// installs it. The stories run where KUBECONFIG points to, need the mesh and the images of test/kube there, and are
// behind the build tag "kube"; `make e2e` brings all of that up, runs them and takes it down.
// Those of Flagger need it and its Prometheus too, and also the tag "flagger": `make flagger`.
// Those of several clusters need two of them and also the tag "multicluster": `make multicluster`.
//
// Every story has a namespace of its own and leaves nothing behind.
package e2e
