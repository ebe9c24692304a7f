package model

// Metric is one of Istio's standard metrics.
type Metric uint8

// The metrics. AllMetrics stands for every other one in what users write.
const (
	AllMetrics Metric = iota
	RequestCount
	RequestDuration
	RequestSize
	ResponseSize
	TCPOpenedConnections
	TCPClosedConnections
	TCPSentBytes
	TCPReceivedBytes
	GRPCRequestMessages
	GRPCResponseMessages
)

// String is how Istio's API spells it.
func (m Metric) String() string {
	names := [...]string{
		AllMetrics: "ALL_METRICS", RequestCount: "REQUEST_COUNT", RequestDuration: "REQUEST_DURATION", RequestSize: "REQUEST_SIZE",
		ResponseSize: "RESPONSE_SIZE", TCPOpenedConnections: "TCP_OPENED_CONNECTIONS", TCPClosedConnections: "TCP_CLOSED_CONNECTIONS",
		TCPSentBytes: "TCP_SENT_BYTES", TCPReceivedBytes: "TCP_RECEIVED_BYTES", GRPCRequestMessages: "GRPC_REQUEST_MESSAGES",
		GRPCResponseMessages: "GRPC_RESPONSE_MESSAGES",
	}
	if int(m) < len(names) {
		return names[m]
	}
	return "unknown"
}

// Metrics is one rule about metrics.
type Metrics struct {
	// Providers are the names of those that show them, none for those of the wider rule.
	Providers []Provider
	Overrides []MetricOverride
}

// MetricOverride changes metrics of the calls of one side, or of both.
type MetricOverride struct {
	Mode   WorkloadMode
	Metric Metric
	// Disabled takes the metric away, Enabled gives it back; neither leaves it as a wider rule has it.
	Disabled, Enabled bool
	Tags              []MetricTag // sorted by name
}

// MetricTag is a label that is added, replaced or, without a value, removed.
type MetricTag struct {
	Name  string
	Value Expression
	Text  string // how the value was written
}
