package mirror_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/config/linkerd"
	"fairlead.dev/fairlead/internal/mirror"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// world is a store that manifests are put into, as the control plane does it.
type world struct {
	*testing.T
	store *store.Store
}

func newWorld(t *testing.T) *world {
	w := &world{t, store.New()}
	w.heard("east", true)
	w.store.Commit(func(tx *store.Txn) { tx.SetNamespace(model.Namespace{Name: "myapp"}) })
	return w
}

func (w *world) heard(cluster string, all bool) {
	w.store.Commit(func(tx *store.Txn) { tx.SetRemoteCluster(store.RemoteCluster{Name: cluster, Apart: true, Heard: all}) })
}

// service puts a Service of a cluster there, empty for the own one; spec may be empty for one port.
func (w *world) service(cluster, name, labels, spec string) {
	w.Helper()
	if spec == "" {
		spec = "ports: [{name: http, port: 80}]"
	}
	var in corev1.Service
	if err := yaml.UnmarshalStrict(fmt.Appendf(nil, "{metadata: {name: %s, namespace: myapp, labels: {%s}, annotations: {note: hello, 'kubectl.kubernetes.io/x': y}}, spec: {%s}}", name, labels, spec), &in); err != nil {
		w.Fatal(err)
	}
	w.put(cluster, "Service", name, "myapp", &in)
}

func (w *world) link(name, spec string) {
	w.Helper()
	var in linkerd.Link
	if err := yaml.UnmarshalStrict(fmt.Appendf(nil, "{metadata: {name: %s, namespace: fairlead-system}, spec: {%s}}", name, spec), &in); err != nil {
		w.Fatal(err)
	}
	w.put("", "Link", name, "fairlead-system", &in)
}

func (w *world) put(cluster, kind, name, namespace string, in any) {
	w.Helper()
	ref := model.Ref{Kind: kind, Key: model.Key{Namespace: namespace, Name: name}, Cluster: cluster}
	t := config.NewTable().Translate(in, config.Place{Ref: ref, ClusterDomain: "cluster.local"})
	if t.Commit == nil {
		w.Fatalf("%s: %v", ref, t.Problems)
	}
	w.store.Commit(t.Commit)
}

func (w *world) remove(cluster, kind, name, namespace string) {
	ref := model.Ref{Kind: kind, Key: model.Key{Namespace: namespace, Name: name}, Cluster: cluster}
	w.store.Commit(func(tx *store.Txn) { config.NewTable().Remove(ref)(tx) })
}

func options() mirror.Options {
	return mirror.Options{Namespace: "fairlead-system", Own: "west", Domain: "cluster.local", Alive: map[string][]netip.AddrPort{"east": {netip.MustParseAddrPort("192.0.2.1:15443")}}}
}

func (w *world) decide() mirror.Decision {
	return mirror.Decide(store.NewReader(w.store.Snapshot()), options())
}

// apply makes what is wanted a part of this cluster, as who writes it does.
func (w *world) apply(d mirror.Decision) {
	for i := range d.Services {
		in := corev1.Service{}
		in.Name, in.Namespace, in.Labels, in.Annotations = d.Services[i].Key.Name, d.Services[i].Key.Namespace, d.Services[i].Labels, d.Services[i].Annotations
		if d.Services[i].Headless {
			in.Spec.ClusterIP = corev1.ClusterIPNone
		}
		for _, p := range d.Services[i].Ports {
			in.Spec.Ports = append(in.Spec.Ports, corev1.ServicePort{Name: p.Name, Port: int32(p.Port)})
		}
		w.put("", "Service", in.Name, in.Namespace, &in)
	}
	for _, k := range d.Gone {
		w.remove("", "Service", k.Name, k.Namespace)
	}
}

func text(d mirror.Decision) string {
	var b strings.Builder
	for _, s := range d.Services {
		fmt.Fprintf(&b, "%s %v %v", s.Key, s.Labels, s.Annotations)
		for _, p := range s.Ports {
			fmt.Fprintf(&b, " %s:%d", p.Name, p.Port)
		}
		if s.ByGateway {
			fmt.Fprintf(&b, " by %v", s.Gateways)
		}
		if s.Headless {
			fmt.Fprintf(&b, " headless %v", s.Pods)
		}
		b.WriteString("\n")
	}
	for _, k := range d.Gone {
		fmt.Fprintf(&b, "gone %s\n", k)
	}
	for _, ref := range slices.SortedFunc(maps.Keys(d.Status), func(a, b model.Ref) int { return a.Compare(b.Key) }) {
		for _, o := range slices.Concat(d.Status[ref].Mirrors, d.Status[ref].Federated) {
			fmt.Fprintf(&b, "%s: %s -> %s %v %s %s\n", ref.Name, o.Remote.Name, o.Local.Name, o.Holds, o.Reason, o.Message)
		}
	}
	for _, p := range d.Problems {
		fmt.Fprintf(&b, "%s\n", p)
	}
	return b.String()
}

const eastLink = `targetClusterName: east, gatewayAddress: 192.0.2.1, probeSpec: {path: /, port: "1"}, gatewayIdentity: id, excludedLabels: [secret/], excludedAnnotations: [no]`

func TestDecide(t *testing.T) {
	const ours = "mirror.linkerd.io/mirrored-service: 'true', app.kubernetes.io/managed-by: fairlead-controller, mirror.linkerd.io/cluster-name: east, multicluster.linkerd.io/remote-discovery: east, multicluster.linkerd.io/remote-service: old"
	const madeOf = "app.kubernetes.io/managed-by:fairlead-controller"
	long := strings.Repeat("x", 59)
	for _, tt := range []struct {
		name  string
		build func(w *world)
		want  string
	}{
		{"by_gateway", func(w *world) {
			w.link("east", eastLink)
			w.service("east", "users", "mirror.linkerd.io/exported: 'true', app: users, secret/x: y, topology.istio.io/network: east", "")
			w.service("east", "private", "app: private", "")
		}, `myapp/users-east map[app:users ` + madeOf + ` mirror.linkerd.io/cluster-name:east mirror.linkerd.io/mirrored-service:true] map[mirror.linkerd.io/remote-gateway-identity:id mirror.linkerd.io/remote-svc-fq-name:users.myapp.svc.cluster.local note:hello] http:80 by [192.0.2.1:15443]
east: users -> users-east true Mirrored 
`},
		{"directly", func(w *world) {
			w.link("east", "targetClusterName: east")
			w.service("east", "users", "mirror.linkerd.io/exported: remote-discovery", "clusterIP: None, ports: [{name: http, port: 80}]")
			w.service("east", "named", "mirror.linkerd.io/exported: remote-discovery", "type: ExternalName, externalName: x.example.com")
			w.service("east", "gated", "mirror.linkerd.io/exported: 'true'", "")
		}, `myapp/users-east map[` + madeOf + ` mirror.linkerd.io/cluster-name:east mirror.linkerd.io/mirrored-service:true multicluster.linkerd.io/remote-discovery:east multicluster.linkerd.io/remote-service:users] map[mirror.linkerd.io/remote-svc-fq-name:users.myapp.svc.cluster.local note:hello] http:80
east: gated -> gated-east false NoGateway the Link has no gatewayAddress: label the Service mirror.linkerd.io/exported: remote-discovery where its pods can be called directly
east: named -> named-east false ExternalName it is a name for another host in its own cluster
east: users -> users-east true Mirrored mirrored as a Service with an address of its own, for it is headless in its cluster
warning: Link fairlead-system/east: Service myapp/gated of cluster east has no mirror gated-east: the Link has no gatewayAddress: label the Service mirror.linkerd.io/exported: remote-discovery where its pods can be called directly
warning: Link fairlead-system/east: Service myapp/named of cluster east has no mirror named-east: it is a name for another host in its own cluster
`},
		{"union", func(w *world) {
			w.heard("north", true)
			w.link("east", "targetClusterName: east")
			w.link("north", "targetClusterName: north")
			w.service("", "users", "mirror.linkerd.io/federated: member", "ports: [{name: web, port: 81}]")
			w.service("east", "users", "mirror.linkerd.io/federated: member", "")
			w.service("north", "users", "mirror.linkerd.io/federated: member", "")
		}, `myapp/users-federated map[` + madeOf + ` mirror.linkerd.io/mirrored-service:true] map[multicluster.linkerd.io/local-discovery:users multicluster.linkerd.io/remote-discovery:users@east,users@north] web:81
east: users -> users-federated true Mirrored 
north: users -> users-federated true Mirrored 
`},
		{"foreign", func(w *world) {
			w.link("east", "targetClusterName: east")
			w.service("east", "users", "mirror.linkerd.io/exported: remote-discovery", "")
			w.service("", "users-east", "mirror.linkerd.io/mirrored-service: 'true'", "")
		}, `east: users -> users-east false Foreign Service myapp/users-east was not made as a mirror: it stays as it is
warning: Link fairlead-system/east: Service myapp/users of cluster east has no mirror users-east: Service myapp/users-east was not made as a mirror: it stays as it is
`},
		{"name_too_long", func(w *world) {
			w.link("east", "targetClusterName: east")
			w.service("east", long, "mirror.linkerd.io/exported: remote-discovery", "")
		}, fmt.Sprintf("east: %[1]s -> %[1]s-east false InvalidName %[1]s-east has 64 characters, a Service at most 63\nwarning: Link fairlead-system/east: Service myapp/%[1]s of cluster east has no mirror %[1]s-east: %[1]s-east has 64 characters, a Service at most 63\n", long)},
		{"no_namespace", func(w *world) {
			w.link("east", "targetClusterName: east")
			w.service("east", "users", "mirror.linkerd.io/exported: remote-discovery", "")
			w.store.Commit(func(tx *store.Txn) { tx.DeleteNamespace("", "myapp") })
		}, "east: users -> users-east false NamespaceMissing this cluster has no namespace myapp\nwarning: Link fairlead-system/east: Service myapp/users of cluster east has no mirror users-east: this cluster has no namespace myapp\n"},
		{"two_links", func(w *world) {
			w.link("a", "targetClusterName: east")
			w.link("b", "targetClusterName: east")
		}, "warning: Link fairlead-system/b: spec.targetClusterName: cluster east is that of Link fairlead-system/a already: no effect (remove one, or give the clusters different names)\n"},
		{"not_exported_any_more", func(w *world) {
			w.link("east", "targetClusterName: east")
			w.service("east", "old", "", "")
			w.service("", "old-east", ours, "")
		}, "gone myapp/old-east\n"},
		{"link_deleted", func(w *world) {
			w.service("east", "old", "mirror.linkerd.io/exported: remote-discovery", "")
			w.service("", "old-east", ours, "")
		}, "gone myapp/old-east\n"},
		{"cluster_not_heard", func(w *world) {
			w.link("east", "targetClusterName: east")
			w.service("", "old-east", ours, "")
			w.heard("east", false)
		}, ""},
		{"no_credentials", func(w *world) {
			w.link("south", "targetClusterName: south, clusterCredentialsSecret: cluster-credentials-south")
			w.service("", "old-south", strings.ReplaceAll(ours, "east", "south"), "")
		}, "warning: Link fairlead-system/south: spec.clusterCredentialsSecret: nothing says how cluster south is read: mirrors stay as they are (a Secret cluster-credentials-south of type mirror.linkerd.io/remote-kubeconfig in namespace fairlead-system)\n"},
		{"itself", func(w *world) {
			w.link("west", "targetClusterName: west")
		}, "warning: Link fairlead-system/west: spec.targetClusterName: west is the name of this cluster itself: mirrors stay as they are (the cluster that is linked prints it, and it is applied in the other one: fairlead multicluster link-gen --cluster-name NAME)\n"},
		{"mirrors_of_mirrors", func(w *world) {
			w.link("east", "targetClusterName: east")
			w.service("east", "users-west", "mirror.linkerd.io/exported: remote-discovery, mirror.linkerd.io/mirrored-service: 'true'", "")
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.build(w)
			if diff := cmp.Diff(tt.want, text(w.decide())); diff != "" {
				t.Errorf("Decide (-want +got):\n%s", diff)
			}
		})
	}
}

// A cluster that is linked and has not said yet what it has keeps its part in a union.
func TestDecideKeepsThePartOfAClusterThatIsNotHeard(t *testing.T) {
	w := newWorld(t)
	w.heard("north", true)
	w.link("east", "targetClusterName: east")
	w.link("north", "targetClusterName: north")
	for _, c := range []string{"east", "north"} {
		w.service(c, "users", "mirror.linkerd.io/federated: member", "")
	}
	w.apply(w.decide())
	w.heard("north", false)
	w.remove("north", "Service", "users", "myapp")
	if got := w.decide().Services; len(got) != 1 || got[0].Annotations[model.RemoteDiscoveryKey] != "users@east,users@north" {
		t.Errorf("the union is %+v", got)
	}
	w.heard("north", true)
	if got := w.decide().Services; len(got) != 1 || got[0].Annotations[model.RemoteDiscoveryKey] != "users@east" {
		t.Errorf("the union of those that are there is %+v", got)
	}
}

// Whatever happens in any order, what was not made here is neither written nor deleted, and what was decided twice is the same.
func TestDecideTouchesNothingForeign(t *testing.T) {
	for seed := range uint64(15) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t)
		names := []string{"a", "a-east", "a-federated", "b", "b-north", "a-east-north"}
		labels := []string{
			"x: y", "mirror.linkerd.io/exported: 'true'", "mirror.linkerd.io/exported: remote-discovery", "mirror.linkerd.io/federated: member",
			"mirror.linkerd.io/mirrored-service: 'true', mirror.linkerd.io/cluster-name: east", "app.kubernetes.io/managed-by: fairlead-controller",
			"multicluster.linkerd.io/remote-discovery: east, multicluster.linkerd.io/remote-service: a",
		}
		some := func(list []string) string { return list[rnd.IntN(len(list))] }
		foreign := map[string]bool{}
		for range 60 {
			switch rnd.IntN(7) {
			case 0:
				w.link(some([]string{"one", "two"}), "targetClusterName: "+some([]string{"east", "north"})+`, gatewayAddress: 192.0.2.1, probeSpec: {path: /, port: "1"}`)
			case 1:
				w.remove("", "Link", some([]string{"one", "two"}), "fairlead-system")
			case 2:
				w.heard(some([]string{"east", "north"}), rnd.IntN(3) > 0)
			case 3:
				w.service(some([]string{"east", "north"}), some(names), some(labels), "")
			case 4:
				w.remove(some([]string{"east", "north"}), "Service", some(names), "myapp")
			case 5: // somebody makes a Service, also over a mirror
				name := some(names)
				w.service("", name, some(labels), "")
				foreign[name] = true
			case 6:
				name := some(names)
				if foreign[name] {
					delete(foreign, name)
					w.remove("", "Service", name, "myapp")
				}
			}
			d := w.decide()
			for _, s := range d.Services {
				if foreign[s.Key.Name] {
					t.Fatalf("seed %d: foreign Service %s is written", seed, s.Key)
				}
			}
			for _, k := range d.Gone {
				if foreign[k.Name] {
					t.Fatalf("seed %d: foreign Service %s is deleted", seed, k)
				}
			}
			if diff := cmp.Diff(text(d), text(w.decide())); diff != "" {
				t.Fatalf("seed %d: decided twice:\n%s", seed, diff)
			}
			w.apply(d)
			if again := w.decide(); len(again.Gone) > 0 {
				t.Fatalf("seed %d: still to be deleted after that was done: %v", seed, again.Gone)
			}
		}
	}
}
