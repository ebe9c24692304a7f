// Package lab runs a small cluster on one Linux machine: every pod is a network namespace, manifests come from
// files, and no Kubernetes and no root are needed.
//
// In: directories of Kubernetes manifests. Out: running pods with real interfaces, a Service network, cluster DNS,
// the control plane beside them, and a directory of generated objects (completed Services, Pods, EndpointSlices,
// Nodes) that the control plane reads as it would read an API server.
//
// # How it is built
//
// [Up] starts the running binary again as "lab init" in new user (only without root), network, mount, pid, uts and
// ipc namespaces. That process is PID 1 there: it starts the supervisor, reaps orphans, and when it ends the kernel
// ends everything else, so nothing outlives a lab however it dies. The supervisor is node, kubelet, workload
// controllers, endpoint-slice controller, kube-proxy and cluster DNS in one process; [Client] talks to it through a
// unix socket in the lab's state directory.
//
// One goroutine, cluster.run, owns all desired and observed state. What it decides (which pods to start or stop, which
// endpoint is ready, which address translates to which) is computed by pure functions in workload.go, endpoints.go,
// services.go and podspec.go; doing it is left to one goroutine per pod (pod.go) and to the writers of the generated
// objects (generated.go), the kernel's rules (kubeproxy.go) and the DNS table (dns.go).
//
// # What it never does
//
// It leaves no mount, namespace, process or interface on the machine, opens no route out of the lab, and changes no
// file of the user.
//
// # Debugging
//
// "fairlead lab status" says why a pod is not ready. The state directory holds logs/supervisor.log, one log per
// container, and generated/ as the control plane sees it. "nsenter --preserve-credentials -t PID -U -n -m" with the
// pid in state/pid enters the node's namespaces as root or as the user who started the lab.
package lab
