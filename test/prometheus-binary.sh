#!/usr/bin/env bash
# Prints the directory that has Debian's prometheus and promtool. The package is taken apart and not installed, so that
# no service of it starts; it is kept outside of the tree.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/prometheus
if [ ! -x "$cache/usr/bin/prometheus" ]; then
	mkdir -p "$(dirname "$cache")"
	work=$(mktemp -d "$cache.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	apt-get update -qq >&2
	(cd "$work" && apt-get download -qq prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb) >&2
	chmod 755 "$work"
	rm -rf "$cache"
	mv "$work" "$cache"
	trap - EXIT
fi
echo "$cache/usr/bin"
