#!/usr/bin/env bash
# mesh.sh N COMMAND...: runs a command against cluster N with the mesh of this tree installed in it. Starts the cluster
# where it is not running, and then ends it afterwards.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
N=$1; shift
cluster=$here/cluster.sh
started=
if ! "$cluster" env "$N" >/dev/null 2>&1; then
	started=yes
	"$cluster" up "$N" | grep -v '^export'
fi
cleanup() { [ -z "$started" ] || "$cluster" down "$N"; }
trap cleanup EXIT
eval "$("$cluster" env "$N")"
"$here/images.sh" "$N"
# With the Gateway API's kinds, which a new cluster lacks and the stories write.
"$here/../../bin/fairlead" install --set image.hub=localhost/fairlead,proxy.envoyImage=docker.io/envoyproxy/envoy:v1.40.0,controller.logLevel=DEBUG,controller.plaintextXDS=true,crds.gatewayAPI=true | kubectl apply -f - >/dev/null
kubectl wait --for=condition=Established --timeout=30s crd/httproutes.gateway.networking.k8s.io crd/grpcroutes.gateway.networking.k8s.io >/dev/null
# The images are new though their names are not.
kubectl -n fairlead-system rollout restart deployment/fairlead-controller >/dev/null
kubectl -n fairlead-system rollout status deployment/fairlead-controller --timeout=120s
FAIRLEAD_KUBE_N=$N "$@"
