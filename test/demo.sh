#!/usr/bin/env bash
# The mesh on this machine, seen from every side. Every line that it prints was observed in this run; the first thing
# that is not as it should be ends it with exit code 1. No root needed: pods are network namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/bin:$PATH"
name="demo-$$"
work=$(mktemp -d)
cleanup() {
	code=$?
	[ "$code" = 0 ] || fairlead lab status --name "$name" 2>/dev/null || true
	fairlead lab down --name "$name" >/dev/null 2>&1 || true
	rm -rf "$work"
	exit "$code"
}
trap cleanup EXIT INT TERM

for tool in python3; do
	command -v "$tool" >/dev/null || { echo "demo: $tool is missing; install it (Debian: apt-get install $tool)" >&2; exit 1; }
done

lab() { fairlead lab --name "$name" "$@"; }
bold='' plain=''
[ ! -t 1 ] || bold=$'\033[1m' plain=$'\033[0m'
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '  %s\n' "$*"; }
fail() { printf '  FAILED: %s\n' "$*" >&2; exit 1; }
# field FILE EXPR: a value out of a JSON file; EXPR is Python with the document as d.
field() { python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"; }
pods() { lab status -o json >"$work/status.json"; field "$work/status.json" "' '.join(p['name'] for p in d['pods'] if p['name'].startswith('$1') and p['ready'])"; }
# call ARGS…: the load client inside the orders pod; an ordinary HTTP client that knows nothing of the mesh.
url=http://users-service.myapp.svc.cluster.local:8080/api/user/123
call() { lab exec deploy/orders-service -n myapp -- fairlead demo-app call "$url" -o json "$@"; }

step "1. The lab: control plane, sidecars and apps from examples/users-orders, a namespace per pod"
cp examples/users-orders/*.yaml "$work/"
mkdir "$work/manifests" && mv "$work"/*.yaml "$work/manifests/"
lab up -f "$work/manifests" | sed 's/^/  /'
lab status | sed 's/^/  /'

step "2. orders-service calls $url"
for _ in $(seq 50); do # the app may still be starting
	lab exec deploy/orders-service -n myapp -- python3 -c 'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:8080/order").read().decode())' >"$work/answer.json" 2>"$work/answer.err" && break
done
[ -s "$work/answer.json" ] || fail "$(tail -1 "$work/answer.err")"
user=$(field "$work/answer.json" "d['user']['pod']")
say "answered by pod $user"
xfcc=$(field "$work/answer.json" "next(v for k,v in d['user']['headers'].items() if k.lower()=='x-forwarded-client-cert')[0]")
[ -n "$xfcc" ] || fail "the call did not come through two sidecars"

step "3. Captured by the sidecar, encrypted between the pods"
orders=$(pods orders-service)
user=$(pods users-v1 | cut -d' ' -f1) # v1 gets nine calls of ten: some of the next forty come here
(lab capture "$user" -n myapp --for 2s --grep /api/user/123 -o json >"$work/flows.json" 2>"$work/capture.log") &
capture=$!
until grep -q watching "$work/capture.log" 2>/dev/null; do :; done
call --count 40 >/dev/null
wait "$capture"
mesh=$(field "$work/flows.json" "sum(1 for f in d if f['pod'].endswith(':15008'))")
leaks=$(field "$work/flows.json" "sum(f['matches'] for f in d)")
kinds=$(field "$work/flows.json" "', '.join(sorted({f['firstIn'] for f in d if f['pod'].endswith(':15008') and f['firstIn']}))")
bytes=$(field "$work/flows.json" "sum(f['bytesIn']+f['bytesOut'] for f in d if f['pod'].endswith(':15008'))")
[ "$mesh" -ge 1 ] || fail "nothing reached port 15008 of $user"
[ "$leaks" = 0 ] || fail "the path of the request was readable on the wire in $leaks packets"
say "wire of $user: $bytes bytes on port 15008 ($kinds); packets in which the request's path is readable: $leaks"
say "client $(sed 's/.*URI=//' <<<"$xfcc")"
say "server $(sed 's/^By=\([^;]*\);.*/\1/' <<<"$xfcc")"
fairlead proxy-config secret "$orders" -n myapp --name "$name" | sed 's/^/  /'

step "4. 1,000 calls under the VirtualService's 90/10, then live edited to 50/50"
split() { field "$1" "' '.join(f'{k}={d[\"versions\"].get(k,0)}' for k in ('v1','v2'))"; }
share() { field "$1" "d['versions'].get('v2',0)"; }
call --count 1000 --concurrency 8 >"$work/split.json"
say "90/10: $(split "$work/split.json"), failed $(field "$work/split.json" "d['failed']")"
v2=$(share "$work/split.json")
{ [ "$v2" -ge 50 ] && [ "$v2" -le 160 ]; } || fail "v2 got $v2 of 1000 calls, want about 100"
sed -i 's/weight: 90/weight: 50/; s/weight: 10$/weight: 50/' "$work/manifests/weights.yaml"
for _ in $(seq 50); do
	call --count 40 >"$work/split.json"
	[ "$(share "$work/split.json")" -lt 12 ] || break
done
call --count 1000 --concurrency 8 >"$work/split.json"
say "50/50: $(split "$work/split.json"), failed $(field "$work/split.json" "d['failed']")"
v2=$(share "$work/split.json")
{ [ "$v2" -ge 420 ] && [ "$v2" -le 580 ]; } || fail "v2 got $v2 of 1000 calls, want about 500"

step "5. One v1 pod killed under load (SIGKILL, 200 requests a second)"
call --rate 200 --concurrency 8 --for 4s >"$work/kill.json" &
load=$!
victim=$(pods users-v1 | cut -d' ' -f1)
lab kill "$victim" -n myapp | sed 's/^/  /'
wait "$load" || fail "$(cat "$work/kill.json")"
say "$(field "$work/kill.json" "f\"{d['requests']} requests, {d['failed']} failed, p99 {d['p99Milliseconds']:.1f} ms\"")"
[ "$(field "$work/kill.json" "d['failed']")" = 0 ] || fail "requests were lost"

step "6. A pod that is not ready gets no calls"
sick=$(pods users-v1 | cut -d' ' -f1)
flip() { lab exec "$sick" -n myapp -- python3 -c 'import sys, urllib.request; urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8080/ready?ok="+sys.argv[1], method="POST"))' "$1"; }
flip false
for _ in $(seq 200); do
	fairlead proxy-config endpoints "$orders" -n myapp --name "$name" -o json >"$work/endpoints.json"
	state=$(field "$work/endpoints.json" "next((e['status'] for e in d if e.get('workload')=='$sick'), 'GONE')")
	[ "$state" = HEALTHY ] || break
done
[ "$state" != HEALTHY ] || fail "the sidecar still takes $sick for healthy"
call --count 300 --concurrency 4 >"$work/sick.json" || fail "$(cat "$work/sick.json")"
got=$(field "$work/sick.json" "d['pods'].get('$sick', 0)")
say "$sick is $state; of 300 calls it got $got"
[ "$got" = 0 ] || fail "a pod that is not ready was called"
flip true

step "7. The control plane is taken away; calls go on"
lab controller kill
call --count 500 --concurrency 8 >"$work/away.json" || fail "$(cat "$work/away.json")"
say "without a control plane: $(field "$work/away.json" "f\"{d['ok']} of {d['requests']} calls answered\"")"
lab controller start

step "8. What the sidecar of $orders knows"
fairlead proxy-config clusters "$orders" -n myapp --name "$name" | sed 's/^/  /'
fairlead proxy-config endpoints "$orders" -n myapp --name "$name" | sed 's/^/  /'
printf '\ndemo: everything was as it should be\n'
printf 'the mesh in a browser: bin/fairlead lab up -f examples/users-orders && bin/fairlead dashboard; bin/fairlead lab down ends it\n'
