package compile_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

func sorted() cmp.Option { return cmpopts.SortSlices(strings.Compare) }

// TestCompileMalformedNames asks for names that no control plane hands out: the answer is "no such resource", never a panic.
func TestCompileMalformedNames(t *testing.T) {
	snap := snapshot(t, "service users.myapp ip=10.96.0.1 port=http:8080:HTTP\nslice u.myapp of=users port=http:80 ep=10.1.0.1\n")
	names := []string{
		"", "/", "x", "dst", "dst/", "dst/myapp", "dst/myapp/", "dst/myapp/users", "dst/myapp/users:", "dst/myapp/:8080", "dst//:0?ns=",
		"dst/myapp/users.myapp.svc.cluster.local:80800", "dst/other/users.myapp.svc.cluster.local:8080", "eps/", "eps/a:1", "eps/a:1/",
		"eps/users.myapp.svc.cluster.local:8080/slice/u#0", "eps/users.myapp.svc.cluster.local:8080/slice/u#1", "eps/users.myapp.svc.cluster.local:8080/slice/u#2",
		"eps/users.myapp.svc.cluster.local:8080/slice/u#x", "eps/a:1/static/b", "eps/a:1/other/b", "eps/x:1/pod", "eps/[::1]:1/pod", "pod/", "pod/1.2.3.4",
		"pod/1.2.3.4:80", "ip/", "ip/x", "ip/1.2.3.4:80", "in/", "in/a", "in/a/b/c", "dns/", "dns/x", "trust", "trust/",
		"dst/myapp/USERS.myapp.svc.cluster.local:8080", "dst/myapp/users.myapp.svc.cluster.local.:8080", "eps/Users.myapp.svc.cluster.local:8080/slice/u",
		"dst/myapp/users.myapp.svc.cluster.local:08080", "pod/[::ffff:10.1.0.1]:80", "dns/USERS.myapp.svc.cluster.local", "mesh/x",
	}
	for _, name := range names {
		if got := compile.Compile(store.NewReader(snap), global(), name); got != nil {
			t.Errorf("Compile(%q) = %v, want nil", name, got)
		}
	}
	for _, name := range []string{"", "x", "host/", "host/:80", "host/a", "host/a:0", "host/a:70000", "ip/", "ip/a", "ip/a:1", "ip/10.96.0.1:0", "dns/", "dst", "mesh/x"} {
		if got, ok := compile.Resolve(store.NewReader(snap), global(), compile.Client{Namespace: "myapp"}, name); ok {
			t.Errorf("Resolve(%q) = %q, want not ours", name, got)
		}
	}
}

func TestCompileMesh(t *testing.T) {
	g := global()
	g.RefuseUnknown, g.AccessLog, g.Paths, g.NoInboundRetries = true, plan.AccessLogJSON, plan.PathMergeSlashes, true
	want := &plan.MeshGlobal{
		RefuseUnknown: true, AccessLog: plan.AccessLogJSON,
		Paths: plan.PathMergeSlashes, NoInboundRetries: true,
	}
	got := compile.Compile(store.NewReader(store.New().Snapshot()), g, "mesh")
	if diff := cmp.Diff(plan.Resource(want), got); diff != "" {
		t.Errorf("Compile(mesh) (-want +got):\n%s", diff)
	}
}

// TestNamedPorts: every sidecar knows from the start at which ports hosts are called that have no address, or that apps
// may have resolved by themselves. At all others nothing is looked into.
func TestNamedPorts(t *testing.T) {
	snap := snapshot(t, `
service users.myapp ip=10.96.0.1 port=http:8081:HTTP
entry none.example.com ns=shop resolution=ORIGINAL_DST port=http:80:HTTP port=tcp:9000:TCP
entry *.example.com ns=shop resolution=STATIC port=tls:443:TLS endpoint=192.0.2.1
entry dns.example.com ns=shop resolution=STRICT_DNS port=http:8080:HTTP
entry addressed.example.com ns=shop resolution=STATIC port=http:8082:HTTP endpoint=192.0.2.1 ip=198.51.100.1
`)
	mesh, _ := compile.Compile(store.NewReader(snap), global(), "mesh").(*plan.MeshGlobal)
	if diff := cmp.Diff([]uint16{80, 443, 8080, 9000}, mesh.NamedPorts); diff != "" {
		t.Errorf("NamedPorts (-want +got):\n%s", diff)
	}
}

// TestNamedPortsOfVirtualServices is the same for hosts that only VirtualServices name.
func TestNamedPortsOfVirtualServices(t *testing.T) {
	const virtualService = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x, namespace: myapp}\nspec: "
	const defined = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: api, namespace: myapp}\n" +
		"spec: {hosts: [api.example.com], addresses: [198.51.100.1], ports: [{number: 8082, name: http, protocol: HTTP}], resolution: DNS}\n---\n"
	for _, tt := range []struct {
		name, manifests string
		want            []uint16
	}{
		{"requests", virtualService + "{hosts: [api.example.com], http: [{directResponse: {status: 418}}]}", []uint16{80}},
		{"a_wildcard", virtualService + `{hosts: ["*.example.com"], http: [{directResponse: {status: 418}}]}`, []uint16{80}},
		{"requests_at_a_port", virtualService + "{hosts: [api.example.com], http: [{match: [{port: 8080}], directResponse: {status: 418}}]}", []uint16{8080}},
		{"tls", virtualService + "{hosts: [api.example.com], tls: [{match: [{sniHosts: [api.example.com]}, {sniHosts: [api.example.com], port: 8443}], route: [{destination: {host: users}}]}]}", []uint16{443, 8443}},
		{"an_address", virtualService + "{hosts: [192.0.2.1], http: [{directResponse: {status: 418}}]}", nil},
		{"tcp", virtualService + "{hosts: [api.example.com], tcp: [{route: [{destination: {host: users}}]}]}", nil},
		{"defined", defined + virtualService + "{hosts: [api.example.com], http: [{directResponse: {status: 418}}]}", nil},
		{"mistyped", virtualService + "{hosts: [usres, usres.myapp.svc.cluster.local], http: [{directResponse: {status: 418}}]}", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			snap, problems := compiletest.Load(t, tt.manifests)
			if strings.Contains(fmt.Sprint(problems), "error:") {
				t.Fatal(problems)
			}
			mesh, _ := compile.Compile(store.NewReader(snap), global(), "mesh").(*plan.MeshGlobal)
			if diff := cmp.Diff(tt.want, mesh.NamedPorts); diff != "" {
				t.Errorf("NamedPorts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCompileNamesItself asks for every kind of resource and compares its name with the question.
func TestCompileNamesItself(t *testing.T) {
	snap := snapshot(t, `
service users.myapp ip=10.96.0.1 port=http:8080:HTTP
slice u.myapp of=users port=http:80 ep=10.1.0.1/p ep=fd00::1
pod p.myapp ip=10.1.0.1,fd00::7
dr mine.client host=users.myapp subset=v1:version=v1
entry *.example.com ns=shop resolution=STATIC port=http:80:HTTP endpoint=192.0.2.1 ip=198.51.100.1
`)
	for _, name := range []string{
		"dst/myapp/users.myapp.svc.cluster.local:8080", "dst/myapp/users.myapp.svc.cluster.local:8080?ns=client",
		"eps/users.myapp.svc.cluster.local:8080/slice/u", "eps/users.myapp.svc.cluster.local:8080/slice/u?ns=client", "eps/*.example.com:80/static/shop",
		"dst/shop/a.example.com:80", "dst/shop/*.example.com:80", "pod/10.1.0.1:80", "pod/[fd00::1]:80", "eps/[fd00::1]:80/pod", "ip/fd00::7",
		"ip/10.1.0.1", "in/myapp/p", "dns/users.myapp.svc.cluster.local", "dns/a.example.com", "mesh",
	} {
		res := compile.Compile(store.NewReader(snap), global(), name)
		if res == nil {
			t.Errorf("Compile(%q) = nil", name)
			continue
		}
		// A workload answers to each of its addresses.
		if got := res.ResourceName(); got != name && !strings.HasPrefix(name, "dns/") {
			t.Errorf("Compile(%q).ResourceName() = %q", name, got)
		}
		client := compile.Client{Namespace: "client", Pod: "p"}
		if strings.HasPrefix(name, "in/") {
			client.Namespace = "myapp"
		}
		canonical, ok := compile.Resolve(store.NewReader(snap), global(), client, name)
		if want := !strings.HasPrefix(name, "eps/"); ok != want || (ok && canonical != name) {
			t.Errorf("Resolve(%q) for %v = %q, %v, want itself, %v", name, client, canonical, ok, want)
		}
	}
}

// TestTrafficPolicyMerge shows which level gives each setting, as Istio merges them.
func TestTrafficPolicyMerge(t *testing.T) {
	port := func(n uint16, p model.TrafficPolicy) map[uint16]model.TrafficPolicy {
		return map[uint16]model.TrafficPolicy{n: p}
	}
	tls := func(m model.TLSMode) model.TLSSettings { return model.TLSSettings{Mode: m} }
	rule := func(name string, age int64, p model.DestinationPolicy) model.DestinationPolicy {
		p.Ref = model.Ref{Kind: "DestinationRule", Key: model.Key{Namespace: "myapp", Name: name}}
		p.Host, p.CreatedAt = "users.myapp.svc.cluster.local", created(age)
		return p
	}
	type want struct {
		LB       model.LBKind
		TLS      model.TLSMode
		MaxConns uint32
		Requests uint32
		Rule     string
		Hash     string // the header that decides
		Outlier  uint32 // errors in a row
		WarmUp   time.Duration
	}
	for _, test := range []struct {
		name  string
		rules []model.DestinationPolicy
		want  want
	}{
		{"nothing said", nil, want{LB: model.LeastRequest}},
		{
			"destination level",
			[]model.DestinationPolicy{rule("a", 0, model.DestinationPolicy{Default: model.TrafficPolicy{LB: model.Random, ConnectionPool: model.ConnectionPool{MaxConnections: 1}}})},
			want{LB: model.Random, TLS: 0, MaxConns: 1, Requests: 0, Rule: "a.myapp"},
		},
		{
			"port level replaces all",
			[]model.DestinationPolicy{rule("a", 0, model.DestinationPolicy{
				Default: model.TrafficPolicy{LB: model.Random, ConnectionPool: model.ConnectionPool{MaxConnections: 1}, TLS: tls(model.TLSDisable)},
				PerPort: port(8080, model.TrafficPolicy{ConnectionPool: model.ConnectionPool{MaxRequests: 2}}),
			})},
			want{LB: model.LeastRequest, TLS: 0, MaxConns: 0, Requests: 2, Rule: "a.myapp"},
		},
		{
			"other port changes nothing",
			[]model.DestinationPolicy{rule("a", 0, model.DestinationPolicy{
				Default: model.TrafficPolicy{LB: model.Random}, PerPort: port(9, model.TrafficPolicy{LB: model.RoundRobin}),
			})},
			want{LB: model.Random, TLS: 0, MaxConns: 0, Requests: 0, Rule: "a.myapp"},
		},
		{
			"subset replaces blocks",
			[]model.DestinationPolicy{rule("a", 0, model.DestinationPolicy{
				Default: model.TrafficPolicy{LB: model.Random, ConnectionPool: model.ConnectionPool{MaxConnections: 1, MaxRequests: 1}, TLS: tls(model.TLSDisable)},
				Subsets: []model.Subset{{Name: "v1", Policy: model.TrafficPolicy{ConnectionPool: model.ConnectionPool{MaxRequests: 5}}}},
			})},
			want{LB: model.Random, TLS: model.TLSDisable, MaxConns: 0, Requests: 5, Rule: "a.myapp"},
		},
		{
			"subset keeps hash and outlier detection beside another pool",
			[]model.DestinationPolicy{rule("a", 0, model.DestinationPolicy{
				Default: model.TrafficPolicy{LB: model.Maglev, Hash: model.HashPolicy{Name: "x-a"}, Outlier: &model.OutlierDetection{Consecutive5xx: 4}},
				Subsets: []model.Subset{{Name: "v1", Policy: model.TrafficPolicy{ConnectionPool: model.ConnectionPool{MaxRequests: 5}}}},
			})},
			want{LB: model.Maglev, Requests: 5, Rule: "a.myapp", Hash: "x-a", Outlier: 4},
		},
		{
			"subset replaces hash and outlier detection",
			[]model.DestinationPolicy{rule("a", 0, model.DestinationPolicy{
				Default: model.TrafficPolicy{LB: model.Maglev, Hash: model.HashPolicy{Name: "x-a"}, Outlier: &model.OutlierDetection{Consecutive5xx: 4}},
				Subsets: []model.Subset{{Name: "v1", Policy: model.TrafficPolicy{LB: model.Random, Outlier: &model.OutlierDetection{Consecutive5xx: 9}}}},
			})},
			want{LB: model.Random, Rule: "a.myapp", Outlier: 9},
		},
		{
			"subset keeps the warm-up beside another pool",
			[]model.DestinationPolicy{rule("a", 0, model.DestinationPolicy{
				Default: model.TrafficPolicy{LB: model.RoundRobin, WarmUp: &model.WarmUp{Duration: time.Second}},
				Subsets: []model.Subset{{Name: "v1", Policy: model.TrafficPolicy{ConnectionPool: model.ConnectionPool{MaxRequests: 5}}}},
			})},
			want{LB: model.RoundRobin, Requests: 5, Rule: "a.myapp", WarmUp: time.Second},
		},
		{
			"a warm-up alone is a load balancer of its own",
			[]model.DestinationPolicy{rule("a", 0, model.DestinationPolicy{
				Default: model.TrafficPolicy{LB: model.RoundRobin},
				Subsets: []model.Subset{{Name: "v1", Policy: model.TrafficPolicy{WarmUp: &model.WarmUp{Duration: time.Second}}}},
			})},
			want{LB: model.LeastRequest, Rule: "a.myapp", WarmUp: time.Second},
		},
		{
			"subset over port level",
			[]model.DestinationPolicy{rule("a", 0, model.DestinationPolicy{
				PerPort: port(8080, model.TrafficPolicy{LB: model.RoundRobin, ConnectionPool: model.ConnectionPool{MaxConnections: 3}}),
				Subsets: []model.Subset{{Name: "v1", Policy: model.TrafficPolicy{TLS: tls(model.TLSSimple)}}},
			})},
			want{LB: model.RoundRobin, TLS: model.TLSSimple, MaxConns: 3, Requests: 0, Rule: "a.myapp"},
		},
		{
			"subset port level replaces all",
			[]model.DestinationPolicy{rule("a", 0, model.DestinationPolicy{
				Default: model.TrafficPolicy{LB: model.Random, ConnectionPool: model.ConnectionPool{MaxConnections: 1}},
				Subsets: []model.Subset{{
					Name: "v1", Policy: model.TrafficPolicy{LB: model.RoundRobin}, PerPort: port(8080, model.TrafficPolicy{ConnectionPool: model.ConnectionPool{MaxRequests: 7}}),
				}},
			})},
			want{LB: model.LeastRequest, TLS: 0, MaxConns: 0, Requests: 7, Rule: "a.myapp"},
		},
		{
			"oldest policy and subset of two rules",
			[]model.DestinationPolicy{
				rule("young", 1, model.DestinationPolicy{
					Default: model.TrafficPolicy{LB: model.RoundRobin, ConnectionPool: model.ConnectionPool{MaxConnections: 9}},
					Subsets: []model.Subset{{Name: "v1", Policy: model.TrafficPolicy{LB: model.RoundRobin}}},
				}),
				rule("old", 2, model.DestinationPolicy{Subsets: []model.Subset{{Name: "v1", Policy: model.TrafficPolicy{LB: model.Random}}}}),
			},
			want{LB: model.Random, TLS: 0, MaxConns: 9, Requests: 0, Rule: "old.myapp,young.myapp"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := store.New()
			load(t, s, "service users.myapp ip=10.96.0.1 port=http:8080:HTTP\nvs users.myapp host=users\n  http -> users/v1\n")
			subset := 0
			snap, _ := s.Commit(func(tx *store.Txn) {
				for _, r := range test.rules {
					store.Set(tx, r)
					subset += len(r.Subsets)
				}
			})
			d, _ := compile.Compile(store.NewReader(snap), global(), "dst/myapp/users.myapp.svc.cluster.local:8080").(*plan.Destination)
			b := d.Backends[len(d.Backends)-1] // the host itself
			if subset > 0 {
				b = d.Backends[0]
			}
			got := want{LB: b.LB, TLS: b.TLS.Mode, MaxConns: b.MaxConnections, Requests: b.MaxRequests, Rule: b.Rule, Hash: b.Hash.Name}
			if b.Outlier != nil {
				got.Outlier = b.Outlier.Consecutive5xx
			}
			if b.WarmUp != nil {
				got.WarmUp = b.WarmUp.Duration
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("backend %s (-want +got):\n%s", b.Name, diff)
			}
		})
	}
}

// TestShardParts splits a slice of more than 100 endpoints.
func TestShardParts(t *testing.T) {
	var line strings.Builder
	line.WriteString("service users.myapp ip=10.96.0.1 port=http:8080:HTTP\nslice u.myapp of=users port=http:80")
	for i := range 250 {
		fmt.Fprintf(&line, " ep=10.1.%d.%d", i/100, i%100)
	}
	snap := snapshot(t, line.String())
	d, _ := compile.Compile(store.NewReader(snap), global(), "dst/myapp/users.myapp.svc.cluster.local:8080").(*plan.Destination)
	total, first := 0, map[string]bool{}
	for _, name := range d.Backends[0].Shards {
		shard, _ := compile.Compile(store.NewReader(snap), global(), name).(*plan.EndpointShard)
		if shard == nil || len(shard.Endpoints) > store.ShardSize {
			t.Fatalf("Compile(%s) = %v, want at most %d endpoints", name, shard, store.ShardSize)
		}
		for i := range shard.Endpoints {
			first[shard.Endpoints[i].Addr.String()] = true
		}
		total += len(shard.Endpoints)
	}
	if total != 250 || len(first) != 250 || len(d.Backends[0].Shards) != 3 {
		t.Errorf("%d shards hold %d endpoints, %d different; want 3, 250, 250", len(d.Backends[0].Shards), total, len(first))
	}
}

// TestCheckIsDeterministic compares two checks of a mesh full of mistakes.
func TestCheckIsDeterministic(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	var b strings.Builder
	for range 80 {
		b.WriteString(randomObject(rng) + "\n")
	}
	snap := snapshot(t, b.String())
	first := compile.Check(store.NewReader(snap), global())
	if len(first) == 0 {
		t.Fatal("no problems found")
	}
	for range 5 {
		if diff := cmp.Diff(first, compile.Check(store.NewReader(snap), global())); diff != "" {
			t.Fatalf("Check differs (-first +again):\n%s", diff)
		}
	}
}

// shardAllocations is the budget for a shard of 100 meshed endpoints with a node and one of two subsets each. It took
// 344 when it was written: per endpoint the subset list, the identity and the ID of the workload that is read.
const shardAllocations = 400

func TestShardAllocations(t *testing.T) {
	snap, name := shardOf(t, 100)
	got := testing.AllocsPerRun(10, func() { compile.Compile(store.NewReader(snap), global(), name) })
	if got > shardAllocations {
		t.Errorf("a shard of 100 endpoints takes %.0f allocations, budget %d", got, shardAllocations)
	}
}

func shardOf(tb testing.TB, n int) (snap store.Snapshot, name string) {
	tb.Helper()
	var b, slice strings.Builder
	b.WriteString("service users.myapp ip=10.96.0.1 port=http:8080:HTTP\ndr users.myapp host=users subset=v1:version=v1 subset=v2:version=v2\nnode n r/z\n")
	slice.WriteString("slice u.myapp of=users port=http:80")
	for i := range n {
		fmt.Fprintf(&b, "pod p%d.myapp ip=10.1.0.%d label=app:users label=version:v%d node=n meshed\n", i, i, i%2+1)
		fmt.Fprintf(&slice, " ep=10.1.0.%d/p%d", i, i)
	}
	return snapshot(tb, b.String()+slice.String()), "eps/users.myapp.svc.cluster.local:8080/slice/u"
}

func BenchmarkCompileShard(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			snap, name := shardOf(b, n)
			b.ReportAllocs()
			for b.Loop() {
				compile.Compile(store.NewReader(snap), global(), name)
			}
		})
	}
}

func BenchmarkCompileDestination(b *testing.B) {
	snap := snapshot(b, big(1000))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		compile.Compile(store.NewReader(snap), global(), fmt.Sprintf("dst/ns/s%d.ns.svc.cluster.local:8080", i%1000))
	}
}
