#!/usr/bin/env bash
# Runs h2spec against the sidecar's entrances. h2spec is built once, outside of the tree.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v2.2.1+incompatible
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/h2spec-$version
if [ ! -x "$cache/h2spec" ]; then
	mkdir -p "$cache"
	GOFLAGS='' GOBIN=$cache go install "github.com/summerwind/h2spec/cmd/h2spec@$version"
fi
H2SPEC=$cache/h2spec go test -tags h2spec -count=1 -timeout 10m -v -run '^TestH2spec$' ./internal/proxy
