package compile

import (
	"testing"

	"fairlead.dev/fairlead/internal/model"
)

// Settings of a port replace a whole level, but they have no retry budget: that of the policy around them holds, and a
// subset's before the rule's, as in Istio.
func TestRetryBudgetOfPortsAndSubsets(t *testing.T) {
	rule, subset := &model.RetryBudget{Percent: 1}, &model.RetryBudget{Percent: 2}
	for _, tt := range []struct {
		name         string
		rule, subset *model.RetryBudget
		pool         uint32 // of the subset
		port         uint16
		want         *model.RetryBudget
	}{
		{"none", nil, nil, 0, 80, nil},
		{"the_rules", rule, nil, 0, 80, rule},
		{"the_rules_beside_a_pool_of_the_subset", rule, nil, 5, 80, rule},
		{"the_subsets", rule, subset, 0, 80, subset},
		{"the_rules_for_a_port_of_the_subset", rule, nil, 0, 90, rule},
		{"the_subsets_for_a_port_of_it", rule, subset, 0, 90, subset},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := effectivePolicy{
				base: model.TrafficPolicy{RetryBudget: tt.rule},
				subsets: []model.Subset{{
					Name: "v1", Policy: model.TrafficPolicy{RetryBudget: tt.subset, ConnectionPool: model.ConnectionPool{MaxConnections: tt.pool}},
					PerPort: map[uint16]model.TrafficPolicy{90: {LB: model.Random, RetryBudget: tt.subset}},
				}},
			}
			got := e.traffic(tt.port, "v1")
			if got.RetryBudget != tt.want || got.MaxConnections != tt.pool && tt.port == 80 {
				t.Errorf("= %v, %d connections, want %v, %d", got.RetryBudget, got.MaxConnections, tt.want, tt.pool)
			}
		})
	}
}
