#!/usr/bin/env bash
# The mesh on a real Kubernetes, as a user meets it: installed, a namespace opted in, the example applied, one call seen
# from every side. Every line was observed in this run; the first thing that is not as it should be ends it with 1.
# Uses cluster ${FAIRLEAD_KUBE_N:-1} of test/kube, which it starts, and ends again if it did.
set -euo pipefail
cd "$(dirname "$0")/../.."
N=${FAIRLEAD_KUBE_N:-1}
work=$(mktemp -d)
started=
cleanup() {
	code=$?
	[ "$code" = 0 ] || { kubectl get pods -A 2>/dev/null; kubectl -n fairlead-system logs deployment/fairlead-controller --tail=20 2>/dev/null; } || true
	[ -z "$started" ] || test/kube/cluster.sh down "$N" >/dev/null
	rm -rf "$work"
	exit "$code"
}
trap cleanup EXIT INT TERM
bold='' plain=''
[ ! -t 1 ] || bold=$'\033[1m' plain=$'\033[0m'
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '  %s\n' "$*"; }
fail() { printf '  FAILED: %s\n' "$*" >&2; exit 1; }
# field FILE EXPR: a value out of a JSON file; EXPR is Python with the document as d.
field() { python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"; }

step "1. A Kubernetes: etcd, apiserver, scheduler, kubelet, containerd, CoreDNS"
if ! test/kube/cluster.sh env "$N" >/dev/null 2>&1; then
	started=yes
	test/kube/cluster.sh up "$N" | grep -v '^export' | sed 's/^/  /'
fi
eval "$(test/kube/cluster.sh env "$N")"
test/kube/images.sh "$N" | sed 's/^/  /'
kubectl get nodes -o wide --no-headers | awk '{print "  node " $1 ": " $2 ", Kubernetes " $5}'

step "2. fairlead install --set image.hub=localhost/fairlead | kubectl apply -f -"
bin/fairlead install --set image.hub=localhost/fairlead >"$work/install.yaml"
kubectl apply -f "$work/install.yaml" >"$work/applied"
say "$(wc -l <"$work/applied") objects"
kubectl -n fairlead-system rollout status deployment/fairlead-controller --timeout=60s | tail -1 | sed 's/^/  /'

step "3. A namespace opts in; the example is applied as it is"
kubectl create namespace myapp --dry-run=client -o yaml | kubectl apply -f - >/dev/null
kubectl label namespace myapp fairlead.dev/inject=enabled --overwrite | sed 's/^/  /'
kubectl apply -f examples/users-orders/ 2>&1 | grep -v '^Warning' >"$work/applied"
for deployment in users-v1 users-v2 orders-service; do
	kubectl -n myapp rollout status "deployment/$deployment" --timeout=90s | tail -1 | sed 's/^/  /'
done

step "4. orders-service calls users-service by its name; neither knows of the mesh"
kubectl -n myapp exec deployment/users-v2 -c users -- /fairlead demo-app get http://orders-service:8080/ >"$work/order.json"
caller=$(field "$work/order.json" "d['user']['headers']['X-Forwarded-Client-Cert'][0]")
case $caller in
*URI=spiffe://cluster.local/ns/myapp/sa/orders*) say "users-service was told, proven by mutual TLS: ${caller##*;}" ;;
*) fail "users-service saw no proof of who called: $caller" ;;
esac

step "5. The VirtualService's canary: 90 of 100 to v1"
kubectl -n myapp exec deployment/users-v1 -c users -- /fairlead demo-app call http://users-service.myapp.svc.cluster.local:8080/ --count 2000 -o json >"$work/load.json"
say "$(field "$work/load.json" "'%d calls, %d failed; v1 %d, v2 %d' % (d['requests'], d['failed'], d['versions']['v1'], d['versions']['v2'])")"
[ "$(field "$work/load.json" "d['failed'] == 0 and 0.07 < d['versions']['v2'] / d['requests'] < 0.13")" = True ] || fail "not a split of 90 to 10"

step "6. fairlead check --proxy"
bin/fairlead check --proxy >"$work/check" || { cat "$work/check"; fail "fairlead check"; }
grep -cE '^√' "$work/check" | sed 's/^/  √ /'
grep -E '^(‼|×)' "$work/check" | sed 's/^/  /' || true

step "7. fairlead proxy-status"
bin/fairlead proxy-status | sed 's/^/  /'
[ -n "$started" ] || { kubectl delete namespace myapp --wait=false >/dev/null; say "(namespace myapp removed; the cluster stays)"; }
step "done"
