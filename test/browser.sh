#!/usr/bin/env bash
# Looks at the dashboard with a real Chromium, which Debian has: at that of the example's lab, and at the page with data that
# web/mock makes up. web/node_modules has axe-core.
set -euo pipefail
cd "$(dirname "$0")/.."
CHROMIUM=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
	echo "browser: no Chromium; Debian has it: apt-get install -y --no-install-recommends chromium" >&2
	exit 1
}
export CHROMIUM FAIRLEAD=$PWD/bin/fairlead
cd test/browser
go test -count=1 -timeout 10m -v "$@" .
