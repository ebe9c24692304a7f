#!/usr/bin/env bash
# clusters.sh WEST EAST COMMAND...: runs a command against two clusters on one flat network that are one mesh by their
# root, of the names west and east, whose control planes do not know of each other yet. Starts the clusters that are not
# running, and ends those afterwards. KUBECONFIG has both, as contexts fairlead-kubeWEST and fairlead-kubeEAST.
# NETWORKS=separate: each cluster is a network of its own, net-west and net-east, with a gateway at node ports, and nothing else of
# one is reached from the other but its nodes. ROOTS=own: each has the root that its control plane makes, and trusts no other.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
WEST=$1 EAST=$2; shift 2
cluster=$here/cluster.sh
work=$(mktemp -d)
started=()
cleanup() {
	local n
	for n in "${started[@]}"; do "$cluster" down "$n"; done
	rm -rf "$work"
}
trap cleanup EXIT
for n in "$WEST" "$EAST"; do
	if ! "$cluster" env "$n" >/dev/null 2>&1; then
		started+=("$n")
		"$cluster" up "$n" | grep -v '^export'
	fi
	"$here/images.sh" "$n"
done
"$cluster" link "$WEST" "$EAST" "${NETWORKS:-flat}"

# root: one CA for both, whose key nothing but the making of theirs needs.
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }
key "$work/root-key.pem"
openssl req -x509 -new -key "$work/root-key.pem" -subj /O=fairlead/CN=root -days 30 -out "$work/root-cert.pem" 2>/dev/null \
	-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign

# intermediate NAME: the files of Istio's Secret cacerts in $work/NAME.
intermediate() {
	local dir=$work/$1
	mkdir "$dir"
	key "$dir/ca-key.pem"
	openssl req -new -key "$dir/ca-key.pem" -subj "/O=fairlead/CN=$1" -out "$dir/csr" 2>/dev/null
	printf 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n' >"$dir/extensions"
	openssl x509 -req -in "$dir/csr" -CA "$work/root-cert.pem" -CAkey "$work/root-key.pem" -CAcreateserial -days 30 \
		-extfile "$dir/extensions" -out "$dir/ca-cert.pem" 2>/dev/null
	cp "$work/root-cert.pem" "$dir/"
	cat "$dir/ca-cert.pem" "$work/root-cert.pem" >"$dir/cert-chain.pem"
	rm "$dir/csr" "$dir/extensions"
}

# mesh N NAME: the mesh of this tree in cluster N.
mesh() {
	local more=gateway.enabled=false
	[ "${NETWORKS:-flat}" = flat ] || more=gateway.enabled=true,gateway.service.type=NodePort,mesh.network=net-$2
	eval "$("$cluster" env "$1")"
	intermediate "$2"
	kubectl create namespace fairlead-system --dry-run=client -o yaml | kubectl apply -f - >/dev/null
	if [ "${ROOTS:-one}" = one ]; then
		kubectl -n fairlead-system create secret generic cacerts --from-file="$work/$2" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
	else
		kubectl -n fairlead-system delete secret cacerts --ignore-not-found >/dev/null
	fi
	kubectl -n fairlead-system delete secret -l 'istio/multiCluster=true' >/dev/null
	kubectl -n fairlead-system delete secret -l 'fairlead.dev/trust=true' >/dev/null
	kubectl -n fairlead-system delete secret --field-selector type=mirror.linkerd.io/remote-kubeconfig >/dev/null
	"$here/../../bin/fairlead" install --set "image.hub=localhost/fairlead,proxy.envoyImage=docker.io/envoyproxy/envoy:v1.40.0,controller.logLevel=DEBUG,mesh.clusterID=$2,mesh.serviceImports=true,mirrors.enabled=true,mirrors.headless=true,crds.gatewayAPI=true,$more" | kubectl apply -f - >/dev/null
	kubectl wait --for=condition=Established --timeout=30s crd/links.multicluster.linkerd.io crd/httproutes.gateway.networking.k8s.io >/dev/null
	kubectl -n fairlead-system delete links.multicluster.linkerd.io --all >/dev/null # and with them the mirrors
	# The images are new though their names are not.
	kubectl -n fairlead-system rollout restart deployment/fairlead-controller >/dev/null
	kubectl -n fairlead-system rollout status deployment/fairlead-controller --timeout=120s
	# What is applied takes nothing away.
	if [ "${NETWORKS:-flat}" = flat ]; then
		kubectl -n fairlead-system delete deployment,service fairlead-gateway --ignore-not-found >/dev/null
		kubectl label namespace fairlead-system topology.istio.io/network- >/dev/null
	else
		kubectl -n fairlead-system rollout restart deployment/fairlead-gateway >/dev/null
		kubectl -n fairlead-system rollout status deployment/fairlead-gateway --timeout=120s
	fi
	printf '%s:' "$KUBECONFIG" >>"$work/kubeconfigs"
}
mesh "$WEST" west
mesh "$EAST" east
KUBECONFIG=$(sed "s/:$//" "$work/kubeconfigs") FAIRLEAD_KUBE_WEST=$WEST FAIRLEAD_KUBE_EAST=$EAST "$@"
