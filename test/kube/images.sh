#!/usr/bin/env bash
# images.sh N: the images that the examples and the stories need, given to cluster N: the mesh's own (make images), the
# demo app, and Python from this machine in the place of docker.io/library/python.
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
"$here/cluster.sh" image "$N" dist/fairlead-proxy.tar dist/fairlead-controller.tar dist/demo-app.tar "$python"
say "images imported"
