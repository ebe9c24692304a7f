package lb

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func TestStandings(t *testing.T) {
	const enough, sick = "nearer endpoints carry all calls", "not ready"
	for _, tt := range []struct {
		name   string
		o      Options
		change func(es []*testEndpoint) // in west/a, west/a, west/b, east/c
		want   []Standing
	}{
		{"distance_does_not_matter", Options{}, nil, nil},
		{
			"levels",
			Options{Locality: &model.LocalityLB{}},
			nil,
			[]Standing{{0, 100, false, ""}, {0, 100, false, ""}, {1, 0, false, enough}, {2, 0, false, enough}},
		},
		{
			"short_of_one",
			Options{Locality: &model.LocalityLB{}},
			func(es []*testEndpoint) { es[0].Plan.Health = plan.Unhealthy },
			[]Standing{{0, 70, false, sick}, {0, 70, false, ""}, {1, 30, false, ""}, {2, 0, false, enough}},
		},
		{
			"one_fails_its_checks",
			Options{Locality: &model.LocalityLB{}},
			func(es []*testEndpoint) { es[0].Plan.Health = plan.Failing },
			[]Standing{{0, 70, false, "fails its active checks, and others are there"}, {0, 70, false, ""}, {1, 30, false, ""}, {2, 0, false, enough}},
		},
		{
			"one_drains",
			Options{Locality: &model.LocalityLB{}},
			func(es []*testEndpoint) { es[0].Plan.Health = plan.Draining },
			[]Standing{{0, 100, false, "draining, and others are there"}, {0, 100, false, ""}, {1, 0, false, enough}, {2, 0, false, enough}},
		},
		{
			"shares",
			Options{Locality: &model.LocalityLB{Distribute: []model.LocalityShares{{From: "*", To: []model.LocalityShare{{To: "west/a", Percent: 25}, {To: "east", Percent: 75}}}}}},
			nil,
			[]Standing{{1, 25, false, ""}, {1, 25, false, ""}, {-1, 0, false, "in no locality that distribute names for this caller"}, {0, 75, false, ""}},
		},
		{
			"zone",
			Options{Proximity: model.PreferSameZone},
			nil,
			[]Standing{{0, 100, false, ""}, {0, 100, false, ""}, {1, 0, false, enough}, {1, 0, false, enough}},
		},
		{
			"node",
			Options{Proximity: model.OnlySameNode},
			func(es []*testEndpoint) { es[2].Plan.Workload.Node = "n1" },
			[]Standing{{-1, 0, false, "not on the caller's node"}, {-1, 0, false, "not on the caller's node"}, {0, 100, false, ""}, {-1, 0, false, "not on the caller's node"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			es := fleet(2, "west/a", "west/b")[:3]
			es = append(es, fleet(4, "east/c")[3])
			if tt.change != nil {
				tt.change(es)
			}
			tt.o.Here = in("west/a")
			tt.o.Here.Node = "n1"
			got := NewPicker(tt.o, es).Standings()
			for i := range got {
				got[i].Load = float64(int(got[i].Load + 0.5))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Standings (-want +got):\n%s", diff)
			}
		})
	}
}
