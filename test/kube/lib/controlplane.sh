# etcd, the API server and what runs beside them.

kubectl() { inside "$BIN/kubectl" --kubeconfig "$CLUSTER/admin.kubeconfig" "$@"; }

certificates() (
	cd "$DIR/pki"
	openssl ecparam -name prime256v1 -genkey -noout -out ca.key
	openssl req -x509 -new -key ca.key -subj "/CN=$NAME-ca" -days 3650 -out ca.crt 2>/dev/null
	local names="DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
	leaf apiserver /CN=kube-apiserver serverAuth "$names,IP:127.0.0.1,IP:$NODE_IP,IP:$FIRST_SERVICE_IP"
	leaf kubelet-client /O=system:masters/CN=apiserver-kubelet-client clientAuth ""
	openssl genrsa -out sa.key 2048 2>/dev/null
	{
		echo "admin-$N,admin,admin,system:masters"
		echo "controllers-$N,system:kube-controller-manager,controllers,"
		echo "scheduler-$N,system:kube-scheduler,scheduler,"
		echo "proxy-$N,system:kube-proxy,proxy,"
		for m in 1 2 3 4 5 6 7 8 9; do echo "kubelet-$N-$m,system:node:$NAME-n$m,kubelet$m,system:nodes"; done
	} >tokens.csv
)

# leaf NAME SUBJECT USAGE ALTERNATIVE-NAMES
leaf() {
	openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
	openssl req -new -key "$1.key" -subj "$2" -out "$1.csr" 2>/dev/null
	printf 'extendedKeyUsage=%s\n%s\n' "$3" "${4:+subjectAltName=$4}" >"$1.ext"
	openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
}

# kubeconfig FILE TOKEN [SERVER]
kubeconfig() {
	cat >"$1" <<-END
		apiVersion: v1
		kind: Config
		clusters: [{name: $NAME, cluster: {server: "https://${3:-$API}", certificate-authority: $CLUSTER/pki/ca.crt}}]
		users: [{name: $NAME, user: {token: $2}}]
		contexts: [{name: $NAME, context: {cluster: $NAME, user: $NAME}}]
		current-context: $NAME
	END
}

control_plane() {
	local user
	for user in admin controllers scheduler; do kubeconfig "$DIR/$user.kubeconfig" "$user-$N"; done
	start etcd "$BIN/etcd" --name "$NAME" --data-dir "$DIR/etcd" --unsafe-no-fsync --log-level warn \
		--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
		--listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
		--initial-cluster "$NAME=http://127.0.0.1:2380"
	wait_for 30 inside curl -sf http://127.0.0.1:2379/health
	start kube-apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
		--advertise-address="$NODE_IP" --secure-port=6443 --service-cluster-ip-range="$(every service_net)" --bind-address="$ANY" \
		--tls-cert-file="$DIR/pki/apiserver.crt" --tls-private-key-file="$DIR/pki/apiserver.key" --client-ca-file="$DIR/pki/ca.crt" \
		--kubelet-client-certificate="$DIR/pki/kubelet-client.crt" --kubelet-client-key="$DIR/pki/kubelet-client.key" \
		--kubelet-preferred-address-types=InternalIP --token-auth-file="$DIR/pki/tokens.csv" \
		--service-account-key-file="$DIR/pki/sa.key" --service-account-signing-key-file="$DIR/pki/sa.key" \
		--service-account-issuer=https://kubernetes.default.svc.cluster.local \
		--authorization-mode=Node,RBAC --allow-privileged=true --event-ttl=10m
	wait_for 60 kubectl get --raw /readyz
	say "apiserver ready"
	start kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig="$DIR/controllers.kubeconfig" --leader-elect=false --secure-port=0 \
		--root-ca-file="$DIR/pki/ca.crt" --service-account-private-key-file="$DIR/pki/sa.key" --use-service-account-credentials=true \
		--cluster-signing-cert-file="$DIR/pki/ca.crt" --cluster-signing-key-file="$DIR/pki/ca.key" \
		--flex-volume-plugin-dir="$DIR/kubelet/volplugins"
	start kube-scheduler "$BIN/kube-scheduler" --kubeconfig="$DIR/scheduler.kubeconfig" --leader-elect=false --secure-port=0
	kubectl create clusterrolebinding kube-proxy --clusterrole=system:node-proxier --user=system:kube-proxy >/dev/null
}

coredns() {
	sed "s/\${DNS_IP}/$DNS_IP/" "$here/manifests/coredns.yaml" | kubectl apply -f - >"$DIR/coredns.log"
	wait_for 90 kubectl -n kube-system rollout status deployment/coredns --timeout=1s
	say "CoreDNS ready"
}

# forward_api lets programs on the machine reach the API server, over loopback alone.
forward_api() {
	setsid "$BIN/forward" "$API_ON_HOST" "/proc/$(cat "$DIR/pid")/ns/net" "$API" >"$DIR/forward.log" 2>&1 </dev/null &
	echo $! >"$DIR/forward.pid"
	kubeconfig "$DIR/host.kubeconfig" "admin-$N" "$API_ON_HOST"
	wait_for 10 "$BIN/kubectl" --kubeconfig "$DIR/host.kubeconfig" get --raw /readyz
}
