package model

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// site is something in a locality with labels "k=v".
func site(locality string, labels ...string) Site {
	l, _ := ParseLocality(locality)
	all := map[string]string{}
	for _, label := range labels {
		k, v, _ := strings.Cut(label, "=")
		all[k] = v
	}
	topology := Topology{Locality: l}
	return Site{Locality: l, Label: func(name string) string {
		if v, ok := topology.Label(name); ok {
			return v
		}
		return all[name]
	}}
}

func TestRank(t *testing.T) {
	t.Parallel()
	everywhere := map[string]Site{
		"rack":   site("west/a/1", "rack=r1"),
		"zone":   site("west/a/2", "rack=r2"),
		"region": site("west/b", "rack=r1"),
		"east":   site("east/c", "rack=r1"),
		"north":  site("north/d", "tier=gold"),
		"void":   site(""),
	}
	for _, tt := range []struct {
		name    string
		setting LocalityLB
		caller  Site
		want    string // groups, the nearest first
	}{
		{"by_locality", LocalityLB{}, site("west/a/1"), "rack | zone | region | east north void"},
		{"subzone_not_known", LocalityLB{}, site("west/a"), "rack zone | region | east north void"},
		{"caller_not_known", LocalityLB{}, site(""), "east north rack region void zone"},
		{"another_region", LocalityLB{}, site("south/a"), "east north rack region void zone"},
		{
			"failover",
			LocalityLB{Failover: []RegionFailover{{"west", "north"}, {"east", "west"}}},
			site("west/a/1"),
			"rack | zone | region | north | east void",
		},
		{"failover_of_others", LocalityLB{Failover: []RegionFailover{{"east", "north"}}}, site("west/a/1"), "rack | zone | region | east north void"},
		{
			"priority_of_topology",
			LocalityLB{FailoverPriority: []string{LabelRegion, LabelZone}},
			site("west/a/1"),
			"rack zone | region | east north void",
		},
		{"priority_of_labels", LocalityLB{FailoverPriority: []string{"rack"}}, site("west/a/1", "rack=r1"), "east rack region | north void zone"},
		{"priority_of_a_label_that_the_caller_has_not", LocalityLB{FailoverPriority: []string{"rack"}}, site("west/a/1"), "north void | east rack region zone"},
		{"priority_of_a_value", LocalityLB{FailoverPriority: []string{"rack=r2", LabelZone}}, site("west/a/1", "rack=r1"), "zone | east north rack region void"},
		{
			"priority_in_order",
			LocalityLB{FailoverPriority: []string{"rack", LabelRegion, LabelZone}},
			site("west/a/1", "rack=r1"),
			"rack | region | east | north void zone",
		},
		{
			"priority_then_failover",
			LocalityLB{FailoverPriority: []string{"rack"}, Failover: []RegionFailover{{"west", "north"}}},
			site("west/a/1", "rack=r1"),
			"rack | region | east | zone | north | void",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			byRank := map[int][]string{}
			for _, name := range slices.Sorted(maps.Keys(everywhere)) {
				rank := tt.setting.Rank(tt.caller, everywhere[name])
				byRank[rank] = append(byRank[rank], name)
			}
			var groups []string
			for _, rank := range slices.Sorted(maps.Keys(byRank)) {
				groups = append(groups, strings.Join(byRank[rank], " "))
			}
			if diff := cmp.Diff(tt.want, strings.Join(groups, " | ")); diff != "" {
				t.Errorf("Rank (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSharesOf(t *testing.T) {
	t.Parallel()
	s := LocalityLB{Distribute: []LocalityShares{
		{From: "west/a/*", To: []LocalityShare{{"west/a", 100}}},
		{From: "west", To: []LocalityShare{{"east", 100}}},
	}}
	for caller, want := range map[string]string{"west/a/1": "west/a", "west/b": "east", "east/c": ""} {
		l, _ := ParseLocality(caller)
		got, ok := s.SharesOf(l)
		if ok != (want != "") || ok && string(got[0].To) != want {
			t.Errorf("SharesOf(%s) = %v, %v; want %q", caller, got, ok, want)
		}
	}
}

func TestLocalityLBString(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]*LocalityLB{
		"":               nil,
		"enabled: false": {Off: true},
		"failover":       {},
		"failoverPriority rack, tier=gold from west to east":        {FailoverPriority: []string{"rack", "tier=gold"}, Failover: []RegionFailover{{"west", "east"}}},
		"distribute west to west/a 80%, west/b 20%; * to east 100%": {Distribute: []LocalityShares{{"west", []LocalityShare{{"west/a", 80}, {"west/b", 20}}}, {"*", []LocalityShare{{"east", 100}}}}},
	} {
		if got := s.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}
