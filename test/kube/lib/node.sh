# containerd, the kubelet and kube-proxy of one node.

start_node() {
	containerd_config >"$DIR/containerd.toml"
	cni_config >"$DIR/cni/10-bridge.conflist"
	start containerd containerd -c "$DIR/containerd.toml"
	wait_for 20 inside ctr -a /run/containerd/containerd.sock version
	import "$DIR" "$BIN/pause.tar" "$BIN/coredns.tar"
	kubeconfig "$DIR/kubelet.kubeconfig" "kubelet-$N-$M"
	kubelet_config >"$DIR/kubelet.yaml"
	start kubelet "$BIN/kubelet" --config="$DIR/kubelet.yaml" --kubeconfig="$DIR/kubelet.kubeconfig" --root-dir="$DIR/kubelet" \
		--cert-dir="$DIR/kubelet/pki" --hostname-override="$NODE" --node-ip="$(every node_ip "$M")"
	kubeconfig "$DIR/proxy.kubeconfig" "proxy-$N"
	kube_proxy_config >"$DIR/proxy.yaml"
	start kube-proxy "$BIN/kube-proxy" --config="$DIR/proxy.yaml"
	wait_for 60 kubectl wait --for=condition=Ready "node/$NODE" --timeout=1s
	say "node $NODE ready"
}

# import NODE-DIR FILE...
import() {
	local dir=$1 file; shift
	for file in "$@"; do
		nsenter -t "$(cat "$dir/pid")" -n -m -p -- ctr -n k8s.io images import "$(realpath "$file")" >>"$dir/import.log"
	done
}

# routes_between_nodes: from this node's pods to those of every older one and back.
routes_between_nodes() {
	local dir m f
	for dir in $(node_dirs); do
		[ "$dir" != "$DIR" ] || continue
		m=1; [ "$dir" = "$CLUSTER" ] || m=${dir##*-n}
		for f in $FAMILIES; do
			nsenter -t "$(cat "$dir/pid")" -n ip "-$f" route replace "$(pod_net_of_node "$f" "$M")" via "$(node_ip "$f" "$M")"
			inside ip "-$f" route replace "$(pod_net_of_node "$f" "$m")" via "$(node_ip "$f" "$m")"
		done
	done
}

containerd_config() {
	cat <<-END
		version = 2
		root = "$DIR/containerd"
		state = "/run/containerd"
		disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
		oom_score = 0
		[grpc]
		  address = "/run/containerd/containerd.sock"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "fairlead.dev/kube/pause:1"
		  disable_apparmor = true
		  restrict_oom_score_adj = true
		  enable_unprivileged_ports = true
		  [plugins."io.containerd.grpc.v1.cri".registry]
		    config_path = "$DIR/registries"
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "/opt/cni/bin"
		    conf_dir = "/etc/cni/net.d"
		  [plugins."io.containerd.grpc.v1.cri".containerd]
		    snapshotter = "overlayfs"
		    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		      runtime_type = "io.containerd.runc.v2"
		      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
		        SystemdCgroup = false
	END
}

cni_config() {
	local f ranges=
	for f in $FAMILIES; do ranges=$ranges${ranges:+, }"[{\"subnet\": \"$(pod_net_of_node "$f" "$M")\"}]"; done
	cat <<-END
		{"cniVersion": "1.0.0", "name": "bridge", "plugins": [
		  {"type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "ipMasq": false, "hairpinMode": true,
		   "ipam": {"type": "host-local", "ranges": [$ranges]}},
		  {"type": "portmap", "capabilities": {"portMappings": true}}]}
	END
}

kubelet_config() {
	cat <<-END
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $CLUSTER/pki/ca.crt}}
		authorization: {mode: AlwaysAllow}
		cgroupDriver: cgroupfs
		cgroupRoot: /$NODE
		enforceNodeAllocatable: [pods]
		failCgroupV1: false
		failSwapOn: false
		containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
		clusterDNS: ["$DNS_IP"]
		clusterDomain: cluster.local
		resolvConf: $DIR/etc/resolv.conf
		evictionHard: {memory.available: 100Mi, nodefs.available: "1%", imagefs.available: "1%", nodefs.inodesFree: "1%"}
		imageGCHighThresholdPercent: 100
		imageGCLowThresholdPercent: 99
		maxPods: 250
		podLogsDir: $DIR/log
		volumePluginDir: $DIR/kubelet/volplugins
		nodeStatusUpdateFrequency: 10s
	END
}

# minSyncPeriod: with the default of a second, the first calls after a Service is ready are refused.
kube_proxy_config() {
	cat <<-END
		apiVersion: kubeproxy.config.k8s.io/v1alpha1
		kind: KubeProxyConfiguration
		mode: ${PROXY_MODE:-nftables}
		clientConnection: {kubeconfig: $DIR/proxy.kubeconfig}
		hostnameOverride: $NODE
		clusterCIDR: "$(every pod_net)"
		bindAddress: "$ANY"
		conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
		nftables: {minSyncPeriod: 50ms}
	END
}
