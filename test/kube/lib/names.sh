# Names and addresses of cluster N and node M.
TOP=${FAIRLEAD_KUBE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/fairlead-kube}
BIN=$TOP/bin
NAME=fairlead-kube$N
NODE=$NAME-n$M
CLUSTER=$TOP/run/$NAME                       # of the cluster, and of its first node
DIR=$CLUSTER; [ "$M" = 1 ] || DIR=$TOP/run/$NODE
API_IP=172.31.24$N.1 NODE_IP=172.31.24$N.$M
POD_NET=10.24$N.0.0/16 SERVICE_NET=10.9$N.0.0/16
FIRST_SERVICE_IP=10.9$N.0.1 DNS_IP=10.9$N.0.10
API_ON_HOST=127.0.0.1:1644$N
CGROUPS="cpu cpuacct cpuset memory devices freezer blkio pids systemd unified"
PATH=$PATH:/usr/sbin:/sbin
began=$(date +%s%N)

pod_net_of_node() { echo "10.24$N.$((($1 - 1) * 16)).0/20"; }

node_dirs() {
	local d
	for d in "$CLUSTER" "$TOP/run/$NAME"-n*; do [ -f "$d/pid" ] && echo "$d"; done
}

running() { [ -f "$CLUSTER/pid" ] && [ -d "/proc/$(cat "$CLUSTER/pid")" ]; }

say() { awk -v ns=$(($(date +%s%N) - began)) -v what="$*" 'BEGIN{printf "%6.1fs  %s\n", ns/1e9, what}'; }

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	local end=$((SECONDS + $1)); shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || { echo "kube: gave up waiting for: $* (logs in $DIR)" >&2; return 1; }
		sleep 0.1
	done
}

prerequisites() {
	[ "$(id -u)" = 0 ] || { echo "kube: containers with their own cgroups need root" >&2; exit 1; }
	# The nodes are cgroups beside each other, one per controller: with cgroup v2 a kubelet would want the machine's root.
	[ -f /sys/fs/cgroup/cpuset/cpuset.cpus ] || {
		echo "kube: /sys/fs/cgroup has no cgroup v1 hierarchies (cpuset is missing); boot with systemd.unified_cgroup_hierarchy=0 on the kernel's command line" >&2
		exit 1
	}
	local tool missing=()
	for tool in containerd:containerd runc:runc nft:nftables iptables:iptables conntrack:conntrack ip:iproute2 unshare:util-linux openssl:openssl \
		curl:curl ipset:ipset ethtool:ethtool socat:socat python3:python3; do
		command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}")
	done
	[ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
	command -v go >/dev/null || { echo "kube: Go 1.26 is missing in PATH: Kubernetes is built from its modules" >&2; exit 1; }
	[ ${#missing[@]} = 0 ] || { echo "kube: missing: apt-get install -y --no-install-recommends ${missing[*]}" >&2; exit 1; }
}
