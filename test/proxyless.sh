#!/usr/bin/env bash
# Runs gRPC apps without sidecars, in Go, Python and Node, on their own (test/interop/xds) and in a lab: their libraries' own xDS
# clients are served by the control plane. What comes of PyPI and npm, all pinned, is kept outside of the tree.
set -euo pipefail
cd "$(dirname "$0")/.."
need=()
for tool in python3:python3 node:nodejs npm:npm; do
	command -v "${tool%:*}" >/dev/null || need+=("${tool#*:}")
done
python3 -m pip --version >/dev/null 2>&1 || need+=(python3-pip)
if [ ${#need[@]} -gt 0 ]; then
	echo "proxyless: installing ${need[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi
lists=(test/proxyless/requirements.txt test/proxyless/package-lock.json test/proxyless/client.py test/proxyless/server.py test/proxyless/client.js)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/proxyless-$(cat "${lists[@]}" | sha256sum | cut -c1-12)
if [ ! -d "$cache" ]; then
	mkdir -p "$(dirname "$cache")"
	work=$(mktemp -d "$cache.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	chmod 755 "$work"
	cp test/proxyless/package.json test/proxyless/package-lock.json test/proxyless/client.py test/proxyless/server.py test/proxyless/client.js "$work"
	python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --target "$work/python" -r test/proxyless/requirements.txt
	npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --silent
	mv "$work" "$cache"
fi
FAIRLEAD_PROXYLESS=$cache go test -C test/interop/xds -count=1 -timeout 15m -v .
FAIRLEAD_PROXYLESS=$cache go test -tags proxyless -count=1 -timeout 20m -v -run '^TestProxyless' "$@" ./test/lab
