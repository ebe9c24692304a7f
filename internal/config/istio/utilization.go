package istio

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"fairlead.dev/fairlead/internal/model"
)

// What a backendUtilization leaves out.
const (
	utilizationStabilization = 10 * time.Second
	utilizationExpiration    = 3 * time.Minute
	utilizationUpdate        = time.Second
	leastUtilizationUpdate   = 100 * time.Millisecond
)

func (t destinationRule) backendUtilization(field string, in *networking.LoadBalancerSettings_BackendUtilizationLB) *model.BackendUtilization {
	out := &model.BackendUtilization{
		Stabilization: cmp.Or(t.duration(field+".weightStabilizationPeriod", in.GetWeightStabilizationPeriod()), utilizationStabilization),
		Expiration:    cmp.Or(t.duration(field+".weightExpirationPeriod", in.GetWeightExpirationPeriod()), utilizationExpiration),
		Update:        cmp.Or(t.duration(field+".weightUpdatePeriod", in.GetWeightUpdatePeriod()), utilizationUpdate),
		ErrorPenalty:  float64(in.GetErrorUtilizationPenaltyPercent()) / 100,
	}
	if out.Update < leastUtilizationUpdate && out.Update > 0 {
		t.Reject(field+".weightUpdatePeriod", fmt.Sprintf("%s is below %s", out.Update, leastUtilizationUpdate), "such as 1s")
	}
	for i, m := range in.GetMetricNamesForComputingUtilization() {
		if !isMetric(m) {
			t.Warn(fmt.Sprintf("%s.metricNamesForComputingUtilization[%d]", field, i), fmt.Sprintf("%q is in no report: no effect", m),
				"such as cpu_utilization, mem_utilization or named_metrics.NAME")
		}
		out.Metrics = append(out.Metrics, m)
	}
	return out
}

// isMetric reports whether a report may have a metric of that name.
func isMetric(name string) bool {
	switch field, key, _ := strings.Cut(name, "."); field {
	case "application_utilization", "cpu_utilization", "mem_utilization", "rps_fractional", "eps":
		return key == "" && name == field
	case "named_metrics", "utilization", "request_cost":
		return key != ""
	}
	return false
}
