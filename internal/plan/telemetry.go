package plan

import "fairlead.dev/fairlead/internal/model"

// Telemetry is what Telemetry objects have a sidecar record, of the calls that its workload makes and of those that come to it.
type Telemetry struct {
	Client, Server Recording
	// Origins name the objects, the widest first ("Telemetry istio-system/mesh-default").
	Origins []string
}

// Recording is what is recorded of the calls of one side.
type Recording struct {
	// LogsSaid is set where objects say what is logged: Logs then, and nothing where there are none. Where it is not, the mesh's
	// switch decides.
	LogsSaid bool
	Logs     []AccessLog
	// Metrics change metrics, sorted; those that are not named are as they always are.
	Metrics []MetricRule
}

// StandardOutput is the provider of access logs that is always there, by the name that Istio has for it.
const StandardOutput = "envoy"

// AccessLog has calls logged.
type AccessLog struct {
	// Provider takes the lines: StandardOutput, or one of the mesh.
	Provider string
	// Filter says which calls, an empty one all; FilterText is how it was written.
	Filter     model.Expression
	FilterText string
	// Format is how lines are written; where it says nothing, as the mesh says.
	Format model.LogFormat
	// Collector takes the lines by OTLP, nil means the sidecar's standard output.
	Collector *model.TraceProvider
}

// MetricRule changes one metric.
type MetricRule struct {
	Metric   model.Metric
	Disabled bool
	Tags     []model.MetricTag // sorted by name
}

// Prometheus is the provider of metrics that is always there, by the name that Istio has for it.
const Prometheus = "prometheus"
