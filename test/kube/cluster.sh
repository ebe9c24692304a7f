#!/usr/bin/env bash
# A real Kubernetes on this machine, in throw-away namespaces that no packet leaves: etcd, apiserver,
# controller-manager, scheduler, kubelet, kube-proxy, containerd, CoreDNS. Needs root.
#
#   cluster.sh up [N]            starts cluster N (1 to 9, default 1), builds what it lacks; of the address families
#                                that FAIRLEAD_KUBE_IP_FAMILY says: ipv4 (default), ipv6, dual
#   cluster.sh node N M          adds node M (2 to 9)
#   cluster.sh link N OTHER [separate]   lets the pods and nodes of two clusters reach each other; separate: the nodes alone
#   cluster.sh image N FILE...   gives image archives to every node
#   cluster.sh sh N COMMAND...   runs a command on node 1, KUBECONFIG set
#   cluster.sh stop N COMPONENT, cluster.sh start N COMPONENT     freezes and thaws a component, e.g. kube-apiserver
#   cluster.sh memory N          resident memory of every component
#   cluster.sh env N             prints what a shell needs to talk to it
#   cluster.sh down [N]
#
# What is built is kept in ${FAIRLEAD_KUBE:-~/.cache/fairlead-kube}/bin, what runs in its run/.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || { sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 2; }
command=$1 N=${2:-1} M=1
shift; [ $# -eq 0 ] || shift
[[ $N =~ ^[1-9]$ ]] || { echo "cluster.sh $command: the cluster is a number from 1 to 9, not \"$N\"" >&2; exit 2; }
[ "$command" != node ] || M=$1
. "$here/lib/names.sh"
. "$here/lib/namespaces.sh"
. "$here/lib/controlplane.sh"
. "$here/lib/node.sh"
. "$here/lib/link.sh"

up() {
	prerequisites
	! running || { echo "kube: cluster $N is running already ($here/cluster.sh down $N ends it)"; return; }
	"$here/build.sh" "$BIN"
	base_images
	enter_namespaces
	certificates
	control_plane
	start_node
	coredns
	forward_api
	say "ready"
	how_to_talk
}

how_to_talk() { printf 'export KUBECONFIG=%s\nexport PATH=%s:$PATH\n' "$CLUSTER/host.kubeconfig" "$BIN"; }

# base_images makes the archives that every node gets.
base_images() {
	local name
	for name in pause coredns; do
		[ "$BIN/$name.tar" -nt "$BIN/$name" ] ||
			(cd "$here/../.." && go run ./test/kube/image -o "$BIN/$name.tar" -name "fairlead.dev/kube/$name:1" -entrypoint "/$name" "$BIN/$name:/$name")
	done
}

case $command in
up) up ;;
node)
	running || { echo "kube: cluster $N is not running" >&2; exit 1; }
	enter_namespaces; start_node; routes_between_nodes
	say "node $NODE joined" ;;
link) link "${1:-}" "${2:-flat}" ;;
image) for dir in $(node_dirs); do import "$dir" "$@"; done ;;
sh) inside env KUBECONFIG="$CLUSTER/admin.kubeconfig" PATH="$BIN:$PATH" "$@" ;;
stop) signal STOP "$1" ;;
start) signal CONT "$1" ;;
memory) memory ;;
env) running || { echo "kube: cluster $N is not running (make kube-up)" >&2; exit 1; }; how_to_talk ;;
down) down ;;
*) echo "cluster.sh: no command \"$command\"" >&2; exit 2 ;;
esac
