// What make sockmap builds: programs of the kernel's BPF machine that join the app's and the sidecar's sockets.
module fairlead.dev/fairlead/bench/sockmap

go 1.26.0

require (
	github.com/cilium/ebpf v0.22.0
	golang.org/x/sys v0.49.0
)
