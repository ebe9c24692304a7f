#!/usr/bin/env bash
# Has sidecars send spans to a real OpenTelemetry collector. It is built once, outside of the tree, as test/interop/otel/go.mod pins
# it.
set -euo pipefail
cd "$(dirname "$0")/.."
sum=$(cat test/interop/otel/go.* test/interop/otel/main.go | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/otel-$sum
if [ ! -x "$cache/otel" ]; then
	mkdir -p "$cache"
	(cd test/interop/otel && go build -trimpath -o "$cache/otel" .)
fi
OTELCOL=$cache/otel go test -tags otel -count=1 -timeout 10m -v -run '^TestRealCollector' "$@" ./internal/proxy
