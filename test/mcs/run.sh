#!/usr/bin/env bash
# run.sh REPORT: the conformance suite of the Multi-Cluster Services API, unmodified, on the two clusters of test/kube/clusters.sh:
#
#	test/kube/clusters.sh 1 2 test/mcs/run.sh dist/mcs.html
#
# Nothing in the suite's namespaces has a sidecar: names are answered by CoreDNS, which is told of the zone clusterset.local, and
# addresses by kube-proxy. REPORT gets the suite's own report; the exit code is that of the tests. The images of the suite's pods are
# made here of this machine's socat and busybox. Arguments after REPORT are the suite's.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
report=$(realpath -m "${1:?say where the report goes}"); shift
west=${FAIRLEAD_KUBE_WEST:?} east=${FAIRLEAD_KUBE_EAST:?}
work=${FAIRLEAD_KUBE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/fairlead-kube}/mcs
mkdir -p "$work" "$(dirname "$report")"
for program in socat busybox; do
	command -v "$program" >/dev/null || { echo "mcs: $program is missing: apt-get install socat busybox-static" >&2; exit 1; }
done

(cd "$here" && go test -c -tags conformance -o "$work/suite" .)
cd "$here/../.."
go build -o "$work/registry" ./test/kube/registry
applets=()
for applet in sh nc nslookup sleep echo; do applets+=("$(command -v busybox):/bin/$applet"); done
mapfile -t libraries < <(ldd "$(command -v socat)" | grep -oE '/[^ ()]+\.so[^ ():]*' | while read -r lib; do echo "$(realpath "$lib"):$lib"; done)
go run ./test/kube/image -o "$work/socat.tar" -name docker.io/alpine/socat:1.7.4.4 -entrypoint /bin/socat "$(command -v socat):/bin/socat" "${applets[@]}" "${libraries[@]}"
go run ./test/kube/image -o "$work/busybox.tar" -name docker.io/library/busybox:latest "${applets[@]}"

pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
prepare() { # N NAME OTHER-N OTHER
	local n=$1 kubectl=(kubectl --context "fairlead-kube$1") dir=$work/../run/fairlead-kube$1
	test/kube/cluster.sh image "$n" "$work/socat.tar"
	# The suite's busybox is of the tag latest, and pulled each time: a registry in the cluster's network has it.
	mkdir -p "$dir/registries/docker.io"
	printf 'server = "http://127.0.0.1:5000"\n[host."http://127.0.0.1:5000"]\n  capabilities = ["pull", "resolve"]\n' >"$dir/registries/docker.io/hosts.toml"
	nsenter -t "$(cat "$dir/pid")" -n "$work/registry" -listen 127.0.0.1:5000 "library/busybox=$work/busybox.tar" & pids+=($!)
	# What docs/reference/multicluster.md says of CoreDNS.
	"${kubectl[@]}" apply -f test/mcs/coredns.yaml >/dev/null
	"${kubectl[@]}" -n kube-system get configmap coredns -o yaml |
		sed 's/kubernetes cluster.local in-addr/kubernetes cluster.local clusterset.local in-addr/; s/^\( *\)pods insecure/\1multicluster clusterset.local\n&/' |
		"${kubectl[@]}" apply -f - >/dev/null
	"${kubectl[@]}" -n kube-system rollout restart deployment/coredns >/dev/null
	"${kubectl[@]}" -n kube-system rollout status deployment/coredns --timeout=60s >/dev/null
	bin/fairlead --context "fairlead-kube$3" create-remote-secret --name "$4" --server "https://172.31.24$3.1:6443" | "${kubectl[@]}" apply -f - >/dev/null
}
prepare "$west" west "$east" east
prepare "$east" east "$west" west
for _ in $(seq 60); do
	both=$(for n in "$west" "$east"; do bin/fairlead --context "fairlead-kube$n" remote-clusters; done | grep -c ' synced ' || true)
	[ "$both" -lt 2 ] || break
	sleep 1
done
[ "$both" -ge 2 ] || { echo "mcs: the clusters do not read each other" >&2; exit 1; }

# Exports of one second are told apart by the names of their clusters: the suite takes those of the first for older.
cd "$work"
"$work/suite" -test.v -test.run TestConformance -test.timeout 30m -contexts "fairlead-kube$east,fairlead-kube$west" --ginkgo.no-color "$@" >"$work/log" 2>&1 && code=0 || code=$?
cp report.html "$report"
grep -E '^(Ran|PASS|FAIL|ok|SUCCESS|\[FAIL\]|  \[FAIL\])' "$work/log" || true
echo "mcs: log: $work/log; report: $report"
exit "$code"
