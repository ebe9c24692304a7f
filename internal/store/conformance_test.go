package store_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// conformance is what every table must do, with two different values of one row and every way to read them.
type conformance struct {
	name        string
	set, update func(*store.Txn)
	remove      func(*store.Txn)
	// reads give what each index shows; all of them see the first value, none sees anything once it is removed.
	reads map[string]func(*store.Reader) any
	// updated names the reads whose result the update changes.
	updated []string
}

func key(ns, name string) model.Key        { return model.Key{Namespace: ns, Name: name} }
func own(ns, name string) model.ClusterKey { return model.ClusterKey{Key: key(ns, name)} }
func ref(kind, ns, name string) model.Ref  { return model.Ref{Kind: kind, Key: key(ns, name)} }
func addr(s string) netip.Addr             { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix         { return netip.MustParsePrefix(s) }
func slot[T any](v T, ok bool) any         { return map[bool]any{true: v, false: nil}[ok] }
func row[T any](v *T) any                  { return slot(v, v != nil) }
func list[T any](v []T) any                { return slot(v, len(v) > 0) }
func equal() cmp.Options                   { return cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})} }
func single(s string) []netip.Prefix       { return []netip.Prefix{prefix(s)} }
func slicePort(n uint16) []model.SlicePort { return []model.SlicePort{{Name: "http", Port: n}} }
func servicePort(n uint16) []model.ServicePort {
	return []model.ServicePort{{Name: "http", Port: n, Protocol: model.HTTP}}
}

func endpoint(ip, pod string) model.SliceEndpoint {
	return model.SliceEndpoint{Addresses: []netip.Addr{addr(ip)}, Pod: own("myapp", pod), Ready: true, Serving: true}
}

func tables() []conformance {
	origin := ref("Service", "myapp", "users")
	service := model.Service{
		Key: key("myapp", "users"), Host: "users.myapp.svc.cluster.local", VIPs: []netip.Prefix{prefix("10.0.0.1/32"), prefix("10.9.0.0/16")},
		Ports: servicePort(80), Resolution: model.ResolveSlices,
	}
	changedService := service
	changedService.Ports = servicePort(81)
	entry := model.Service{Key: key("myapp", "api.example.com"), Host: "api.example.com", Resolution: model.ResolveDNS, Ports: servicePort(80)}
	changedEntry := entry
	changedEntry.Ports = servicePort(81)
	slice := model.Slice{
		Key: own("myapp", "users-1"), Service: key("myapp", "users"), Ports: slicePort(8080),
		Endpoints: []model.SliceEndpoint{endpoint("10.1.0.1", "users-a")},
	}
	changedSlice := slice
	changedSlice.Endpoints = []model.SliceEndpoint{endpoint("10.1.0.1", "users-a")}
	changedSlice.Endpoints[0].Ready = false
	workload := model.Workload{Key: own("myapp", "users-a"), IPs: []netip.Addr{addr("10.1.0.1")}}
	changedWorkload := workload
	changedWorkload.Meshed = true
	set := model.RouteSet{
		Ref: ref("HTTPRoute", "myapp", "users"), Hosts: []model.Hostname{"users.myapp.svc.cluster.local"},
		Parents: []model.RouteParent{{Service: key("myapp", "users"), Host: "users.myapp.svc.cluster.local"}},
	}
	changedSet := set
	changedSet.HTTP = []model.HTTPRule{{Field: "spec.rules[0]"}}
	named := model.RouteSet{Ref: ref("VirtualService", "myapp", "api"), Hosts: []model.Hostname{"users", "api.example.com"}}
	changedNamed := named
	changedNamed.HTTP = []model.HTTPRule{{Field: "spec.http[0]"}}
	ending := model.Service{Key: key("myapp", "v1"), Host: "*-v1.example.com"}
	changedEnding := ending
	changedEnding.Ports = []model.ServicePort{{Port: 80}}
	endings := model.RouteSet{Ref: ref("VirtualService", "myapp", "v2"), Hosts: []model.Hostname{"users", "*-v2.example.com"}}
	changedEndings := endings
	changedEndings.HTTP = []model.HTTPRule{{Field: "spec.http[0]"}}
	toEnding := model.DestinationPolicy{Ref: ref("DestinationRule", "myapp", "v3"), Host: "*-v3.example.com"}
	changedToEnding := toEnding
	changedToEnding.Default.LB = model.Random
	partial := func(index store.Table) map[string]func(*store.Reader) any {
		return map[string]func(*store.Reader) any{"partial": func(r *store.Reader) any { return list(store.PartialWildcards(r, index)) }}
	}
	policy := model.DestinationPolicy{Ref: ref("DestinationRule", "myapp", "users"), Host: "users.myapp.svc.cluster.local", Selector: map[string]string{"app": "a"}}
	policy.Default.TLS = model.TLSSettings{Mode: model.TLSSimple, CredentialName: "client"}
	changedPolicy := policy
	changedPolicy.Default.LB = model.Random
	peer := model.PeerAuthentication{Ref: ref("PeerAuthentication", "myapp", "default"), Mode: model.MTLSStrict}
	changedPeer := peer
	changedPeer.Mode = model.MTLSPermissive
	credential := model.Credential{Ref: ref("Secret", "myapp", "client"), Cert: "a", Key: "b"}
	changedCredential := credential
	changedCredential.CA = "c"
	telemetry := model.Telemetry{Ref: ref("Telemetry", "myapp", "default")}
	changedTelemetry := telemetry
	changedTelemetry.AccessLogging = []model.AccessLogging{{Disabled: true}}
	checks := model.HealthCheckPolicy{
		Ref:     ref("HealthCheckPolicy", "myapp", "users"),
		Targets: []model.PolicyTarget{{Ref: ref("Service", "myapp", "users")}}, Check: model.HealthCheck{TCP: &model.TCPCheck{}},
	}
	changedChecks := checks
	changedChecks.Check.Port = 8080
	group := model.RouteGroup{Ref: ref("HTTPRouteGroup", "myapp", "beta"), Matches: []model.HTTPMatch{{Name: "a"}}}
	changedGroup := model.RouteGroup{Ref: group.Ref, Matches: []model.HTTPMatch{{Name: "b"}}}
	health := model.PodHealth{Pod: own("myapp", "users-a"), Results: []model.CheckResult{{Policy: "users"}}}
	changedHealth := model.PodHealth{Pod: health.Pod, Results: []model.CheckResult{{Policy: "users", Failing: true}}}
	probe := model.Probe{
		Target: model.ProbeTarget{Policy: key("myapp", "users"), Addr: netip.MustParseAddrPort("10.0.0.1:80")}, How: model.HealthCheck{Port: 80},
	}
	changedProbe := probe
	changedProbe.How.Interval = time.Second
	endpoint := model.EndpointHealth{Target: probe.Target, Failing: true}
	changedEndpoint := model.EndpointHealth{Target: probe.Target, Failing: true, Why: "refused"}
	return []conformance{
		{
			name:   "services",
			set:    func(tx *store.Txn) { tx.SetServices(origin, service) },
			update: func(tx *store.Txn) { tx.SetServices(origin, changedService) },
			remove: func(tx *store.Txn) { tx.SetServices(origin) },
			reads: map[string]func(*store.Reader) any{
				"all":     func(r *store.Reader) any { return list(store.List[model.Service](r)) },
				"host":    func(r *store.Reader) any { return list(r.ServicesByHost("users.myapp.svc.cluster.local")) },
				"origin":  func(r *store.Reader) any { return list(store.ServicesOf(r, origin)) },
				"key":     func(r *store.Reader) any { return list(r.ServicesByKey(key("myapp", "users"))) },
				"address": func(r *store.Reader) any { return list(r.ServicesByAddress(addr("10.0.0.1"))) },
				"mapped":  func(r *store.Reader) any { return list(r.ServicesByAddress(addr("::ffff:10.0.0.1"))) },
				"range":   func(r *store.Reader) any { return list(r.ServicesByRange()) },
			},
			updated: []string{"all", "host", "origin", "key", "address", "mapped", "range"},
		},
		{
			name:   "automatic_addresses",
			set:    func(tx *store.Txn) { tx.SetServices(ref("ServiceEntry", "myapp", "api"), entry) },
			update: func(tx *store.Txn) { tx.SetServices(ref("ServiceEntry", "myapp", "api"), changedEntry) },
			remove: func(tx *store.Txn) { tx.SetServices(ref("ServiceEntry", "myapp", "api")) },
			reads: map[string]func(*store.Reader) any{
				"of":      func(r *store.Reader) any { return slot(r.AutoAddress("myapp", "api.example.com")) },
				"at":      func(r *store.Reader) any { return slot(r.AutoAddressAt(addr("240.240.166.99"))) },
				"at v6":   func(r *store.Reader) any { return slot(r.AutoAddressAt(addr("2001:2::a663"))) },
				"by name": func(r *store.Reader) any { return list(r.ServicesByNameAlone()) },
			},
			updated: []string{"by name"},
		},
		{
			name:   "slices",
			set:    func(tx *store.Txn) { tx.SetSlice(slice) },
			update: func(tx *store.Txn) { tx.SetSlice(changedSlice) },
			remove: func(tx *store.Txn) { tx.DeleteSlice(slice.Key) },
			reads: map[string]func(*store.Reader) any{
				"slice":   func(r *store.Reader) any { return row(r.Slice(slice.Key)) },
				"shape":   func(r *store.Reader) any { return slot(r.SliceShape(slice.Key)) },
				"service": func(r *store.Reader) any { return list(r.SlicesOfService(slice.Service)) },
				"pod":     func(r *store.Reader) any { return list(r.SlicesOfPod(own("myapp", "users-a"))) },
				"address": func(r *store.Reader) any { return list(r.SlicesAtAddress("", addr("10.1.0.1"))) },
			},
			updated: []string{"slice"},
		},
		{
			name:   "workloads",
			set:    func(tx *store.Txn) { tx.SetWorkload(workload) },
			update: func(tx *store.Txn) { tx.SetWorkload(changedWorkload) },
			remove: func(tx *store.Txn) { tx.DeleteWorkload(workload.Key) },
			reads: map[string]func(*store.Reader) any{
				"workload":  func(r *store.Reader) any { return row(r.Workload(workload.Key)) },
				"address":   func(r *store.Reader) any { return list(r.WorkloadsAtAddress("", addr("10.1.0.1"))) },
				"namespace": func(r *store.Reader) any { return list(r.WorkloadsInNamespace("myapp")) },
			},
			updated: []string{"workload", "address"},
		},
		{
			name:    "nodes",
			set:     func(tx *store.Txn) { tx.SetNode(model.Node{Name: "n1"}) },
			update:  func(tx *store.Txn) { tx.SetNode(model.Node{Name: "n1", Locality: model.Locality{Zone: "a"}}) },
			remove:  func(tx *store.Txn) { tx.DeleteNode("", "n1") },
			reads:   map[string]func(*store.Reader) any{"node": func(r *store.Reader) any { return row(r.Node("", "n1")) }},
			updated: []string{"node"},
		},
		{
			name: "namespaces",
			set:  func(tx *store.Txn) { tx.SetNamespace(model.Namespace{Name: "myapp"}) },
			update: func(tx *store.Txn) {
				tx.SetNamespace(model.Namespace{Name: "myapp", Labels: map[string]string{"a": "b"}})
			},
			remove:  func(tx *store.Txn) { tx.DeleteNamespace("", "myapp") },
			reads:   map[string]func(*store.Reader) any{"namespace": func(r *store.Reader) any { return row(r.Namespace("", "myapp")) }},
			updated: []string{"namespace"},
		},
		{
			name:   "route_sets",
			set:    func(tx *store.Txn) { store.Set(tx, set) },
			update: func(tx *store.Txn) { store.Set(tx, changedSet) },
			remove: func(tx *store.Txn) { store.Delete[model.RouteSet](tx, set.Ref) },
			reads: map[string]func(*store.Reader) any{
				"all":  func(r *store.Reader) any { return list(store.List[model.RouteSet](r)) },
				"ref":  func(r *store.Reader) any { return row(store.Get[model.RouteSet](r, set.Ref)) },
				"host": func(r *store.Reader) any { return list(r.RouteSetsByHost(set.Hosts[0])) },
			},
			updated: []string{"all", "ref", "host"},
		},
		{
			name:   "route_sets_by_name_alone",
			set:    func(tx *store.Txn) { store.Set(tx, named) },
			update: func(tx *store.Txn) { store.Set(tx, changedNamed) },
			remove: func(tx *store.Txn) { store.Delete[model.RouteSet](tx, named.Ref) },
			reads: map[string]func(*store.Reader) any{
				"by name": func(r *store.Reader) any { return list(r.RouteSetsByNameAlone()) },
			},
			updated: []string{"by name"},
		},
		{
			name:   "services of partial wildcards",
			set:    func(tx *store.Txn) { tx.SetServices(ref("ServiceEntry", "myapp", "v1"), ending) },
			update: func(tx *store.Txn) { tx.SetServices(ref("ServiceEntry", "myapp", "v1"), changedEnding) },
			remove: func(tx *store.Txn) { tx.SetServices(ref("ServiceEntry", "myapp", "v1")) },
			reads:  partial(store.ServicesOfPartial),
		},
		{
			name:   "route sets of partial wildcards",
			set:    func(tx *store.Txn) { store.Set(tx, endings) },
			update: func(tx *store.Txn) { store.Set(tx, changedEndings) },
			remove: func(tx *store.Txn) { store.Delete[model.RouteSet](tx, endings.Ref) },
			reads:  partial(store.RouteSetsOfPartial),
		},
		{
			name:   "policies for partial wildcards",
			set:    func(tx *store.Txn) { store.Set(tx, toEnding) },
			update: func(tx *store.Txn) { store.Set(tx, changedToEnding) },
			remove: func(tx *store.Txn) { store.Delete[model.DestinationPolicy](tx, toEnding.Ref) },
			reads:  partial(store.PoliciesOfPartial),
		},
		{
			name:   "policies",
			set:    func(tx *store.Txn) { store.Set(tx, policy) },
			update: func(tx *store.Txn) { store.Set(tx, changedPolicy) },
			remove: func(tx *store.Txn) { store.Delete[model.DestinationPolicy](tx, policy.Ref) },
			reads: map[string]func(*store.Reader) any{
				"all":  func(r *store.Reader) any { return list(store.List[model.DestinationPolicy](r)) },
				"ref":  func(r *store.Reader) any { return row(store.Get[model.DestinationPolicy](r, policy.Ref)) },
				"host": func(r *store.Reader) any { return list(r.PoliciesByHost(policy.Host)) },
				"giving secrets": func(r *store.Reader) any {
					return list(store.By[model.DestinationPolicy](r, store.PoliciesGivingSecrets, "myapp"))
				},
			},
			updated: []string{"all", "ref", "host", "giving secrets"},
		},
		{
			name:   "peer authentications",
			set:    func(tx *store.Txn) { store.Set(tx, peer) },
			update: func(tx *store.Txn) { store.Set(tx, changedPeer) },
			remove: func(tx *store.Txn) { store.Delete[model.PeerAuthentication](tx, peer.Ref) },
			reads: map[string]func(*store.Reader) any{
				"all":       func(r *store.Reader) any { return list(store.List[model.PeerAuthentication](r)) },
				"namespace": func(r *store.Reader) any { return list(r.PeerAuthenticationsInNamespace("myapp")) },
			},
			updated: []string{"all", "namespace"},
		},
		{
			name:   "telemetries",
			set:    func(tx *store.Txn) { store.Set(tx, telemetry) },
			update: func(tx *store.Txn) { store.Set(tx, changedTelemetry) },
			remove: func(tx *store.Txn) { store.Delete[model.Telemetry](tx, telemetry.Ref) },
			reads: map[string]func(*store.Reader) any{
				"all": func(r *store.Reader) any { return list(store.List[model.Telemetry](r)) },
				"namespace": func(r *store.Reader) any {
					return list(store.By[model.Telemetry](r, store.TelemetriesInNamespace, "myapp"))
				},
			},
			updated: []string{"all", "namespace"},
		},
		{
			name:   "health check policies",
			set:    func(tx *store.Txn) { store.Set(tx, checks) },
			update: func(tx *store.Txn) { store.Set(tx, changedChecks) },
			remove: func(tx *store.Txn) { store.Delete[model.HealthCheckPolicy](tx, checks.Ref) },
			reads: map[string]func(*store.Reader) any{
				"all":    func(r *store.Reader) any { return list(store.List[model.HealthCheckPolicy](r)) },
				"ref":    func(r *store.Reader) any { return row(store.Get[model.HealthCheckPolicy](r, checks.Ref)) },
				"target": func(r *store.Reader) any { return list(store.HealthChecksOf(r, ref("Service", "myapp", "users"))) },
				"namespace": func(r *store.Reader) any {
					return list(store.By[model.HealthCheckPolicy](r, store.HealthCheckPoliciesIn, "myapp"))
				},
			},
			updated: []string{"all", "ref", "target", "namespace"},
		},
		{
			name:   "credentials",
			set:    func(tx *store.Txn) { store.SetCredential(tx, credential) },
			update: func(tx *store.Txn) { store.SetCredential(tx, changedCredential) },
			remove: func(tx *store.Txn) { store.Delete[model.Credential](tx, credential.Ref) },
			reads: map[string]func(*store.Reader) any{
				"ref": func(r *store.Reader) any { return row(store.Get[model.Credential](r, credential.Ref)) },
			},
			updated: []string{"ref"},
		},
		{
			name:   "route groups",
			set:    func(tx *store.Txn) { store.Set(tx, group) },
			update: func(tx *store.Txn) { store.Set(tx, changedGroup) },
			remove: func(tx *store.Txn) { store.Delete[model.RouteGroup](tx, group.Ref) },
			reads: map[string]func(*store.Reader) any{
				"all": func(r *store.Reader) any { return list(store.List[model.RouteGroup](r)) },
				"ref": func(r *store.Reader) any { return row(store.Get[model.RouteGroup](r, group.Ref)) },
			},
			updated: []string{"all", "ref"},
		},
		{
			name:   "health of pods",
			set:    func(tx *store.Txn) { tx.SetPodHealth(health) },
			update: func(tx *store.Txn) { tx.SetPodHealth(changedHealth) },
			remove: func(tx *store.Txn) { tx.DeletePodHealth(health.Pod) },
			reads: map[string]func(*store.Reader) any{
				"pod": func(r *store.Reader) any { return row(store.PodHealthOf(r, own("myapp", "users-a"))) },
			},
			updated: []string{"pod"},
		},
		{
			name:   "health of endpoints",
			set:    func(tx *store.Txn) { tx.SetEndpointHealth(endpoint) },
			update: func(tx *store.Txn) { tx.SetEndpointHealth(changedEndpoint) },
			remove: func(tx *store.Txn) { tx.SetEndpointHealth(model.EndpointHealth{Target: probe.Target}) },
			reads: map[string]func(*store.Reader) any{
				"target": func(r *store.Reader) any { return row(store.EndpointHealthOf(r, probe.Target)) },
			},
			updated: []string{"target"},
		},
		{
			name: "probes of sidecars",
			set:  func(tx *store.Txn) { tx.SetPodProbes(model.PodProbes{Pod: health.Pod, Probes: []model.Probe{probe}}) },
			update: func(tx *store.Txn) {
				tx.SetPodProbes(model.PodProbes{Pod: health.Pod, Probes: []model.Probe{changedProbe}})
			},
			remove: func(tx *store.Txn) { tx.SetPodProbes(model.PodProbes{Pod: health.Pod}) },
			reads: map[string]func(*store.Reader) any{
				"pod": func(r *store.Reader) any { return row(store.PodProbesOf(r, own("myapp", "users-a"))) },
			},
			updated: []string{"pod"},
		},
	}
}

// TestTableConformance takes each table through set, set again, update, remove and remove again, and compares after
// every step what readers see and which of their keys were reported as changed.
func TestTableConformance(t *testing.T) {
	for _, c := range tables() {
		t.Run(c.name, func(t *testing.T) {
			s := store.New()
			empty := s.Snapshot()
			all := make([]string, 0, len(c.reads))
			for name := range c.reads {
				all = append(all, name)
			}
			steps := []struct {
				name    string
				do      func(*store.Txn)
				present bool
				changed []string
			}{
				{"set", c.set, true, all},
				{"set again", c.set, true, nil},
				{"update", c.update, true, c.updated},
				{"remove", c.remove, false, all},
				{"remove again", c.remove, false, nil},
			}
			for _, step := range steps {
				before := s.Snapshot()
				after, changed := s.Commit(step.do)
				if len(step.changed) == 0 && len(c.updated) > 0 && (len(changed) != 0 || after != before) {
					t.Errorf("%s: changed %v, want nothing", step.name, changed.Keys())
				}
				for name, read := range c.reads {
					r := store.NewReader(after)
					if got := read(r); (got != nil) != step.present {
						t.Errorf("%s: read %s = %v, want present=%v", step.name, name, got, step.present)
					}
					if len(r.Keys()) != 1 {
						t.Errorf("%s: read %s noted %v, want one key", step.name, name, r.Keys())
					}
					if got, want := changed.Any(r.Keys()), slices.Contains(step.changed, name); got != want {
						t.Errorf("%s: read %s changed = %v, want %v (keys %v)", step.name, name, got, want, changed.Keys())
					}
					if got := read(store.NewReader(empty)); got != nil {
						t.Errorf("%s: the empty snapshot now reads %s = %v", step.name, name, got)
					}
				}
			}
		})
	}
}

func TestCommitSeesItsOwnChanges(t *testing.T) {
	s := store.New()
	origin := ref("ServiceEntry", "myapp", "api")
	a := model.Service{Key: key("myapp", "a.example.com"), Host: "a.example.com", Resolution: model.ResolveDNS}
	b := model.Service{Key: key("myapp", "b.example.com"), Host: "b.example.com", Resolution: model.ResolveDNS}
	snap, _ := s.Commit(func(tx *store.Txn) {
		tx.SetServices(origin, a, b)
		tx.SetServices(origin, b)
	})
	want := b
	want.Origin = origin
	if diff := cmp.Diff([]*model.Service{&want}, store.List[model.Service](store.NewReader(snap)), equal()); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
}

func TestWorkloadHundreds(t *testing.T) {
	s := store.New()
	name := func(i int) model.ClusterKey {
		return own("myapp", string(rune('a'+i/26/26))+string(rune('a'+i/26%26))+string(rune('a'+i%26)))
	}
	read := func(snap store.Snapshot) (int, []store.Key) {
		r := store.NewReader(snap)
		return r.WorkloadHundreds("myapp"), r.Keys()
	}
	steps := []struct {
		name    string
		from    int
		to      int
		want    int
		changed bool
	}{
		{"first hundred", 0, 100, 1, false},
		{"one more", 100, 101, 2, true},
		{"second hundred", 101, 200, 2, false},
		{"back to one", 200, 99, 1, true},
		{"none", 99, 0, 1, false},
	}
	for _, step := range steps {
		snap, changed := s.Commit(func(tx *store.Txn) {
			for i := step.from; i < step.to; i++ {
				tx.SetWorkload(model.Workload{Key: name(i)})
			}
			for i := step.to; i < step.from; i++ {
				tx.DeleteWorkload(name(i))
			}
		})
		got, keys := read(snap)
		if got != step.want || changed.Any(keys) != step.changed {
			t.Errorf("%s: WorkloadHundreds = %d, changed %v; want %d, %v", step.name, got, changed.Any(keys), step.want, step.changed)
		}
	}
}

func TestSliceShapeChangesWithParts(t *testing.T) {
	s := store.New()
	slice := func(n int) model.Slice {
		out := model.Slice{Key: own("myapp", "users-1"), Service: key("myapp", "users"), Ports: slicePort(8080)}
		for range n {
			out.Endpoints = append(out.Endpoints, endpoint("10.1.0.1", "users-a"))
		}
		return out
	}
	for _, step := range []struct {
		n       int
		shards  int
		changed bool
	}{{0, 1, true}, {100, 1, false}, {101, 2, true}, {200, 2, false}, {100, 1, true}} {
		snap, changed := s.Commit(func(tx *store.Txn) { tx.SetSlice(slice(step.n)) })
		r := store.NewReader(snap)
		shape, _ := r.SliceShape(own("myapp", "users-1"))
		if shape.Shards != step.shards || changed.Any(r.Keys()) != step.changed {
			t.Errorf("%d endpoints: %d shards, changed %v; want %d, %v", step.n, shape.Shards, changed.Any(r.Keys()), step.shards, step.changed)
		}
	}
}

func TestKeyString(t *testing.T) {
	for _, test := range []struct {
		name string
		key  store.Key
		want string
	}{
		{"index", store.Key{Table: store.SlicesOfService, ID: "myapp/users"}, "slices-of-service/myapp/users"},
		{"whole table", store.Key{Table: store.Policies, ID: store.All}, "policies/"},
	} {
		if got := test.key.String(); got != test.want {
			t.Errorf("%s: String() = %q, want %q", test.name, got, test.want)
		}
	}
}
