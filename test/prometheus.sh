#!/usr/bin/env bash
# Runs a real Prometheus in a lab and asks it what docs/reference/prometheus.md says dashboards ask. Debian's package is taken
# apart and not installed, so that no service of it starts; it is kept outside of the tree.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/prometheus
if [ ! -x "$cache/usr/bin/prometheus" ]; then
	mkdir -p "$(dirname "$cache")"
	work=$(mktemp -d "$cache.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	apt-get update -qq
	(cd "$work" && apt-get download -qq prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb)
	chmod 755 "$work"
	rm -rf "$cache"
	mv "$work" "$cache"
	trap - EXIT
fi
FAIRLEAD_PROMETHEUS=$cache/usr/bin go test -tags prometheus -count=1 -timeout 10m -v -run '^TestPrometheus' "$@" ./test/lab
