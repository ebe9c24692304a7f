#!/usr/bin/env bash
# Has HashiCorp's own client read what the tests take for a Consul, and write it. It is built once, outside of the tree, as test/interop/consul/go.mod pins
# it.
set -euo pipefail
cd "$(dirname "$0")/.."
sum=$(cat test/interop/consul/go.* test/interop/consul/main.go | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/consul-$sum
if [ ! -x "$cache/consul" ]; then
	mkdir -p "$cache"
	(cd test/interop/consul && go build -trimpath -o "$cache/consul" .)
fi
CONSUL_CLIENT=$cache/consul go test -tags consul -count=1 -timeout 5m -v -run '^TestRealClient' "$@" ./internal/source/consul
