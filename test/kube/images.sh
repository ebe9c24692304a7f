#!/usr/bin/env bash
# images.sh N: the images that the examples and the stories need, given to cluster N: the mesh's own (make images), the
# demo app, the Consul of the tests, Python from this machine in the place of docker.io/library/python, PyPI's Envoy in that of docker.io/envoyproxy/envoy,
# and gRPC apps in Go and Python that need no sidecar.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
N=${1:-1}; set -- "$N"
M=1; . "$here/lib/names.sh"
cd "$here/../.."
image() { go run ./test/kube/image "$@"; }

make --no-print-directory -s images
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/consul ./test/kube/consul
image -o dist/consul.tar -name fairlead.dev/consul:1 -entrypoint /consul -user 65532 bin/consul:/consul
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
sources=("$here/rootfs-python.sh" test/proxyless/*.go test/proxyless/go.sum test/proxyless/*.py test/proxyless/requirements.txt)
proxyless=$TOP/proxyless-$(cat "${sources[@]}" | sha256sum | cut -c1-12).tar
if [ ! -f "$proxyless" ]; then
	rm -f "$TOP"/proxyless-*.tar
	root=$TOP/proxyless
	"$here/rootfs-python.sh" "$root" test/proxyless/requirements.txt
	cp test/proxyless/client.py test/proxyless/server.py "$root"
	CGO_ENABLED=0 go build -C test/proxyless -trimpath -o "$root/proxyless" .
	image -o "$proxyless.tmp" -name fairlead.dev/proxyless:1 -entrypoint /proxyless -user 65532 "$root:/"
	mv "$proxyless.tmp" "$proxyless"
	rm -rf "$root"
fi
"$here/cluster.sh" image "$N" dist/fairlead-proxy.tar dist/fairlead-controller.tar dist/demo-app.tar dist/consul.tar "$python" "$envoy" "$proxyless"
say "images imported"
