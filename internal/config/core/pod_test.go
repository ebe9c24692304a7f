package core

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"fairlead.dev/fairlead/internal/model"
)

func TestPod(t *testing.T) {
	const replicaSet = "ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: users-v1-7d4f, uid: u, controller: true}]"
	base := func(change func(*model.Workload)) *model.Workload {
		w := &model.Workload{
			Key: model.ClusterKey{Key: model.Key{Namespace: "myapp", Name: "users-v1-7d4f-abcde"}}, ServiceAccount: "default", OwnerKind: "Pod",
			OwnerName: "users-v1-7d4f-abcde", CanonicalName: "users-v1-7d4f-abcde", CanonicalRevision: "latest",
		}
		change(w)
		return w
	}
	for _, tt := range []struct {
		name, meta, spec, status string
		want                     *model.Workload
		problems                 string
	}{
		{"bare", "", "", "", base(func(*model.Workload) {}), ""},
		{
			"deployment", "labels: {app: users, version: v1, pod-template-hash: 7d4f}, " + replicaSet,
			"serviceAccountName: users, nodeName: n1", "podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]",
			base(func(w *model.Workload) {
				w.Labels = map[string]string{"app": "users", "version": "v1", "pod-template-hash": "7d4f"}
				w.ServiceAccount, w.Node, w.OwnerKind, w.OwnerName = "users", "n1", "Deployment", "users-v1"
				w.CanonicalName, w.CanonicalRevision = "users", "v1"
				w.IPs = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}
			}), "",
		},
		{
			"replicaset_of_its_own", replicaSet, "", "",
			base(func(w *model.Workload) {
				w.OwnerKind, w.OwnerName, w.CanonicalName = "ReplicaSet", "users-v1-7d4f", "users-v1-7d4f"
			}), "",
		},
		{
			"statefulset", "ownerReferences: [{apiVersion: v1, kind: Other, name: x, uid: u}, {apiVersion: apps/v1, kind: StatefulSet, name: db, uid: u, controller: true}]", "", "",
			base(func(w *model.Workload) { w.OwnerKind, w.OwnerName, w.CanonicalName = "StatefulSet", "db", "db" }), "",
		},
		{
			"cronjob", "ownerReferences: [{apiVersion: batch/v1, kind: Job, name: nightly-29012345, uid: u, controller: true}]", "", "",
			base(func(w *model.Workload) { w.OwnerKind, w.OwnerName, w.CanonicalName = "CronJob", "nightly", "nightly" }), "",
		},
		{
			"canonical_labels_in_order", "labels: {app: a, app.kubernetes.io/name: b, service.istio.io/canonical-name: c, version: x, app.kubernetes.io/version: w, service.istio.io/canonical-revision: z}", "", "",
			base(func(w *model.Workload) {
				w.Labels = map[string]string{
					"app": "a", "app.kubernetes.io/name": "b", "service.istio.io/canonical-name": "c",
					"version": "x", "app.kubernetes.io/version": "w", "service.istio.io/canonical-revision": "z",
				}
				w.CanonicalName, w.CanonicalRevision = "c", "z"
			}), "",
		},
		{
			"ports_of_containers_then_of_sidecars", "",
			`containers: [{name: a, ports: [{name: http, containerPort: 8080}, {containerPort: 1}]}, {name: b, ports: [{name: http, containerPort: 9090}]}],
			 initContainers: [{name: i, ports: [{name: once, containerPort: 2}]}, {name: s, restartPolicy: Always, ports: [{name: http, containerPort: 3}, {name: side, containerPort: 4}]}]`, "",
			base(func(w *model.Workload) { w.Ports = map[string]uint16{"http": 8080, "side": 4} }), "",
		},
		{
			"meshed_by_native_sidecar", "", "initContainers: [{name: fairlead-proxy, restartPolicy: Always}]", "",
			base(func(w *model.Workload) { w.Meshed = true }), "",
		},
		{
			"meshed_by_sidecar", "", "containers: [{name: app}, {name: fairlead-proxy}]", "",
			base(func(w *model.Workload) { w.Meshed = true }), "",
		},
		{
			"meshed_by_annotation_only_its_own_are_kept", "annotations: {fairlead.dev/status: injected, traffic.sidecar.istio.io/excludeInboundPorts: '1', config.linkerd.io/opaque-ports: '2', example.com/istio.io: x, notistio.io/a: x}", "", "",
			base(func(w *model.Workload) {
				w.Meshed = true
				w.Annotations = map[string]string{
					"fairlead.dev/status": "injected", "traffic.sidecar.istio.io/excludeInboundPorts": "1", "config.linkerd.io/opaque-ports": "2",
				}
			}), "",
		},
		{
			"an_agent_is_no_sidecar", `annotations: {fairlead.dev/status: '{"version":"v0","template":"grpc-agent"}'}`, "initContainers: [{name: fairlead-agent, restartPolicy: Always}]", "",
			base(func(w *model.Workload) {
				w.Annotations = map[string]string{"fairlead.dev/status": `{"version":"v0","template":"grpc-agent"}`}
				w.Agent = true
			}), "",
		},
		{
			"host_network_is_never_meshed", "", "hostNetwork: true, containers: [{name: fairlead-proxy}]", "",
			base(func(w *model.Workload) { w.HostNetwork = true }), "",
		},
		{
			"terminating", "deletionTimestamp: '2026-01-31T08:00:00Z', deletionGracePeriodSeconds: 30", "", "",
			base(func(w *model.Workload) { w.Terminating, w.Grace = true, 30*time.Second }), "",
		},
		{
			"locality_of_its_own", "labels: {istio-locality: west.a.rack-1}", "nodeName: n1", "",
			base(func(w *model.Workload) {
				w.Labels = map[string]string{"istio-locality": "west.a.rack-1"}
				w.Node, w.Locality = "n1", model.Locality{Region: "west", Zone: "a", SubZone: "rack-1"}
			}), "",
		},
		{
			"of_two_localities_the_newer_label", "labels: {istio-locality: west.a, topology.istio.io/locality: east}", "", "",
			base(func(w *model.Workload) {
				w.Labels = map[string]string{"istio-locality": "west.a", "topology.istio.io/locality": "east"}
				w.Locality = model.Locality{Region: "east"}
			}), "",
		},
		{
			"bad_locality", "labels: {istio-locality: west..rack-1}", "", "",
			base(func(w *model.Workload) { w.Labels = map[string]string{"istio-locality": "west..rack-1"} }),
			"warning: Pod myapp/users-v1-7d4f-abcde: metadata.labels[istio-locality]: \"west..rack-1\" is no locality: that of the node counts (write region.zone.subzone)\n",
		},
		{
			"bad_address", "", "", "podIPs: [{ip: 10.0.0}]", base(func(*model.Workload) {}),
			"warning: Pod myapp/users-v1-7d4f-abcde: status.podIPs[0].ip: `10.0.0` is no IP address: it is left out\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := read[corev1.Pod](t, "metadata: {name: users-v1-7d4f-abcde, namespace: myapp, "+tt.meta+"}\nspec: {"+tt.spec+"}\nstatus: {"+tt.status+"}")
			got, problems := Pod(in)
			if diff := cmp.Diff(tt.want, got, equateAddrs()); diff != "" {
				t.Errorf("Pod (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.problems, lines(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// A pod that was well when its node fell silent is told from one that says itself that it is not ready.
func TestPodWell(t *testing.T) {
	for _, tt := range []struct {
		name, spec, conditions string
		want                   bool
	}{
		{"ready", "", "{type: Ready, status: 'True'}, {type: ContainersReady, status: 'True'}", true},
		{"node_silent", "", "{type: Ready, status: 'False'}, {type: ContainersReady, status: 'True'}", true},
		{"probe_fails", "", "{type: Ready, status: 'False'}, {type: ContainersReady, status: 'False'}", false},
		{"starting", "", "", false},
		{"gate_not_passed", "readinessGates: [{conditionType: g}]", "{type: Ready, status: 'False'}, {type: ContainersReady, status: 'True'}", false},
		{"gate_passed", "readinessGates: [{conditionType: g}]", "{type: g, status: 'True'}, {type: Ready, status: 'False'}, {type: ContainersReady, status: 'True'}", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _ := Pod(read[corev1.Pod](t, "metadata: {name: a}\nspec: {"+tt.spec+"}\nstatus: {conditions: ["+tt.conditions+"]}"))
			if w.Well != tt.want {
				t.Errorf("Well = %t, want %t", w.Well, tt.want)
			}
		})
	}
}

func TestEndpointSlice(t *testing.T) {
	const meta = "metadata: {name: users-x, namespace: myapp, labels: {kubernetes.io/service-name: users}}\n"
	key, service := model.Key{Namespace: "myapp", Name: "users-x"}, model.Key{Namespace: "myapp", Name: "users"}
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		name, text string
		want       *model.Slice
		problems   string
	}{
		{
			"conditions", meta + `addressType: IPv4
ports: [{name: http, port: 8080}, {port: 3306}, {name: udp, port: 53, protocol: UDP}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: a}, nodeName: n1, zone: z1, hostname: a-0}
- {addresses: [10.0.0.2], conditions: {ready: false}}
- {addresses: [10.0.0.3], conditions: {ready: false, serving: true, terminating: true}, targetRef: {kind: Pod, name: c, namespace: other}}
- {addresses: [10.0.0.4, 10.0.0.5], targetRef: {kind: Node, name: n}}`,
			&model.Slice{
				Key: model.ClusterKey{Key: key}, Service: service,
				Ports: []model.SlicePort{{Name: "http", Port: 8080, Protocol: model.HTTP}, {Port: 3306, Protocol: model.TCP}, {Name: "udp", Port: 53, Protocol: model.UDP}},
				Endpoints: []model.SliceEndpoint{
					{
						Addresses: []netip.Addr{addr("10.0.0.1")}, Ready: true, Serving: true, Pod: model.ClusterKey{Key: model.Key{Namespace: "myapp", Name: "a"}},
						Hostname: "a-0", Node: "n1", Zone: "z1",
					},
					{Addresses: []netip.Addr{addr("10.0.0.2")}},
					{Addresses: []netip.Addr{addr("10.0.0.3")}, Serving: true, Terminating: true, Pod: model.ClusterKey{Key: model.Key{Namespace: "other", Name: "c"}}},
					{Addresses: []netip.Addr{addr("10.0.0.4"), addr("10.0.0.5")}, Ready: true, Serving: true},
				},
			}, "",
		},
		{
			"mistakes_leave_the_rest", meta + "addressType: IPv6\nports: [{port: 0}, {}, {port: 7, protocol: SCTP}, {name: a, port: 1}]\nendpoints: [{addresses: [nope]}, {addresses: ['fd00::1', '']}]",
			&model.Slice{
				Key: model.ClusterKey{Key: key}, Service: service, Ports: []model.SlicePort{{Name: "a", Port: 1}},
				Endpoints: []model.SliceEndpoint{{Addresses: []netip.Addr{addr("fd00::1")}, Ready: true, Serving: true}},
			},
			"warning: EndpointSlice myapp/users-x: ports[0].port: `0` is no port: it is left out (1 to 65535)\n" +
				"warning: EndpointSlice myapp/users-x: endpoints[0].addresses[0]: `nope` is no IP address: it is left out\n" +
				"warning: EndpointSlice myapp/users-x: endpoints[1].addresses[1]: `` is no IP address: it is left out\n",
		},
		{
			"of_no_service", "metadata: {name: x, namespace: myapp}", nil,
			"warning: EndpointSlice myapp/x: metadata.labels[kubernetes.io/service-name]: missing: the slice belongs to no Service (name the Service)\n",
		},
		{
			"names_instead_of_addresses", meta + "addressType: FQDN", nil,
			"warning: EndpointSlice myapp/users-x: addressType: FQDN endpoints are not supported: the slice has no effect (use a ServiceEntry with `resolution: DNS`)\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := EndpointSlice(read[discoveryv1.EndpointSlice](t, tt.text))
			if diff := cmp.Diff(tt.want, got, equateAddrs()); diff != "" {
				t.Errorf("EndpointSlice (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.problems, lines(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNodeAndNamespace(t *testing.T) {
	node := Node(read[corev1.Node](t, "metadata: {name: n1, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z, topology.istio.io/subzone: s}}"))
	if diff := cmp.Diff(&model.Node{Name: "n1", Locality: model.Locality{Region: "r", Zone: "z", SubZone: "s"}}, node); diff != "" {
		t.Errorf("Node (-want +got):\n%s", diff)
	}
	old := Node(read[corev1.Node](t, "metadata: {name: n2, labels: {failure-domain.beta.kubernetes.io/zone: z}}"))
	if old.Locality.String() != "/z" {
		t.Errorf("locality by the old label = %q, want /z", old.Locality)
	}
	namespace := Namespace(read[corev1.Namespace](t, "metadata: {name: myapp, labels: {a: b}, annotations: {kubectl.kubernetes.io/x: y, fairlead.dev/inject: 'true'}}"))
	want := &model.Namespace{Name: "myapp", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"fairlead.dev/inject": "true"}}
	if diff := cmp.Diff(want, namespace); diff != "" {
		t.Errorf("Namespace (-want +got):\n%s", diff)
	}
}
