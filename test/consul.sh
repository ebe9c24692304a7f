#!/usr/bin/env bash
# Has HashiCorp's own client read what the tests take for a Consul, and write it. It is built once, outside of the tree, as test/interop/consul/go.mod pins
# it. consul.sh COMMAND...: that, told by CONSUL_CLIENT where the client is.
set -euo pipefail
cd "$(dirname "$0")/.."
sum=$(cat test/interop/consul/go.* test/interop/consul/main.go | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/consul-$sum
if [ ! -x "$cache/consul" ]; then
	mkdir -p "$cache"
	(cd test/interop/consul && go build -trimpath -o "$cache/consul" .)
fi
export CONSUL_CLIENT=$cache/consul
[ $# -eq 0 ] || exec "$@"
exec go test -tags consul -count=1 -timeout 5m -v -run '^TestRealClient' ./internal/source/consul
