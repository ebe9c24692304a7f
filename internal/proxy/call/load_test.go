package call

import (
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/lb"
)

// The first report of an answer counts, in its head or in its trailers, where the backend goes by reports.
func TestLoads(t *testing.T) {
	rule := &model.BackendUtilization{Expiration: time.Hour}
	fields := func(value string) *httpx.Fields {
		f := &httpx.Fields{}
		if value != "" {
			f.AddString("endpoint-load-metrics", value)
		}
		return f
	}
	const half, quarter = "TEXT cpu_utilization:0.5,rps_fractional:10", "TEXT cpu_utilization:0.25,rps_fractional:10"
	for _, tt := range []struct {
		name           string
		rule           *model.BackendUtilization
		head, trailers *httpx.Fields
		want           float64
	}{
		{"in_the_head", rule, fields(half), nil, 20},
		{"in_the_trailers", rule, fields(""), fields(quarter), 40},
		{"in_both", rule, fields(half), fields(quarter), 20},
		{"broken_in_the_head", rule, fields("TEXT what"), fields(quarter), 40},
		{"nobody_asks", nil, fields(half), fields(quarter), 0},
		{"nowhere", rule, fields(""), nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := lb.NewEndpoint(plan.Endpoint{}, (*directory.Reached)(nil))
			var l loads
			l.begin(e, &directory.Backend{Plan: &plan.Backend{Load: tt.rule}})
			l.note(tt.head)
			l.note(tt.trailers)
			if got := e.Reported(rule, time.Now()); got != tt.want {
				t.Errorf("weight by reports = %v, want %v", got, tt.want)
			}
			l.begin(nil, nil) // the own app
			l.note(fields(half))
			if got := e.Reported(rule, time.Now()); got != tt.want {
				t.Errorf("an answer of the own app made it %v", got)
			}
		})
	}
}
