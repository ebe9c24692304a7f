package envoy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/graph"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/xds/envoy"
	"fairlead.dev/fairlead/internal/xds/envoy/envoytest"
)

var _ graph.Compiler = envoy.Compiler{}

// counted is a compiler that notes what it has compiled.
type counted struct {
	envoy.Compiler
	compiled *[]string
}

// Compile implements graph.Compiler.
func (c counted) Compile(r *store.Reader, canonical string) (*plan.Encoded, []string, error) {
	t, name, _ := envoytest.Split(canonical)
	if name == "" {
		name = envoy.Everything
	}
	*c.compiled = append(*c.compiled, envoy.Query(t, name))
	return c.Compiler.Compile(r, canonical)
}

// TestEndpointsComeAlone has an endpoint change of a Service that clients of every kind call by mutual TLS, so that its clusters say
// whom its endpoints may prove to be. What is compiled is the endpoints, and the clusters only where there is another identity.
func TestEndpointsComeAlone(t *testing.T) {
	const host = "users-service.myapp.svc.cluster.local"
	var clusters, endpoints []string
	for _, subset := range []string{"", "v1", "v2"} {
		clusters = append(clusters, "cds outbound|8080|"+subset+"|"+host)
		endpoints = append(endpoints, "eds outbound|8080|"+subset+"|"+host)
	}
	archive, err := txtar.ParseFile("testdata/canary.txtar")
	if err != nil {
		t.Fatal(err)
	}
	mesh := strings.Replace(section(t, archive, "mesh.yaml"), "host: users-service\n", "host: users-service\n  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}\n", 1)
	tests := []struct {
		name         string
		before, with string
		want         []string // what is new of it
	}{
		{
			"ready", "addresses: [10.1.0.2], conditions: {ready: false, serving: false}", "addresses: [10.1.0.2], conditions: {ready: true, serving: true}",
			[]string{"eds outbound|8080|v1|" + host, "eds outbound|8080||" + host},
		},
		{
			"another_identity", "name: users-v2-a, namespace: myapp, labels: {app: users, version: v2}}\nspec: {nodeName: n1, serviceAccountName: users,",
			"name: users-v2-a, namespace: myapp, labels: {app: users, version: v2}}\nspec: {nodeName: n1, serviceAccountName: other,",
			[]string{"cds outbound|8080|v2|" + host, "cds outbound|8080||" + host},
		},
	}
	for _, kind := range []string{"capture=1&kind=envoy&ns=myapp", "kind=grpc&ns=myapp"} {
		for _, tt := range tests {
			t.Run(tt.name+"_"+kind, func(t *testing.T) {
				s := store.New()
				commit(t, s, mesh)
				var compiled []string
				g := graph.New(s.Snapshot(), counted{compiler(), &compiled})
				for _, name := range slices.Concat(clusters, endpoints) {
					if g.Open(graph.Key{Namespace: kind, Name: name}).Found().Resource == nil {
						t.Fatalf("there is no %s", name)
					}
				}
				if !strings.Contains(mesh, tt.before) {
					t.Fatalf("%q is not in the manifests", tt.before)
				}
				compiled = nil
				var sent []string
				for q := range g.Update(commit(t, s, strings.Replace(mesh, tt.before, tt.with, 1))) {
					sent = append(sent, q.Key().Name)
				}
				slices.Sort(sent)
				if diff := cmp.Diff(tt.want, sent); diff != "" {
					t.Errorf("new after the change (-want +got):\n%s", diff)
				}
				slices.Sort(compiled)
				want := slices.Sorted(slices.Values(slices.Concat(tt.want, endpoints))) // subsets share the slice that has changed
				if diff := cmp.Diff(slices.Compact(want), compiled); diff != "" {
					t.Errorf("compiled (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestChanges follows what an Envoy and a client of gRPC's follow, and says which of it is new after a change.
func TestChanges(t *testing.T) {
	const (
		host = "users-service.myapp.svc.cluster.local"
		all  = "cds *"
		v1   = "cds outbound|8080|v1|" + host
	)
	archive, err := txtar.ParseFile("testdata/canary.txtar")
	if err != nil {
		t.Fatal(err)
	}
	mesh := section(t, archive, "mesh.yaml")
	tests := []struct {
		name         string
		before, with string
		want         []string
	}{
		{
			"an_endpoint_becomes_ready", "addresses: [10.1.0.2], conditions: {ready: false, serving: false}",
			"addresses: [10.1.0.2], conditions: {ready: true, serving: true}",
			[]string{"eds outbound|8080|v1|" + host, "eds outbound|8080||" + host},
		},
		{"weights_are_edited", "weight: 90", "weight: 50", []string{"rds 8080"}},
		{"a_subset_has_other_pods", "name: v2, labels: {version: v2}", "name: v2, labels: {version: v9}", []string{"eds outbound|8080|v2|" + host}},
		{
			"a_subset_comes", "- {name: v2, labels: {version: v2}}", "- {name: v2, labels: {version: v2}}\n    - {name: v3, labels: {version: v3}}",
			[]string{all},
		},
		{
			"the_policy_of_a_subset_is_edited", "{name: v1, labels: {version: v1}}",
			"{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
			[]string{all, v1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := store.New()
			commit(t, s, mesh)
			g := graph.New(s.Snapshot(), compiler())
			class := envoy.Class{Kind: envoy.Envoy, Namespace: "myapp"}.String()
			for _, query := range []string{
				all, v1, "rds 8080", "lds *",
				"eds outbound|8080|v1|" + host, "eds outbound|8080|v2|" + host, "eds outbound|8080||" + host,
			} {
				if g.Open(graph.Key{Namespace: class, Name: query}).Found().Resource == nil {
					t.Fatalf("there is no %s", query)
				}
			}
			if !strings.Contains(mesh, tt.before) {
				t.Fatalf("%q is not in the manifests", tt.before)
			}
			var got []string
			for q := range g.Update(commit(t, s, strings.Replace(mesh, tt.before, tt.with, 1))) {
				got = append(got, q.Key().Name)
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("new after the change (-want +got):\n%s", diff)
			}
		})
	}
}

// commit puts manifests into a store, in the place of what they said before.
func commit(t *testing.T, s *store.Store, manifests string) (store.Snapshot, store.Changed) {
	t.Helper()
	objects, problems := file.Decode("mesh.yaml", []byte(manifests))
	kinds := config.NewTable()
	snapshot, changed := s.Commit(func(tx *store.Txn) {
		for i := range objects {
			of := kinds.Translate(objects[i].Value, config.Place{Ref: objects[i].Ref, ClusterDomain: "cluster.local"})
			problems = append(problems, of.Problems...)
			of.Commit(tx)
		}
	})
	for _, p := range problems {
		t.Fatal(p)
	}
	return snapshot, changed
}
