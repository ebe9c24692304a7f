package lb

import (
	"slices"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// placed is two endpoints in each of five localities.
func placed() []*testEndpoint { return fleet(2, "west/a/1", "west/a/2", "west/b", "east/c", "north/d") }

// without calls the endpoints of some localities not ready.
func without(es []*testEndpoint, places ...string) []*testEndpoint {
	for _, e := range es {
		if slices.Contains(places, e.Plan.Locality.String()) {
			e.Plan.Health = plan.Unhealthy
		}
	}
	return es
}

func TestPickByLocality(t *testing.T) {
	failover := &model.LocalityLB{Failover: []model.RegionFailover{{From: "west", To: "north"}}}
	split := &model.LocalityLB{Distribute: []model.LocalityShares{
		{From: "west/a", To: []model.LocalityShare{{To: "west/a", Percent: 80}, {To: "west/b", Percent: 15}, {To: "south", Percent: 5}}},
		{From: "east", To: []model.LocalityShare{{To: "*", Percent: 100}}},
	}}
	for _, tt := range []struct {
		name    string
		setting *model.LocalityLB
		caller  string
		missing []string
		want    map[string]float64
	}{
		{"nearest", &model.LocalityLB{}, "west/a/1", nil, map[string]float64{"west/a/1": 100}},
		{"no_subzone", &model.LocalityLB{}, "west/a", nil, map[string]float64{"west/a/1": 50, "west/a/2": 50}},
		{"next_subzone", &model.LocalityLB{}, "west/a/1", []string{"west/a/1"}, map[string]float64{"west/a/2": 100}},
		{"next_zone", &model.LocalityLB{}, "west/a/1", []string{"west/a/1", "west/a/2"}, map[string]float64{"west/b": 100}},
		{
			"next_region", &model.LocalityLB{}, "west/a/1",
			[]string{"west/a/1", "west/a/2", "west/b"},
			map[string]float64{"east/c": 50, "north/d": 50},
		},
		{"failover", failover, "west/a/1", []string{"west/a/1", "west/a/2", "west/b"}, map[string]float64{"north/d": 100}},
		{"after_the_failover", failover, "west/a/1", []string{"west/a/1", "west/a/2", "west/b", "north/d"}, map[string]float64{"east/c": 100}},
		{"off", &model.LocalityLB{Off: true}, "west/a/1", nil, map[string]float64{"west/a/1": 20, "west/a/2": 20, "west/b": 20, "east/c": 20, "north/d": 20}},
		// South has no endpoints, and its share falls to the others in proportion.
		{"distribute", split, "west/a/1", nil, map[string]float64{"west/a/1": 42.1, "west/a/2": 42.1, "west/b": 15.8}},
		{"distribute_short_of_half", split, "west/a/1", []string{"west/a/2"}, map[string]float64{"west/a/1": 72.7, "west/b": 27.3}},
		{"distribute_short_of_all", split, "west/a/1", []string{"west/a/1", "west/a/2"}, map[string]float64{"west/b": 100}},
		{"distribute_never_elsewhere", split, "west/a/1", []string{"west/a/1", "west/a/2", "west/b"}, nil},
		{"distribute_over_all", split, "east/c", nil, map[string]float64{"west/a/1": 20, "west/a/2": 20, "west/b": 20, "east/c": 20, "north/d": 20}},
		{"distribute_without_a_share_for_the_caller", split, "north/d", nil, map[string]float64{"west/a/1": 20, "west/a/2": 20, "west/b": 20, "east/c": 20, "north/d": 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			es := without(placed(), tt.missing...)
			p := NewPicker(Options{Kind: model.Random, Locality: tt.setting, Here: in(tt.caller)}, es)
			if tt.want == nil {
				if got := p.Pick(&Info{}); got.Endpoint != nil {
					t.Fatalf("Pick = %v, want none", got)
				}
				return
			}
			if got := byPlace(p); !equalShares(got, tt.want) {
				t.Errorf("shares %v, want %v", got, tt.want)
			}
		})
	}
}

func TestPickByLabels(t *testing.T) {
	es := placed()
	for i, e := range es {
		e.Plan.Labels = []string{"rack=" + string(rune('0'+i)), model.LabelNetwork + "=" + []string{"n1", "n2"}[i%2]}
		e.Plan.Workload = plan.WorkloadInfo{Cluster: []string{"c1", "c2"}[i/5], Node: "node"}
	}
	here := in("west/a/1")
	here.Cluster, here.Network, here.Labels = "c2", "n1", map[string]string{"rack": "4"}
	for _, tt := range []struct {
		name     string
		priority []string
		want     []int // by the place in es
	}{
		{"rack", []string{"rack"}, []int{4}},
		{"a_fixed_rack", []string{"rack=7"}, []int{7}},
		{"network", []string{model.LabelNetwork}, []int{0, 2, 4, 6, 8}},
		{"cluster_and_network", []string{model.LabelCluster, model.LabelNetwork}, []int{6, 8}},
		{"cluster_and_zone", []string{model.LabelCluster, model.LabelZone}, []int{5, 6, 7, 8, 9}}, // none of the zone is in the cluster
		{"zone_and_subzone", []string{model.LabelRegion, model.LabelZone, model.LabelSubZone}, []int{0, 1}},
		{"no_such_node", []string{model.LabelNode + "=other"}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := NewPicker(Options{Kind: model.RoundRobin, Here: here, Locality: &model.LocalityLB{FailoverPriority: tt.priority}}, es)
			got := picked(p)
			for i := range got {
				got[i]-- // addresses count from 1
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("picked %v, want %v", got, tt.want)
			}
		})
	}
}

// A retry stays near while there is another one, and then goes where the next nearest are.
func TestRetriesGoToTheNextLocality(t *testing.T) {
	es := placed()
	p := NewPicker(Options{Locality: &model.LocalityLB{}, Here: in("west/a/1")}, es)
	for tried, want := range map[int][]int{1: {2}, 2: {3, 4}, 4: {5, 6}, 6: {7, 8, 9, 10}, 10: {1, 2}} {
		if got := picked(p, es[:tried]...); !slices.Equal(got, want) {
			t.Errorf("after %d tries: picked %v, want %v", tried, got, want)
		}
	}
}

func TestDrainingOnesByLocality(t *testing.T) {
	es := without(placed(), "west/a/1", "west/a/2", "west/b", "east/c", "north/d")
	es[0].Plan.Health, es[4].Plan.Health = plan.Draining, plan.Draining
	if got := picked(NewPicker(Options{Locality: &model.LocalityLB{}, Here: in("west/b")}, es)); !slices.Equal(got, []int{1, 5}) {
		t.Errorf("picked %v, want those that drain, wherever they are", got)
	}
	es[2].Plan.Health = plan.Healthy
	es[3].Plan.Health = plan.Draining // its successor is there already: it is not missing
	if got := byPlace(NewPicker(Options{Locality: &model.LocalityLB{}, Here: in("west/a/2")}, es)); !equalShares(got, map[string]float64{"west/a/2": 100}) {
		t.Errorf("shares %v, want all in the subzone", got)
	}
}

func TestSessionAffinityByLocality(t *testing.T) {
	es := placed()
	o := Options{Locality: &model.LocalityLB{}, Here: in("west/a"), Client: endpoints(1)[0].Plan.Addr.Addr()}
	p := NewPicker(o, es)
	got := picked(p)
	if len(got) != 1 || got[0] > 4 {
		t.Errorf("picked %v, want one in the zone", got)
	}
	if used := p.Stay().At; used != es[got[0]-1].Plan.Addr {
		t.Errorf("Stay at %v, want the one that is picked", used)
	}
}

// Hints are obeyed where all healthy endpoints have some and one is for the caller's zone, as kube-proxy obeys them.
func TestHints(t *testing.T) {
	for _, tt := range []struct {
		name      string
		hints     [3]string // of endpoints in zones a, b and c
		health    [3]plan.Health
		proximity model.Proximity
		setting   *model.LocalityLB
		zone      string
		want      []int
	}{
		{"none", [3]string{}, [3]plan.Health{1, 1, 1}, 0, nil, "a", []int{1, 2, 3}},
		{"all", [3]string{"b", "a", "c"}, [3]plan.Health{1, 1, 1}, 0, nil, "a", []int{2}},
		{"two", [3]string{"a", "a", "c"}, [3]plan.Health{1, 1, 1}, 0, nil, "a", []int{1, 2}},
		{"one_has_none", [3]string{"b", "a", ""}, [3]plan.Health{1, 1, 1}, 0, nil, "a", []int{1, 2, 3}},
		{"a_sick_one_has_none", [3]string{"b", "a", ""}, [3]plan.Health{1, 1, plan.Unhealthy}, 0, nil, "a", []int{2}},
		{"none_for_the_zone", [3]string{"b", "b", "c"}, [3]plan.Health{1, 1, 1}, 0, nil, "a", []int{1, 2, 3}},
		{"the_hinted_one_is_sick", [3]string{"b", "a", "c"}, [3]plan.Health{1, plan.Unhealthy, 1}, 0, nil, "a", []int{1, 3}},
		{"zone_not_known", [3]string{"b", "a", "c"}, [3]plan.Health{1, 1, 1}, 0, nil, "", []int{1, 2, 3}},
		{"rather_than_the_zone", [3]string{"b", "a", "c"}, [3]plan.Health{1, 1, 1}, model.PreferSameZone, nil, "a", []int{2}},
		{"the_zone_without", [3]string{"b", "", "c"}, [3]plan.Health{1, 1, 1}, model.PreferSameZone, nil, "a", []int{1}},
		{"not_beside_a_setting", [3]string{"b", "a", "c"}, [3]plan.Health{1, 1, 1}, 0, &model.LocalityLB{}, "a", []int{1}},
		{"not_where_a_setting_is_off", [3]string{"b", "a", "c"}, [3]plan.Health{1, 1, 1}, 0, &model.LocalityLB{Off: true}, "a", []int{1, 2, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var es []*testEndpoint
			for i, zone := range []string{"a", "b", "c"} {
				e := at(byte(i+1), "", zone, tt.health[i])
				if tt.hints[i] != "" {
					e.Plan.ForZones = []string{"x", tt.hints[i]}
				}
				es = append(es, e)
			}
			p := NewPicker(Options{Proximity: tt.proximity, Locality: tt.setting, Here: callerIn("", tt.zone)}, es)
			if got := picked(p); !slices.Equal(got, tt.want) {
				t.Errorf("picked %v, want %v", got, tt.want)
			}
		})
	}
}

// A call that has left localities goes to another one, as long as there is one, whether or not calls depend on where they
// come from.
func TestPickLeavesLocalities(t *testing.T) {
	for name, setting := range map[string]*model.LocalityLB{"near_ones_first": {}, "all_alike": nil} {
		for _, kind := range []model.LBKind{model.Random, model.RingHash} {
			t.Run(name+"/"+kind.String(), func(t *testing.T) {
				es := placed()
				p := NewPicker(Options{Kind: kind, Locality: setting, Here: in("west/a/1")}, es)
				info := &Info{}
				left := map[string]bool{}
				for range 5 { // as many as there are localities
					e := p.Pick(info).Endpoint
					if place := e.Plan.Locality.String(); left[place] {
						t.Fatalf("%s again after %v", place, left)
					} else {
						left[place] = true
					}
					info.Tried = append(info.Tried, e.Plan.Addr)
					info.Left = info.Tried
				}
				if e := p.Pick(info).Endpoint; e == nil || e.Among(info.Tried) {
					t.Errorf("%v after all localities, want the other endpoint of one", e)
				}
			})
		}
	}
}
