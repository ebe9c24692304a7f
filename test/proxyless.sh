#!/usr/bin/env bash
# Runs gRPC apps without sidecars, in Go, Python, Node and Java, on their own (test/interop/xds) and in a lab: their libraries' own xDS
# clients are served by the control plane. What comes of PyPI, npm and Maven's repository, all pinned, is kept outside
# of the tree.
set -euo pipefail
cd "$(dirname "$0")/.."
need=()
for tool in python3:python3 node:nodejs npm:npm javac:default-jdk-headless mvn:maven; do
	command -v "${tool%:*}" >/dev/null || need+=("${tool#*:}")
done
python3 -m pip --version >/dev/null 2>&1 || need+=(python3-pip)
if [ ${#need[@]} -gt 0 ]; then
	echo "proxyless: installing ${need[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi
lists=(requirements.txt package-lock.json client.py server.py client.js pom.xml Client.java)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/proxyless-$(cd test/proxyless && cat "${lists[@]}" | sha256sum | cut -c1-12)
if [ ! -d "$cache" ]; then
	mkdir -p "$(dirname "$cache")"
	work=$(mktemp -d "$cache.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	chmod 755 "$work"
	(cd test/proxyless && cp package.json "${lists[@]}" "$work")
	python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --target "$work/python" -r test/proxyless/requirements.txt
	npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --silent
	mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$work/java"
	javac -proc:none -cp "$work/java/*" -d "$work/java" "$work/Client.java"
	mv "$work" "$cache"
fi
FAIRLEAD_PROXYLESS=$cache go test -C test/interop/xds -count=1 -timeout 15m -v .
FAIRLEAD_PROXYLESS=$cache go test -tags proxyless -count=1 -timeout 20m -v -run '^TestProxyless' "$@" ./test/lab
