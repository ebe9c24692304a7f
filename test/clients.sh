#!/usr/bin/env bash
# Runs real clients and servers through sidecars, and without any, and compares: clients.sh [TESTS], a pattern. What Debian has is installed where it
# is missing; what comes of PyPI, npm and Go's modules, all pinned, is kept outside of the tree.
set -euo pipefail
cd "$(dirname "$0")/.."
need=()
for tool in curl:curl nginx:nginx-light python3:python3 node:nodejs npm:npm psql:postgresql-client redis-server:redis-server redis-cli:redis-tools \
	mariadbd:mariadb-server-core mariadb:mariadb-client-core squid:squid cmp:diffutils nats-server:nats-server java:default-jre-headless; do
	command -v "${tool%:*}" >/dev/null || need+=("${tool#*:}")
done
python3 -m pip --version >/dev/null 2>&1 || need+=(python3-pip)
[ -e /usr/share/tomcat10/bin/bootstrap.jar ] || need+=(tomcat10-common)
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || need+=(postgresql)
if [ ${#need[@]} -gt 0 ]; then
	export RUNLEVEL=1 # servers are installed, not started
	echo "clients: installing ${need[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi
lists=(test/clients/requirements.txt test/clients/package-lock.json test/interop/kafka/*)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/clients-$( (python3 -V && cat "${lists[@]}") | sha256sum | cut -c1-12)
if [ ! -d "$cache" ]; then
	mkdir -p "$(dirname "$cache")"
	work=$(mktemp -d "$cache.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	chmod 755 "$work"
	cp test/clients/package.json test/clients/package-lock.json "$work"
	python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --target "$work/python" -r test/clients/requirements.txt
	npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --silent
	(cd test/interop/kafka && go build -trimpath -buildvcs=false -o "$work/kafka" .)
	mv "$work" "$cache"
fi
FAIRLEAD_CLIENTS=$cache go test -tags clients -count=1 -timeout 20m -v -run "${1:-^Test(Clients|Servers)}" ./test/lab
