#!/usr/bin/env bash
# Runs cells of make bench on sidecars whose sockets are joined, beside the same sidecars, in one lab each, block by block in
# turn (root): make build, then bench/sockmap/pair.sh -cells h1-1k-c1,h1-1k-c64. Its arguments are those of bench. The row
# "fairlead" is without, "joined" with. Everything in the second lab is in a cgroup whose sockets are joined: the client, the
# server and the sidecars.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CGO_ENABLED=0
go build -o bin/bench-load ./bench/load
work=$(mktemp -d)
(cd bench/sockmap && go build -o "$work/" .)
cgroup=$(findmnt -nt cgroup2 -o TARGET | head -1)/sockmap-pair-$$
mkdir "$cgroup"
"$work/sockmap" hold "$cgroup" >"$work/held" &
held=$!
finish() {
	kill $held
	wait $held || true
	rmdir "$cgroup" && rm -r "$work"
}
trap finish EXIT
until grep -q joined "$work/held"; do
	kill -0 $held
	sleep 0.1
done
mkdir "$work/joined"
ln -s "$PWD"/bin/fairlead-proxy "$PWD"/bin/fairlead-controller "$work/joined/"
cat >"$work/joined/fairlead" <<END
#!/bin/sh
echo \$\$ >$cgroup/cgroup.procs
exec $PWD/bin/fairlead "\$@"
END
chmod +x "$work/joined/fairlead"
mkdir -p dist/bench
go run ./bench -variant "joined=$work/joined" -out dist/bench/sockmap.json "$@"
