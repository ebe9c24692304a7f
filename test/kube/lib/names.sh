# Names and addresses of cluster N and node M.
TOP=${FAIRLEAD_KUBE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/fairlead-kube}
BIN=$TOP/bin
NAME=fairlead-kube$N
NODE=$NAME-n$M
CLUSTER=$TOP/run/$NAME                       # of the cluster, and of its first node
DIR=$CLUSTER; [ "$M" = 1 ] || DIR=$TOP/run/$NODE
# The address families of the cluster, the first one first; a cluster that runs keeps its own.
IP_FAMILY=$(cat "$CLUSTER/ip-family" 2>/dev/null || echo "${FAIRLEAD_KUBE_IP_FAMILY:-ipv4}")
case $IP_FAMILY in
ipv4) FAMILIES=4 ;;
ipv6) FAMILIES=6 ;;
dual) FAMILIES="4 6" ;;
*) echo "kube: FAIRLEAD_KUBE_IP_FAMILY is ipv4, ipv6 or dual, not \"$IP_FAMILY\"" >&2; exit 2 ;;
esac
FIRST=${FAMILIES%% *}
node_ip() { case $1 in 4) echo "172.31.24$N.$2" ;; 6) echo "fd00:31:24$N::$2" ;; esac; }
node_net() { case $1 in 4) echo "172.31.24$N.0/24" ;; 6) echo "fd00:31:24$N::/64" ;; esac; }
pod_net() { case $1 in 4) echo "10.24$N.0.0/16" ;; 6) echo "fd00:10:24$N::/48" ;; esac; }
pod_net_of_node() { case $1 in 4) echo "10.24$N.$((($2 - 1) * 16)).0/20" ;; 6) echo "fd00:10:24$N:$2::/64" ;; esac; }
service_net() { case $1 in 4) echo "10.9$N.0.0/16" ;; 6) echo "fd00:10:9$N::/112" ;; esac; }
# every FUNCTION ARGUMENT...: what it gives for each family, with commas.
every() { local f out=; for f in $FAMILIES; do out=$out${out:+,}$("$1" "$f" "${@:2}"); done; echo "$out"; }
in_url() { case $1 in *:*) echo "[$1]" ;; *) echo "$1" ;; esac; }
API_IP=$(node_ip "$FIRST" 1) NODE_IP=$(node_ip "$FIRST" "$M")
API=$(in_url "$API_IP"):6443
case $FIRST in
4) FIRST_SERVICE_IP=10.9$N.0.1 DNS_IP=10.9$N.0.10 ANY=0.0.0.0 ;;
6) FIRST_SERVICE_IP=fd00:10:9$N::1 DNS_IP=fd00:10:9$N::a ANY=:: ;;
esac
API_ON_HOST=127.0.0.1:1644$N
CGROUPS="cpu cpuacct cpuset memory devices freezer blkio pids systemd unified"
PATH=$PATH:/usr/sbin:/sbin
began=$(date +%s%N)

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
