#!/usr/bin/env bash
# Makes the same requests of a real Envoy and of the sidecar, by rules that are made up from one seed after another: SEED is the
# first, RUNS how many. What differs is printed with the rule, the request and the seed, and the next seeds have their turn.
set -euo pipefail
cd "$(dirname "$0")/.."
first=${SEED:-$(date +%s)} runs=${RUNS:-20} failed=()
for ((seed = first; seed < first + runs; seed++)); do
	echo "seed $seed"
	PACKAGES=./test/differential test/envoy.sh -run='^TestEnvoyRoutesAlike$' -seed="$seed" -configs="${CONFIGS:-300}" || failed+=("$seed")
done
if [ ${#failed[@]} -gt 0 ]; then
	echo "differ: ${failed[*]}; again with SEED=${failed[0]} RUNS=1 make differential" >&2
	exit 1
fi
echo "alike by the rules of $runs seeds, $first and those behind it"
