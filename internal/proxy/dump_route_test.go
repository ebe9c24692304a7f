package proxy

import (
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func TestDescribeRetries(t *testing.T) {
	always := []string{"connect-failure", "refused-stream", "reset-before-request"}
	for _, tt := range []struct {
		retry model.Retry
		want  string
	}{
		{model.Retry{}, "never"},
		{model.Retry{Attempts: 2, On: always}, "2"},
		{model.Retry{
			Attempts: 3, On: append(always[:3:3], "5xx"), Codes: []int{404, 500, 501, 502, 504}, PerTryTimeout: time.Second, Backoff: time.Millisecond,
			RemoteLocalities: true, SameHosts: true,
		}, "3 on 5xx,404,500-502,504; 1s per try; backoff 1ms; in other localities; on any endpoint"},
	} {
		if got := describeRetries(&plan.Route{Retry: tt.retry, Backends: []plan.WeightedBackend{{}}}); got != tt.want {
			t.Errorf("describeRetries(%+v) = %q, want %q", tt.retry, got, tt.want)
		}
	}
	if got := describeRetries(&plan.Route{Direct: &model.DirectResponse{}}); got != "" {
		t.Errorf("of a route that calls nothing: %q", got)
	}
}
