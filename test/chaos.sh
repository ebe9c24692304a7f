#!/usr/bin/env bash
# chaos.sh PACKAGE [TEST]: every test of a package (those whose names match TEST) alone, COUNT times (10), by a Go whose goroutines wait by
# chance: before they use channels, around locks and around reads and writes, one of CHAOS operations (12) for up to CHAOS_MS (10) ms, and one of
# ten before it begins. That brings the orders of events of a busy machine that are seen once in a thousand runs otherwise. A test that fails
# because it ran out of TIMEOUT (120 s) or of a time of its own says nothing; give it a larger CHAOS. PARALLEL (6) tests run at a time, each in a
# network namespace of its own. Needs root, or user namespaces. Output of what failed: dist/chaos/TEST.txt
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,7s/^# //p' "$0"; exit 2; }
package=$1 tests=${2:-.}
export CHAOS=${CHAOS:-12} CHAOS_MS=${CHAOS_MS:-10} COUNT=${COUNT:-10} TIMEOUT=${TIMEOUT:-120} OUT=$PWD/dist/chaos
src=$(go env GOROOT)/src
made=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/chaos-$(go env GOVERSION)
mkdir -p "$made" "$OUT"
rm -f "$OUT"/*

# edit FILE SCRIPT: a changed copy of a file of Go's library, in the overlay.
overlay=
edit() {
	local copy=$made/${1//\//_}
	sed -E "$2" "$src/$1" >"$copy"
	! cmp -s "$copy" "$src/$1" || { echo "chaos.sh: $(go version) has nothing to change in $1" >&2; exit 1; }
	overlay+="\"$src/$1\": \"$copy\", "
}
edit runtime/chan.go 's/^func (chansend1|chanrecv1|chanrecv2)\(.*\{$/&\n\tchaos()/'
edit runtime/proc.go 's/^\tgoenvs\(\)$/&\n\tchaosInit()/; /^func newproc\(/,/^\}/s/^\tpc := .*$/&\n\tif chaosLate(fn, gp, pc) {\n\t\treturn\n\t}/'
edit sync/mutex.go 's/^\tm\.mu\.Lock\(\)$/\truntime_chaos()\n&/; s/^\tm\.mu\.Unlock\(\)$/&\n\truntime_chaos()/'
edit sync/runtime.go '$s/$/\n\nfunc runtime_chaos()/'
edit internal/poll/fd_mutex.go '$s/$/\n\nfunc runtime_chaos()/'
edit internal/poll/fd_unix.go 's/^func \(fd \*FD\) (Read|Write)\(.*\{$/&\n\tdefer runtime_chaos()/; s/^func \(fd \*FD\) (Read|Write|ReadFrom|WriteTo|Accept|RawRead|RawWrite)\(.*\{$/&\n\truntime_chaos()/'
echo "{\"Replace\": {$overlay\"$src/runtime/chaos.go\": \"$PWD/test/chaos/chaos.go.txt\"}}" >"$made/overlay.json"

go test -c -race -overlay "$made/overlay.json" -o "$OUT/chaos.test" "$package"
cd "$package"
alone() {
	local out=$OUT/$1.txt
	if unshare --net --map-root-user sh -c 'ip link set lo up; exec "$@"' sh \
		timeout -s QUIT "$TIMEOUT" "$OUT/chaos.test" -test.run "^$1\$" -test.count "$COUNT" -test.failfast >"$out" 2>&1; then
		rm "$out"
	else
		echo "$1: $(grep -m 1 -E '^(panic|WARNING: DATA RACE| +[a-z0-9_]+_test\.go:|SIGQUIT)' "$out" || tail -n 1 "$out")"
		false
	fi
}
export -f alone
env CHAOS=0 "$OUT/chaos.test" -test.list "$tests" | grep '^Test' | xargs -P "${PARALLEL:-6}" -I{} bash -c 'alone {}'
