package compile_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/store"
)

// several is the control planes' view of west, whose own objects come first, and of east.
type several struct {
	store *store.Store
	kinds config.Table
}

func newSeveral() *several { return &several{store.New(), config.NewTable()} }

// set puts manifests of a cluster in force, west being the own one.
func (s *several) set(t *testing.T, cluster, manifests string) {
	t.Helper()
	objects, problems := file.Decode("mesh.yaml", []byte(manifests))
	for _, p := range problems {
		t.Fatal(p)
	}
	s.store.Commit(func(tx *store.Txn) {
		for _, o := range objects {
			if cluster != "west" {
				o.Ref.Cluster = cluster
			}
			tr := s.kinds.Translate(o.Value, config.Place{Ref: o.Ref, ClusterDomain: "cluster.local", ClusterID: "west"})
			if tr.Commit != nil {
				tr.Commit(tx)
			}
		}
	})
}

func (s *several) remove(kind, name, cluster string) {
	ref := model.Ref{Kind: kind, Key: model.Key{Namespace: "myapp", Name: name}, Cluster: cluster}
	s.store.Commit(func(tx *store.Txn) { s.kinds.Remove(ref)(tx) })
}

func (s *several) compile(name string) plan.Resource {
	return compile.Compile(store.NewReader(s.store.Snapshot()), severalGlobal(), name)
}

func severalGlobal() compile.Global {
	g := global()
	g.ClusterID = "west"
	return g
}

// endpoints lists the addresses behind a destination, in order.
func (s *several) endpoints(t *testing.T, name string) string {
	t.Helper()
	d, ok := s.compile(name).(*plan.Destination)
	if !ok {
		return "no destination"
	}
	var out []string
	for _, b := range d.Backends {
		for _, shard := range b.Shards {
			for _, e := range s.compile(shard).(*plan.EndpointShard).Endpoints {
				out = append(out, e.Addr.String())
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (s *several) dns(name string) string {
	d, ok := s.compile("dns/" + name).(*plan.DNSName)
	if !ok {
		return "not ours"
	}
	var out []string
	for _, a := range d.Addresses {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

const (
	exportUsers = `
apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceExport
metadata: {name: users, namespace: myapp, creationTimestamp: "2026-01-01T00:00:00Z"}
`
	usersHost = "users.myapp.svc.clusterset.local"
)

func usersIn(address, ip, spec string) string {
	return `
apiVersion: v1
kind: Service
metadata: {name: users, namespace: myapp}
spec: {` + spec + ` clusterIP: ` + ip + `, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: users-1, namespace: myapp, labels: {kubernetes.io/service-name: users}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [` + address + `], hostname: users-0}]
`
}

// What is exported is called by its name in all clusters, and only the endpoints of clusters that export it are.
func TestExportedServices(t *testing.T) {
	s := newSeveral()
	const dst = "dst/myapp/" + usersHost + ":80"
	s.set(t, "west", usersIn("10.244.0.1", "10.96.0.1", ""))
	s.set(t, "east", usersIn("10.245.0.1", "10.96.0.2", ""))
	if got := s.endpoints(t, dst); got != "no destination" {
		t.Fatalf("before an export: %s", got)
	}
	s.set(t, "east", exportUsers)
	if got := s.endpoints(t, dst); got != "10.245.0.1:8080" {
		t.Errorf("exported by east: %s", got)
	}
	auto := s.dns(usersHost)
	if !strings.HasPrefix(auto, "240.240.") {
		t.Errorf("it has no automatic address: %s", auto)
	}
	s.set(t, "west", exportUsers)
	if got := s.endpoints(t, dst); got != "10.244.0.1:8080 10.245.0.1:8080" {
		t.Errorf("exported by both: %s", got)
	}

	// The Service that the control plane has made for pods without a sidecar is its address, and nothing else.
	s.set(t, "west", `
apiVersion: v1
kind: Service
metadata: {name: derived-1, namespace: myapp, labels: {app.kubernetes.io/managed-by: fairlead-multicluster, multicluster.kubernetes.io/service-name: users}}
spec: {clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9], ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: derived-1-east, namespace: myapp, labels: {kubernetes.io/service-name: derived-1, endpointslice.kubernetes.io/managed-by: fairlead-multicluster}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.245.0.1]}]
`)
	if got := s.dns(usersHost); got != "10.96.0.9" {
		t.Errorf("with an address of the cluster: %s", got)
	}
	if got := s.dns("derived-1.myapp.svc.cluster.local"); got != "not ours" {
		t.Errorf("the Service that has the address is a host of its own: %s", got)
	}
	for _, address := range append(strings.Fields(auto), "10.96.0.9") {
		ip := netip.MustParseAddr(address)
		got, ok := compile.Resolve(store.NewReader(s.store.Snapshot()), severalGlobal(), compile.Client{Namespace: "myapp"}, "ip/"+netip.AddrPortFrom(ip, 80).String())
		if !ok || got != dst {
			t.Errorf("%s leads to %q", address, got)
		}
	}

	s.remove("ServiceExport", "users", "east")
	if got := s.endpoints(t, dst); got != "10.244.0.1:8080" {
		t.Errorf("east has taken it back: %s", got)
	}
	s.remove("ServiceExport", "users", "")
	if got := s.endpoints(t, dst); got != "no destination" {
		t.Errorf("nobody exports it: %s", got)
	}
	if got := s.endpoints(t, "dst/myapp/users.myapp.svc.cluster.local:80"); got != "10.244.0.1:8080 10.245.0.1:8080" {
		t.Errorf("the Service itself: %s", got)
	}
}

func TestExportedHeadlessServices(t *testing.T) {
	s := newSeveral()
	s.set(t, "west", usersIn("10.244.0.1", "None", "")+"---"+exportUsers)
	s.set(t, "east", usersIn("10.245.0.1", "None", "")+"---"+exportUsers)
	for name, want := range map[string]string{
		usersHost:                       "10.244.0.1 10.245.0.1",
		"users-0.west." + usersHost:     "10.244.0.1",
		"users-0.east." + usersHost:     "10.245.0.1",
		"users-1.east." + usersHost:     "not ours",
		"users-0.north." + usersHost:    "not ours",
		"users-0." + usersHost:          "not ours",
		"a.users-0.east." + usersHost:   "not ours",
		"10-245-0-1.east." + usersHost:  "not ours", // it goes by its hostname
		"users-0.east.x." + usersHost:   "not ours",
		"users-0.east.myapp.svc." + "x": "not ours",
	} {
		if got := s.dns(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestStatusOfExports(t *testing.T) {
	own := model.Ref{Kind: "ServiceExport", Key: model.Key{Namespace: "myapp", Name: "users"}}
	for _, tt := range []struct{ name, west, east, want, problems string }{
		{"alone", usersIn("10.244.0.1", "10.96.0.1", "") + "---" + exportUsers, "", "Valid Ready NoConflicts", ""},
		{"no Service", exportUsers, "", "!NoService !Pending NoConflicts", "ServiceExport myapp/users: metadata.name: there is no Service myapp/users: nothing is exported"},
		{
			"a name for another host",
			"apiVersion: v1\nkind: Service\nmetadata: {name: users, namespace: myapp}\nspec: {type: ExternalName, externalName: example.com}\n---" + exportUsers, "",
			"!InvalidServiceType !Pending NoConflicts", "ServiceExport myapp/users: metadata.name: a Service of type ExternalName cannot be exported",
		},
		{
			"a conflict", usersIn("10.244.0.1", "10.96.0.1", "") + "---" + exportUsers, usersIn("10.245.0.1", "None", "") + "---" + exportUsers,
			"Valid Ready TypeConflict", "ServiceExport myapp/users: spec.clusterIP: west says not headless, and east says headless: the latter counts",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSeveral()
			s.set(t, "west", tt.west)
			s.set(t, "east", tt.east)
			r := store.NewReader(s.store.Snapshot())
			got := compile.StatusOfExport(r, store.Get[model.ServiceExport](r, own))
			words := []string{got.Valid.Reason, got.Ready.Reason, got.Conflict.Reason}
			if !got.Valid.Holds {
				words[0] = "!" + words[0]
			}
			if !got.Ready.Holds {
				words[1] = "!" + words[1]
			}
			if text := strings.Join(words, " "); text != tt.want || got.Conflict.Holds != strings.Contains(tt.want, "TypeConflict") {
				t.Errorf("= %s, want %s (%+v)", text, tt.want, got)
			}
			var found strings.Builder
			for _, p := range compile.Check(r, severalGlobal()) {
				if p.Ref.Kind == "ServiceExport" {
					found.WriteString(p.String() + "\n")
				}
			}
			if !strings.Contains(found.String(), tt.problems) || (tt.problems == "") != (found.Len() == 0) {
				t.Errorf("problems %q, want %q", found.String(), tt.problems)
			}
		})
	}
}
