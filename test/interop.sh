#!/usr/bin/env bash
# Runs gRPC's interoperability tests, client and server of grpc-go, through a lab. They are built once, outside of the
# tree, as test/interop/go.mod pins them.
set -euo pipefail
cd "$(dirname "$0")/.."
sum=$(cat test/interop/go.* | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/interop-$sum
if [ ! -x "$cache/server" ]; then
	mkdir -p "$cache"
	(cd test/interop && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$cache/" google.golang.org/grpc/interop/client google.golang.org/grpc/interop/server)
fi
INTEROP=$cache go test -tags interop -count=1 -timeout 15m -v -run '^TestGRPCInterop$' "$@" ./test/lab
