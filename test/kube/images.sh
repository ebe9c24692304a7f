#!/usr/bin/env bash
# images.sh N: the images that the examples and the stories need, given to cluster N: the mesh's own (make images), the
# demo app, Python from this machine in the place of docker.io/library/python, and PyPI's Envoy in that of docker.io/envoyproxy/envoy.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
N=${1:-1}; set -- "$N"
M=1; . "$here/lib/names.sh"
cd "$here/../.."
image() { go run ./test/kube/image "$@"; }

make --no-print-directory -s images
image -o dist/demo-app.tar -name fairlead.dev/demo-app:1 -entrypoint /fairlead,demo-app -user 65532 bin/fairlead:/fairlead
python=$TOP/python.tar
if [ ! -f "$python" ]; then
	"$here/rootfs-python.sh" "$TOP/python"
	image -o "$python.tmp" -name docker.io/library/python:3-slim "$TOP/python:/"
	mv "$python.tmp" "$python"
	rm -rf "$TOP/python"
fi
envoy=$TOP/envoy.tar
if [ ! -f "$envoy" ]; then
	binary=$(test/envoy-binary.sh)
	mapfile -t libraries < <(ldd "$binary" | grep -oE '/[^ ()]+\.so[^ ():]*' | while read -r lib; do echo "$(realpath "$lib"):$lib"; done)
	image -o "$envoy.tmp" -name docker.io/envoyproxy/envoy:v1.40.0 -entrypoint /usr/bin/envoy "$binary:/usr/bin/envoy" "${libraries[@]}"
	mv "$envoy.tmp" "$envoy"
fi
"$here/cluster.sh" image "$N" dist/fairlead-proxy.tar dist/fairlead-controller.tar dist/demo-app.tar "$python" "$envoy"
say "images imported"
