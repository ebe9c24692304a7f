// Package cni lets a node redirect the traffic of pods, so that pods need no privilege for it: a plugin that the
// container runtime calls for every pod, an installer that puts it into the node's network configuration and keeps it
// there, and a repairer for pods that were started before that.
//
// The plugin (Call) follows the Container Network Interface, versions 0.3.0 to 1.1.0
// (https://github.com/containernetworking/cni/blob/main/SPEC.md), as a chained plugin: in comes a configuration on
// standard input and an Invocation from the environment; out goes the result of the plugin before it, byte for byte,
// or an error object. For a pod that the injector has marked, it applies the rules of internal/redirect in the pod's
// network namespace. The pod's annotations come from the runtime where it passes them (containerd, CRI-O), and from
// the API server otherwise. A pod whose rules cannot be applied does not start: the kubelet says why and tries again.
//
// The Installer copies this program and a kubeconfig onto the node and edits the network configuration that the
// runtime uses; all three it does again whenever they have been undone. It only writes files, each by an atomic rename,
// and needs no capability. Its repairer watches the node's pods.
//
// Call may run in many processes at once; it keeps no state. An Installer's methods other than Run are private, and
// state that its goroutines share is behind one mutex. The package never touches a plugin's configuration other than
// its own, never deletes a pod that no controller would make anew, and links no Kubernetes code: the sidecar is the same
// program.
//
// To debug: the runtime's log has the plugin's (logger fairlead-cni); GET /healthz/ready of the installer says what is
// missing; `fairlead-proxy init --verify` in a pod tells whether it is redirected.
package cni
