# The namespaces that a node lives in. Killing their first process ends everything in them, mounts included.

inside() { nsenter -t "$(cat "$DIR/pid")" -n -m -p -u -- "$@"; }

# start NAME COMMAND...: a daemon inside, its log in $DIR/NAME.log.
start() {
	local name=$1; shift
	(cd "$DIR" && exec nsenter -t "$(cat "$DIR/pid")" -n -m -p -u -- "$@" >"$DIR/$name.log" 2>&1 </dev/null) &
	echo $! >"$DIR/$name.hostpid"
}

# component_pid NAME: nsenter forks, the component is its child.
component_pid() { local p; p=$(cat "$CLUSTER/$1.hostpid") && tr -d ' ' <"/proc/$p/task/$p/children"; }
# signal SIGNAL NAME: nsenter stops itself with its child, and must go on with it to reap it.
signal() { kill "-$1" "$(component_pid "$2")"; [ "$1" != CONT ] || kill -CONT "$(cat "$CLUSTER/$2.hostpid")"; }

enter_namespaces() {
	local limit
	for limit in fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288; do sysctl -qw $limit || true; done
	rm -rf "$DIR"; mkdir -p "$DIR"/{pki,log,cni,cni-bin,etc}
	cp -a /usr/lib/cni/. "$DIR/cni-bin/"
	unshare --net --mount --pid --uts --fork --kill-child --mount-proc --propagation private \
		"$BIN/pause" </dev/null >/dev/null 2>&1 &
	local outer=$! first=
	wait_for 5 grep -q . "/proc/$outer/task/$outer/children"
	first=$(tr -d ' ' <"/proc/$outer/task/$outer/children")
	disown $outer
	echo "$first" >"$DIR/pid"
	wait_for 5 inside test -d /proc/1
	network "$first"
	private_mounts
	cgroups
}

# network gives the node its address. Node 1 has the bridge that the others plug into; nothing leads out of it.
network() {
	local f
	if [ "$M" = 1 ]; then
		echo "$IP_FAMILY" >"$DIR/ip-family"
		inside sh -e -c "ip link set lo up; ip link add node0 type bridge; ip link set node0 up"
	else
		nsenter -t "$(cat "$CLUSTER/pid")" -n sh -e -c "ip link add n$M type veth peer name node0 netns $1; ip link set n$M master node0 up"
		inside sh -e -c "ip link set lo up; ip link set node0 up"
	fi
	inside hostname "$NODE"
	for f in $FAMILIES; do "network$f"; done
	inside sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1 || true
}

# Cluster addresses must have a route for clients on the node: they are translated in OUTPUT.
network4() {
	inside sh -e <<-END
		ip addr add $(node_ip 4 "$M")/24 dev node0
		ip route add $(service_net 4) dev node0
		ip route add unreachable default
		sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0
	END
}

network6() {
	inside sh -e <<-END
		sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
		ip addr add $(node_ip 6 "$M")/64 dev node0 nodad
		ip -6 route add $(service_net 6) dev node0
		ip -6 route add unreachable default metric 4096
	END
}

# private_mounts hides the paths that containerd, CNI and the kubelet share with others on the machine, and shows the
# kubelet the values of three machine-wide settings that it insists on, without changing them.
private_mounts() {
	inside sh -e <<-END
		mount -t tmpfs tmpfs /run
		mkdir -p /run/lock /run/netns /var/lib/cni /etc/cni /opt
		mount -t tmpfs tmpfs /var/lib/cni
		mount -t tmpfs tmpfs /etc/cni; mkdir /etc/cni/net.d; mount --bind $DIR/cni /etc/cni/net.d
		mount -t tmpfs tmpfs /opt; mkdir -p /opt/cni/bin; mount --bind $DIR/cni-bin /opt/cni/bin
		: > $DIR/etc/resolv.conf; mount --bind $DIR/etc/resolv.conf /etc/resolv.conf
	END
	local setting file
	for setting in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
		file=$DIR/etc/$(echo "${setting%=*}" | tr / _)
		echo "${setting#*=}" >"$file"
		inside mount --bind "$file" "/proc/sys/${setting%=*}"
	done
}

# cgroups makes a parent per controller (cgroup v1) for everything that belongs to this node.
cgroups() {
	local c
	for c in $CGROUPS; do [ ! -d "/sys/fs/cgroup/$c" ] || mkdir -p "/sys/fs/cgroup/$c/$NODE"; done
	for c in cpus mems; do cat "/sys/fs/cgroup/cpuset/cpuset.$c" >"/sys/fs/cgroup/cpuset/$NODE/cpuset.$c"; done
}

memory() {
	local dir file pid
	for dir in $(node_dirs); do
		for file in "$dir"/*.hostpid; do
			pid=$(cat "$file"); pid=$(tr -d ' ' <"/proc/$pid/task/$pid/children")
			awk -v name="$(basename "$file" .hostpid)" '/^VmRSS|^RssAnon/{kib[$1]=$2}
				END{printf "%-26s rss %6.1f MiB  anonymous %6.1f MiB\n", name, kib["VmRSS:"]/1024, kib["RssAnon:"]/1024}' "/proc/$pid/status"
		done
	done
}

# down ends the nodes, the first one last, and removes what they leave on the machine.
down() {
	local dir pid c group
	[ ! -f "$CLUSTER/forward.pid" ] || kill "$(cat "$CLUSTER/forward.pid")" 2>/dev/null || true
	for dir in $(node_dirs | tac); do
		pid=$(cat "$dir/pid"); rm -f "$dir/pid"
		[ -d "/proc/$pid" ] || continue
		cat "$dir"/*.hostpid 2>/dev/null | xargs -r kill -CONT 2>/dev/null || true # whoever is stopped reaps nothing
		kill -KILL "$pid"
		wait_for 10 test ! -d "/proc/$pid"
	done
	for _ in 1 2 3; do
		for c in $CGROUPS; do
			for group in "/sys/fs/cgroup/$c/$NAME"-n*; do
				[ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
			done
		done
	done
	rm -rf "$TOP/run/$NAME"-n* "$CLUSTER" 2>/dev/null || true
	say "cluster $N is down"
}
