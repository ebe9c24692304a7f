#!/usr/bin/env bash
# Runs a real Prometheus in a lab and asks it what docs/reference/prometheus.md says dashboards ask.
set -euo pipefail
cd "$(dirname "$0")/.."
FAIRLEAD_PROMETHEUS=$(test/prometheus-binary.sh)
export FAIRLEAD_PROMETHEUS
go test -tags prometheus -count=1 -timeout 10m -v -run '^TestPrometheus' "$@" ./test/lab
