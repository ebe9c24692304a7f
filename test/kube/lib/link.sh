# Two clusters on one flat network: pods and nodes of each have routes to those of the other. Or on separate networks: nodes alone
# have, and what a pod sends to the other cluster has the address of its node.

# link OTHER [flat|separate]: joins cluster N with another one by a wire between their first nodes, which is gone when either of them
# ends, or when they are linked in the other way. Nodes that join later have no routes to the other cluster.
link() {
	local f other=$1 kind=${2:-flat} dir=$TOP/run/fairlead-kube$1 nets=(node_net pod_net)
	[[ $kind =~ ^(flat|separate)$ ]] || { echo "kube: link: flat or separate, not \"$kind\"" >&2; exit 2; }
	[[ $other =~ ^[1-9]$ && $other != "$N" ]] || { echo "kube: link: the other cluster is a number from 1 to 9 that is not $N" >&2; exit 2; }
	running && [ -d "/proc/$(cat "$dir/pid" 2>/dev/null || echo none)" ] || { echo "kube: clusters $N and $other do not both run" >&2; exit 1; }
	[ "$(cat "$dir/ip-family")" = "$IP_FAMILY" ] || { echo "kube: clusters $N and $other have other address families" >&2; exit 1; }
	if inside ip link show "to$other" >/dev/null 2>&1; then
		[ "$(cat "$CLUSTER/link-$other" 2>/dev/null)" != "$kind" ] || return 0
		inside ip link delete "to$other"
	fi
	[ "$kind" = flat ] || nets=(node_net)
	nsenter -t "$(cat "$CLUSTER/pid")" -n ip link add "to$other" type veth peer name "to$N" netns "$(cat "$dir/pid")"
	for f in $FAMILIES; do
		end_of_link "$f" "$CLUSTER" "$N" "$other"
		end_of_link "$f" "$dir" "$other" "$N"
	done
	stand_in "$CLUSTER" "to$other" "$kind"
	stand_in "$dir" "to$N" "$kind"
	echo "$kind" | tee "$CLUSTER/link-$other" >"$dir/link-$N"
	say "clusters $N and $other are linked ($kind)"
}

# end_of_link FAMILY DIR OWN OTHER: the addresses and routes of cluster OWN, whose first node is DIR.
end_of_link() {
	local f=$1 dir=$2 own=$3 other=$4 node net
	nsenter -t "$(cat "$dir/pid")" -n ip "-$f" addr add "$(wire_end "$f" "$own" "$other")" dev "to$other"
	nsenter -t "$(cat "$dir/pid")" -n ip link set "to$other" up
	for net in "${nets[@]}"; do
		net=$(N=$other && "$net" "$f")
		nsenter -t "$(cat "$dir/pid")" -n ip "-$f" route replace "$net" via "$(wire_end "$f" "$other" "$own" | cut -d/ -f1)"
		for node in "$TOP/run/fairlead-kube$own"-n*; do
			[ ! -f "$node/pid" ] || nsenter -t "$(cat "$node/pid")" -n ip "-$f" route replace "$net" via "$(N=$own && node_ip "$f" 1)"
		done
	done
}

# stand_in DIR INTERFACE KIND: whether what leaves by the interface has the address of the node.
stand_in() {
	local rules="table inet link-$2 {}; delete table inet link-$2"
	[ "$3" = flat ] || rules="$rules; table inet link-$2 { chain postrouting { type nat hook postrouting priority 90; oifname \"$2\" masquerade; }; }"
	nsenter -t "$(cat "$1/pid")" -n nft "$rules"
}

# wire_end FAMILY OWN OTHER: the address of cluster OWN on its wire to cluster OTHER.
wire_end() {
	local low=$2 high=$3
	[ "$low" -lt "$high" ] || { low=$3 high=$2; }
	case $1 in 4) echo "172.30.$low$high.$2/24" ;; 6) echo "fd00:30:$low$high::$2/64" ;; esac
}
