#!/usr/bin/env bash
# Compares the mesh with a real Envoy. Arguments go to go test; PACKAGES are what it tests.
set -euo pipefail
cd "$(dirname "$0")/.."
ENVOY=$(test/envoy-binary.sh)
export ENVOY
go test -tags envoy -count=1 -timeout 10m -v -run '^TestEnvoy' ${PACKAGES:-./test/lab ./test/differential} "$@"
