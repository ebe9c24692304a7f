package consulsync

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// world is a store that manifests are put into, as the control plane does it.
type world struct {
	*testing.T
	store    *store.Store
	problems []string
}

func (w *world) put(kind, name, cluster string, in any, text string) {
	w.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), in); err != nil {
		w.Fatal(err)
	}
	ref := model.Ref{Kind: kind, Key: model.Key{Namespace: "shop", Name: name}, Cluster: cluster}
	t := config.NewTable().Translate(in, config.Place{Ref: ref, ClusterDomain: "cluster.local"})
	for i := range t.Problems {
		w.problems = append(w.problems, t.Problems[i].Field+": "+t.Problems[i].Message)
	}
	if t.Commit != nil {
		w.store.Commit(t.Commit)
	}
}

// service puts a Service there; annotations are "sync: 'true'" and the like.
func (w *world) service(cluster, name, annotations, spec string) {
	w.Helper()
	var in corev1.Service
	var written []string
	for a := range strings.SplitSeq(annotations, "; ") {
		if a != "" {
			written = append(written, "consul.hashicorp.com/service-"+a)
		}
	}
	w.put("Service", name, cluster, &in, fmt.Sprintf("{metadata: {name: %s, namespace: shop, annotations: {%s}}, spec: {%s}}", name, strings.Join(written, ", "), spec))
}

// slice puts endpoints there; those whose address begins with a dash are not ready.
func (w *world) slice(cluster, service, name, ports string, addresses ...string) {
	w.Helper()
	var in discoveryv1.EndpointSlice
	var list []string
	for _, a := range addresses {
		ready := !strings.HasPrefix(a, "-")
		list = append(list, fmt.Sprintf("{addresses: [%s], conditions: {ready: %t}}", strings.TrimPrefix(a, "-"), ready))
	}
	w.put("EndpointSlice", name, cluster, &in, fmt.Sprintf("{metadata: {name: %s, namespace: shop, labels: {kubernetes.io/service-name: %s}}, addressType: IPv4, ports: [%s], endpoints: [%s]}",
		name, service, ports, strings.Join(list, ", ")))
}

func (w *world) decide() []string {
	d := Decide(store.NewReader(w.store.Snapshot()), "east")
	out := []string{}
	for i := range d.Instances {
		n := &d.Instances[i]
		out = append(out, fmt.Sprintf("%s %s:%d %v of %s", n.Service, n.Address, n.Port, n.Tags, n.Meta[serviceKey]))
		if n.Meta[clusterKey] != "east" || n.Meta[SourceKey] != SourceValue || n.Meta[namespaceKey] != "shop" {
			w.Errorf("metadata of %s is %v", n.ID, n.Meta)
		}
	}
	slices.Sort(out)
	for i := range d.Problems {
		out = append(out, d.Problems[i].String())
	}
	return append(out, w.problems...)
}

const (
	webPort  = "ports: [{name: http, port: 80, targetPort: 8080}, {name: admin, port: 81, targetPort: 9090}]"
	webSlice = "{name: http, port: 8080, protocol: TCP}, {name: admin, port: 9090, protocol: TCP}"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, annotations, spec string
		want                    []string
	}{
		{"not_annotated", "", webPort, []string{}},
		{"false", "sync: 'false'", webPort, []string{}},
		{"first_port", "sync: 'true'", webPort, []string{"users-shop 10.0.0.1:8080 [] of users", "users-shop 10.0.0.3:8080 [] of users"}},
		{"name_port_and_tags", "sync: 'true'; name: people; port: admin; tags: 'a,b, a'", webPort, []string{"people 10.0.0.1:9090 [a b] of users", "people 10.0.0.3:9090 [a b] of users"}},
		{"port_by_number", "sync: 'true'; port: '7000'", webPort, []string{"users-shop 10.0.0.1:7000 [] of users", "users-shop 10.0.0.3:7000 [] of users"}},
		{"headless", "sync: 'true'", "clusterIP: None, " + webPort, []string{"users-shop 10.0.0.1:8080 [] of users", "users-shop 10.0.0.3:8080 [] of users"}},
		{"neither_true_nor_false", "sync: 'yes'", webPort, []string{`metadata.annotations[consul.hashicorp.com/service-sync]: "yes" is neither true nor false: it is not in Consul's catalog`}},
		{"bad_name", "sync: 'true'; name: Users_1", webPort, []string{`metadata.annotations[consul.hashicorp.com/service-name]: "Users_1" is no name for Consul's DNS: it is not in Consul's catalog`}},
		{"consul_itself", "sync: 'true'; name: consul", webPort, []string{`metadata.annotations[consul.hashicorp.com/service-name]: "consul" is the service of Consul's own servers: it is not in Consul's catalog`}},
		{"bad_port", "sync: 'true'; port: grpc", webPort, []string{`metadata.annotations[consul.hashicorp.com/service-port]: "grpc" is neither a TCP port of the Service nor a number: it is not in Consul's catalog`}},
		{"udp_alone", "sync: 'true'", "ports: [{port: 53, protocol: UDP}]", []string{`spec.ports: it has no TCP port: it is not in Consul's catalog`}},
		{"external_name", "sync: 'true'", "type: ExternalName, externalName: example.com", []string{`metadata.annotations[consul.hashicorp.com/service-sync]: a Service of type ExternalName has no pods: it is not in Consul's catalog`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := &world{T: t, store: store.New()}
			w.service("", "users", tt.annotations, tt.spec)
			w.slice("", "users", "users-1", webSlice, "10.0.0.1", "-10.0.0.2")
			w.slice("", "users", "users-2", webSlice, "10.0.0.1", "10.0.0.3")
			w.slice("", "other", "other-1", webSlice, "10.0.0.9")
			w.slice("west", "users", "users-1", webSlice, "10.1.0.1") // of another cluster: its own control plane registers it
			if diff := cmp.Diff(tt.want, w.decide()); diff != "" {
				t.Errorf("what is to be in the catalog (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecideBounds(t *testing.T) {
	t.Parallel()
	w := &world{T: t, store: store.New()}
	var addresses []string
	for i := range maxEndpoints + 1 {
		addresses = append(addresses, fmt.Sprintf("10.0.%d.%d", i/250, i%250+1))
	}
	for i := range maxServices + 1 {
		name := fmt.Sprintf("s%04d", i)
		w.service("", name, "sync: 'true'", webPort)
		if i <= maxInstances/maxEndpoints {
			w.slice("", name, name, webSlice, addresses...)
		}
	}
	d := Decide(store.NewReader(w.store.Snapshot()), "east")
	if len(d.Instances) != maxInstances {
		t.Errorf("%d instances, want %d", len(d.Instances), maxInstances)
	}
	// Each of the first 20 has one too many, the next has no room, and the last Service is one too many.
	if n := len(d.Problems); n != maxInstances/maxEndpoints+2 || !strings.Contains(d.Problems[n-1].String(), "Service shop/s1000") {
		t.Errorf("%d problems, the last of them %s", n, d.Problems[n-1].String())
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	ours := map[string]string{clusterKey: "east"}
	one := func(id string, port int, meta map[string]string) Instance {
		return Instance{ID: id, Service: "users", Address: "10.0.0.1", Port: port, Meta: meta}
	}
	w := &Wanted{Cluster: "east", Instances: []Instance{one("a", 80, ours), one("b", 80, ours)}}
	other := map[string]string{clusterKey: "west"}
	for _, tt := range []struct {
		name   string
		listed []Instance
		want   Step
	}{
		{"nothing_there", nil, Step{Register: w.Instances}},
		{"all_there", w.Instances, Step{}},
		{"one_lost", w.Instances[:1], Step{Register: w.Instances[1:]}},
		{"one_changed", []Instance{one("a", 81, ours), one("b", 80, ours)}, Step{Register: w.Instances[:1]}},
		{"one_too_many", append(slices.Clone(w.Instances), one("c", 80, ours)), Step{Deregister: []string{"c"}}},
		{"by_hand", append(slices.Clone(w.Instances), one("c", 80, nil)), Step{}},
		{"of_another_cluster", append(slices.Clone(w.Instances), one("c", 80, other)), Step{}},
		{"an_id_is_taken", []Instance{one("a", 81, nil), one("b", 81, other)}, Step{Taken: []string{"a", "b"}}},
		{"without_an_id", append(slices.Clone(w.Instances), one("", 80, ours)), Step{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, w.Compare(tt.listed)); diff != "" {
				t.Errorf("Compare (-want +got):\n%s", diff)
			}
		})
	}
	if Ours(map[string]string{}, "") {
		t.Error("what nobody has marked is of a cluster without a name")
	}
}
