#!/usr/bin/env bash
# Installs Flagger and its Prometheus in the cluster of KUBECONFIG, number FAIRLEAD_KUBE_N of this machine, and has it roll
# out canaries; test/kube/mesh.sh says which cluster that is. Flagger is built from its module once and kept outside of the
# tree; its manifests and Prometheus' configuration are the module's own but for what test/flagger says; Prometheus is Debian's.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v1.44.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/fairlead/flagger-$version
if [ ! -d "$cache" ]; then
	mkdir -p "$(dirname "$cache")"
	work=$(mktemp -d "$cache.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	(cd "$work" && CGO_ENABLED=0 GOBIN=$work go install -trimpath -ldflags '-s -w' "github.com/fluxcd/flagger/cmd/flagger@$version")
	cp -r "$(go env GOMODCACHE)/github.com/fluxcd/flagger@$version/kustomize" "$work/kustomize"
	chmod -R u+w "$work/kustomize"
	prometheus=$(test/prometheus-binary.sh)/prometheus
	libraries=$(ldd "$prometheus" | grep -oE '/[^ ()]+\.so[^ ():]*' | while read -r lib; do echo "$(realpath "$lib"):$lib"; done)
	# shellcheck disable=SC2086 # several words
	go run ./test/kube/image -o "$work/prometheus.tar" -name docker.io/prom/prometheus:v2.41.0 -entrypoint /bin/prometheus "$prometheus:/bin/prometheus" $libraries
	go run ./test/kube/image -o "$work/flagger.tar" -name "ghcr.io/fluxcd/flagger:${version#v}" -entrypoint /flagger "$work/flagger:/flagger"
	mv "$work" "$cache"
	trap - EXIT
fi
overlay=$(mktemp -d)
trap 'kubectl delete --ignore-not-found --wait=false -k "$overlay/here" >/dev/null 2>&1 || true; rm -rf "$overlay"' EXIT
cp -r "$cache/kustomize" "$overlay/upstream"
cp -r test/flagger "$overlay/here"
sed -n -e '1,/^scrape_configs/p' -e '/^# scrape config for pods/,$p' "$cache/kustomize/base/prometheus/prometheus.yml" |
	sed -e 's/scrape_interval: 5s/scrape_interval: 2s/' -e 's/kubernetes_sd_configs:/http_sd_configs:/' -e "s|- role: pod|- {url: 'http://127.0.0.1:8081/', refresh_interval: 2s}|" >"$overlay/here/prometheus.yml"
test/kube/cluster.sh image "$FAIRLEAD_KUBE_N" "$cache/flagger.tar" "$cache/prometheus.tar"
kubectl apply --server-side -k "$overlay/here" >/dev/null
kubectl -n flagger-system rollout status deployment/flagger-prometheus --timeout=90s
kubectl -n flagger-system rollout status deployment/flagger --timeout=90s
go test -tags kube,flagger -count=1 -timeout 15m -parallel 8 -v -run '^TestFlagger' "$@" ./test/e2e
