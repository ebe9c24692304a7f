#!/usr/bin/env bash
# CPU per request of a pair of sidecars beside a pair of nginx, in the same run, in the same lab: client → proxy →
# mutual TLS → proxy → app, HTTP/1.1 keep-alive, 1 KB bodies. Needs nginx, wrk, openssl and taskset.
#
#   test/bench/pair.sh [ROUNDS] [SECONDS]
#
# Prints µs of CPU per request of both proxies together (their own CPU clocks), and the ratio ours/nginx per round.
# Both proxies of a pair run on CPU 1, client and app on CPU 0. Ratios are what counts: the machine is not quiet.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PWD/bin:$PATH"
rounds=${1:-3} seconds=${2:-4}
name="bench-$$"
work=$(mktemp -d)
chmod 755 "$work"
cleanup() { fairlead lab --name "$name" down >/dev/null 2>&1 || true; rm -rf "$work"; }
trap cleanup EXIT
for tool in nginx wrk openssl taskset python3; do
	command -v "$tool" >/dev/null || { echo "pair.sh: $tool is missing" >&2; exit 1; }
done
lab() { fairlead lab --name "$name" "$@"; }

certs() { # a CA and one certificate, as small as the sidecars' (ECDSA P-256)
	openssl ecparam -name prime256v1 -genkey -noout -out "$work/ca.key"
	openssl req -x509 -new -key "$work/ca.key" -days 2 -subj /CN=ca -out "$work/ca.pem" 2>/dev/null
	openssl ecparam -name prime256v1 -genkey -noout -out "$work/leaf.key"
	openssl req -new -key "$work/leaf.key" -subj /CN=peer -out "$work/leaf.csr" 2>/dev/null
	openssl x509 -req -in "$work/leaf.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 2 \
		-extfile <(echo subjectAltName=DNS:peer) -out "$work/leaf.pem" 2>/dev/null
}

body=$(head -c 1024 /dev/zero | tr '\0' x)
conf() { # conf NAME: an nginx.conf around the http block on standard input
	{
		echo "worker_processes 1; daemon off; pid $work/$1.pid; error_log /dev/null crit;"
		echo "events { worker_connections 4096; }"
		echo "http { access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; client_body_temp_path $work/$1.b; proxy_temp_path $work/$1.p; fastcgi_temp_path $work/$1.f; uwsgi_temp_path $work/$1.u; scgi_temp_path $work/$1.s;"
		cat
		echo "}"
	} >"$work/$1.conf"
}
certs
conf app <<<"server { listen 8080 backlog=1024; location / { default_type text/plain; return 200 '$body'; } }"
conf inner <<<"upstream app { server 127.0.0.1:8080; keepalive 256; keepalive_requests 1000000000; } server { listen 8443 ssl backlog=1024; ssl_certificate $work/leaf.pem; ssl_certificate_key $work/leaf.key; ssl_client_certificate $work/ca.pem; ssl_verify_client on; ssl_protocols TLSv1.3; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host \$host; } }"
conf outer <<<"upstream peer { server PEER:8443; keepalive 256; keepalive_requests 1000000000; } server { listen 9000 backlog=1024; location / { proxy_pass https://peer; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host \$host; proxy_ssl_certificate $work/leaf.pem; proxy_ssl_certificate_key $work/leaf.key; proxy_ssl_trusted_certificate $work/ca.pem; proxy_ssl_verify on; proxy_ssl_name peer; proxy_ssl_protocols TLSv1.3; } }"

container() { printf '        - {name: %s, image: nginx, command: [nginx, -c, %s]}\n' "$1" "$work/$1.conf"; }
deployment() { # deployment NAME INJECT CONTAINERS…
	local n=$1 inject=$2
	shift 2
	cat <<YAML
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: $n, namespace: default}
spec:
  selector: {matchLabels: {app: $n}}
  template:
    metadata: {labels: {app: $n}, annotations: {fairlead.dev/inject: "$inject"}}
    spec:
      containers:
$(for c in "$@"; do container "$c"; done)
YAML
}
{
	deployment app true app
	deployment inner false app inner
	cat <<YAML
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: default}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      containers: [{name: idle, image: debian, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Service
metadata: {name: app, namespace: default}
spec:
  selector: {app: app}
  ports: [{name: http, port: 8080}]
YAML
} >"$work/bench.yaml"
lab up -f "$work/bench.yaml"
lab status -o json >"$work/status.json"
pod() { python3 -c 'import json,sys; print(next(p[sys.argv[3]] if sys.argv[3]=="name" else p["ips"][0] for p in json.load(open(sys.argv[1]))["pods"] if p["owner"]==sys.argv[2]))' "$work/status.json" "$1" "$2"; }
sed -i "s/PEER/$(pod inner ip)/" "$work/outer.conf"
{ deployment outer false outer; } >"$work/outer.yaml"
lab apply -f "$work/outer.yaml" >/dev/null
until lab status | grep -q 'outer.*1/1.*Running'; do :; done

pids() { # pids PATTERN: the processes and, for nginx, their workers
	pgrep -f "$1" | while read -r p; do echo "$p"; pgrep -P "$p" || true; done | sort -u
}
ours=$(pids "fairlead-proxy run.*--pod (app|client)-")
theirs=$(pids "nginx.*$work/(inner|outer).conf")
for p in $ours $theirs; do taskset -acp 1 "$p" >/dev/null; done
for p in $(pids "nginx.*$work/app.conf"); do taskset -acp 0 "$p" >/dev/null; done

cpu() { # nanoseconds of CPU of all threads of the processes
	for p in "$@"; do cat /proc/"$p"/task/*/schedstat 2>/dev/null; done | awk '{s+=$1} END {printf "%.0f", s}'
}
run() { # run POD URL CONNECTIONS: requests per second are wrk's; prints "µs per request" for the processes given in $pids
	local before after
	lab exec "deploy/$1" -- taskset -c 0 wrk -t1 -c"$3" -d1s "$2" >/dev/null
	before=$(cpu $pids)
	lab exec "deploy/$1" -- taskset -c 0 wrk -t1 -c"$3" -d"${seconds}s" "$2" >"$work/wrk.txt"
	after=$(cpu $pids)
	grep -q 'Non-2xx\|Socket errors' "$work/wrk.txt" && { cat "$work/wrk.txt" >&2; exit 1; }
	awk -v ns=$((after - before)) '/requests in/ {printf "%.1f", ns/1000/$1}' "$work/wrk.txt"
}
printf '%-12s %10s %10s %8s\n' connections ours nginx ratio
for c in 1 8 64; do
	for _ in $(seq "$rounds"); do
		pids=$ours; a=$(run client http://app:8080/ "$c")
		pids=$theirs; b=$(run outer http://127.0.0.1:9000/ "$c")
		awk -v c="$c" -v a="$a" -v b="$b" 'BEGIN {printf "%-12s %10.1f %10.1f %8.2f\n", c, a, b, a/b}'
	done
done
