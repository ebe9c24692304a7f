#!/usr/bin/env bash
# run.sh [--bare] REPORT: the Gateway API's conformance suite, unmodified: profiles MESH-HTTP and MESH-GRPC and the
# mesh tests of no profile, on the cluster of KUBECONFIG. Every answer must come twenty times in a row: with the
# suite's own three, a cluster without any mesh passes five tests by luck. REPORT gets the suite's own report; the exit
# code is that of the tests. --bare leaves the pods without sidecars, to show what the suite is worth.
#
# The cluster must be one of test/kube: the image of the suite's echo server is built here and imported there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mesh=(--namespace-labels=fairlead.dev/inject=enabled --project fairlead)
[ "${1:-}" != --bare ] || { mesh=(--project "no mesh"); shift; }
report=$(realpath -m "${1:?say where the report goes}")
N=${FAIRLEAD_KUBE_N:-1}
work=${FAIRLEAD_KUBE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/fairlead-kube}/conformance
mkdir -p "$work" "$(dirname "$report")"

sum=$(cat "$here"/go.* "$here"/*.go "$here"/echo/go.* | sha256sum | cut -d' ' -f1)
if [ "$(cat "$work/built" 2>/dev/null)" != "$sum" ]; then
	echo "conformance: building the suite and its echo server (some minutes the first time)"
	(cd "$here/echo" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/" istio.io/istio/pkg/test/echo/cmd/client istio.io/istio/pkg/test/echo/cmd/server)
	(cd "$here" && go test -c -tags conformance -o "$work/suite" .)
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/cert.key" -out "$work/cert.crt" -days 3650 -subj /CN=echo 2>/dev/null
	chmod 644 "$work/cert.key"
	(cd "$here/../.." && go run ./test/kube/image -o "$work/echo.tar" -name registry.k8s.io/gateway-api/echo-advanced:v1.5.1 -entrypoint /bin/server \
		"$work/client:/bin/client" "$work/server:/bin/server" "$work/cert.crt:/cert.crt" "$work/cert.key:/cert.key")
	echo "$sum" >"$work/built"
fi
"$here/../kube/cluster.sh" image "$N" "$work/echo.tar"
crds=$(cd "$here" && go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/standard
kubectl apply --server-side --force-conflicts -f "$crds" >/dev/null
kubectl wait --for=condition=Established --timeout=30s crd/httproutes.gateway.networking.k8s.io crd/grpcroutes.gateway.networking.k8s.io >/dev/null

version=$(cd "$here/../.." && git describe --tags --always 2>/dev/null || echo unknown)
"$work/suite" -test.v -test.run TestConformance -test.timeout 60m \
	--conformance-profiles=MESH-HTTP,MESH-GRPC --all-features --exempt-features=Gateway,ReferenceGrant \
	--timeout-config-overrides="RequiredConsecutiveSuccesses:20" \
	--organization fairlead --url https://fairlead.dev --contact https://fairlead.dev --version "$version" \
	"${mesh[@]}" --report-output "$report" >"$work/log" 2>&1 && code=0 || code=$?
results=$(grep -oE '^    --- (PASS|FAIL|SKIP): TestConformance/Mesh[A-Za-z0-9]+' "$work/log" | sed 's/^ *--- //; s#TestConformance/##' | sort -k2)
echo "$results"
count() { grep -c "^$1" <<<"$results" || true; }
echo "conformance: of $(wc -l <<<"$results") mesh tests $(count PASS) passed, $(count FAIL) failed, $(count SKIP) were skipped; log: $work/log; report: $report"
exit "$code"
