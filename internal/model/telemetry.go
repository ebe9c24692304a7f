package model

import "time"

// Telemetry is what a Telemetry object has sidecars record of calls.
type Telemetry struct {
	Ref       Ref
	CreatedAt time.Time
	// Selector picks workloads of the object's namespace by label. Without one all of them are meant, or the whole mesh
	// where the namespace is the root one.
	Selector map[string]string
	// Attached is set where it has targetRefs: it is for gateways and waypoints then, and no sidecar obeys it.
	Attached bool

	AccessLogging []AccessLogging
	Tracing       []TraceRule
	Metrics       []Metrics
}

// Reference names the object that it was read from.
func (t *Telemetry) Reference() Ref { return t.Ref }

// IsForAll reports whether it is for every workload of its namespace.
func (t *Telemetry) IsForAll() bool { return len(t.Selector) == 0 && !t.Attached }

// WorkloadMode says which calls of a workload are meant.
type WorkloadMode uint8

// The modes. The zero value is Istio's default.
const (
	ClientAndServer WorkloadMode = iota
	ClientOnly                   // calls that the workload makes
	ServerOnly                   // calls that come to it
)

// Covers reports whether calls of one side, ClientOnly or ServerOnly, are meant.
func (m WorkloadMode) Covers(side WorkloadMode) bool { return m == ClientAndServer || m == side }

// AccessLogging is one rule about access logs.
type AccessLogging struct {
	Mode WorkloadMode
	// Providers are the names of those that take the lines, none for those of the wider rule. Fields are theirs in the object.
	Providers []Provider
	Disabled  bool
	// Filter says which calls are logged, nil for all of them; FilterText is how it was written.
	Filter     Expression
	FilterText string
}

// TraceRule is one rule about traces. Nil means what the wider rule says.
type TraceRule struct {
	Mode WorkloadMode
	// Providers are the collectors that it names, of which the first one gets the spans. Fields are theirs in the object.
	Providers []Provider
	// Sampling is in percent.
	Sampling *float64
	// Tags take the place of all tags of wider rules; nil where it says nothing of them.
	Tags []TraceTag
	// NoReport, ByRequestID, IstioTags and NoPropagation are as in plan.Tracing.
	NoReport, ByRequestID, IstioTags, NoPropagation *bool
}

// Provider is the name of something that takes what sidecars record, and the field that has it.
type Provider struct{ Name, Field string }
