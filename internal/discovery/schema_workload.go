package discovery

import (
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// The fields of what a sidecar is told of workloads, its own above all: its ports, checks and probes.

func workloadInfoFields(c *coder, i *plan.WorkloadInfo) {
	text(c, 1, "namespace", &i.Namespace)
	text(c, 2, "pod", &i.Pod)
	text(c, 3, "name", &i.Name)
	text(c, 4, "app", &i.App)
	text(c, 5, "version", &i.Version)
	text(c, 6, "canonical_name", &i.CanonicalName)
	text(c, 7, "canonical_revision", &i.CanonicalRevision)
	text(c, 8, "cluster", &i.Cluster)
	text(c, 9, "node", &i.Node)
}

func workloadFields(c *coder, w *plan.Workload) {
	c.addr(1, "ip", &w.IP)
	part(c, 2, "key", &w.Key, keyFields)
	c.addrs(3, "ips", &w.IPs)
	text(c, 4, "service_account", &w.ServiceAccount)
	text(c, 5, "identity", &w.Identity)
	c.bool(6, "meshed", &w.Meshed)
	part(c, 7, "locality", &w.Locality, localityFields)
	part(c, 8, "info", &w.Info, workloadInfoFields)
	c.labels(9, "labels", &w.Labels)
	text(c, 10, "inbound", &w.Inbound)
	text(c, 11, "network", &w.Network)
	text(c, 12, "network_name", &w.NetworkName)
}

func inboundFields(c *coder, p *plan.InboundPolicy) {
	text(c, 1, "name", &p.Name)
	list(c, 2, "ports", &p.Ports, inboundPortFields)
	enum(c, 3, "mtls", &p.MTLS, upTo(model.MTLSDisable, model.MTLSStrict))
	text(c, 4, "mtls_origin", &p.MTLSOrigin)
	c.bool(5, "leaving", &p.Leaving)
	c.duration(6, "grace", &p.Grace)
	list(c, 7, "checks", &p.Checks, checkFields)
	list(c, 8, "probes", &p.Probes, probeFields)
	optional(c, 9, "client_tracing", &p.ClientTracing, tracingFields)
	optional(c, 10, "server_tracing", &p.ServerTracing, tracingFields)
	optional(c, 11, "telemetry", &p.Telemetry, telemetryFields)
}

// telemetryFields: a sidecar that does not know a part of it records what it would without the part. Calls are not affected.
func telemetryFields(c *coder, t *plan.Telemetry) {
	part(c, 1, "client", &t.Client, recordingFields)
	part(c, 2, "server", &t.Server, recordingFields)
	c.texts(3, "origins", &t.Origins)
}

func recordingFields(c *coder, r *plan.Recording) {
	c.bool(1, "logs_said", &r.LogsSaid)
	list(c, 2, "logs", &r.Logs, accessLogFields)
	list(c, 3, "metrics", &r.Metrics, metricRuleFields)
}

// metricRuleFields: a sidecar that does not know a part of it counts what it would without the part. A rule for all metrics is none.
func metricRuleFields(c *coder, m *plan.MetricRule) {
	enum(c, 1, "metric", &m.Metric, upTo(model.GRPCResponseMessages, model.AllMetrics))
	c.bool(2, "disabled", &m.Disabled)
	list(c, 3, "tags", &m.Tags, metricTagFields)
}

func metricTagFields(c *coder, t *model.MetricTag) {
	text(c, 1, "name", &t.Name)
	list(c, 2, "value", (*[]model.Instruction)(&t.Value), instructionFields)
	text(c, 3, "text", &t.Text)
}

func accessLogFields(c *coder, l *plan.AccessLog) {
	text(c, 1, "provider", &l.Provider)
	list(c, 2, "filter", (*[]model.Instruction)(&l.Filter), instructionFields)
	text(c, 3, "filter_text", &l.FilterText)
	part(c, 4, "format", &l.Format, logFormatFields)
	optional(c, 5, "collector", &l.Collector, traceProviderFields)
}

// logFormatFields: what a sidecar does not know of a format it writes as what is not known.
func logFormatFields(c *coder, f *model.LogFormat) {
	text(c, 1, "text", &f.Text)
	list(c, 2, "labels", &f.Labels, logLabelFields)
}

func logLabelFields(c *coder, l *model.LogLabel) {
	text(c, 1, "key", &l.Key)
	text(c, 2, "format", &l.Format)
}

// instructionFields: an operation that a sidecar does not know is an error to it, so that no filter with one holds.
func instructionFields(c *coder, i *model.Instruction) {
	enum(c, 1, "op", &i.Op, upTo(model.ExprToDouble, 0))
	text(c, 2, "text", &i.Text)
	text(c, 3, "key", &i.Key)
	c.int(4, "number", &i.Number)
	c.double(5, "real", &i.Real)
}

// checkFields: the check is not made by a sidecar that does not know a part of it: a check that asks for something else could take its pod
// away.
func checkFields(c *coder, p *plan.Check) {
	around := c.unit()
	text(c, 1, "policy", &p.Policy)
	part(c, 2, "how", &p.How, healthCheckFields)
	if c.refused(around) {
		p.How = model.HealthCheck{}
	}
}

func probeFields(c *coder, p *plan.Probe) {
	around := c.unit()
	text(c, 1, "policy", &p.Policy)
	c.addr(2, "addr", &p.Addr)
	part(c, 3, "how", &p.How, healthCheckFields)
	if c.refused(around) { // as of checkFields
		p.How = model.HealthCheck{}
	}
}

func healthCheckFields(c *coder, h *model.HealthCheck) {
	c.strict()
	c.uint16(1, "port", &h.Port)
	optional(c, 2, "http", &h.HTTP, httpCheckFields)
	optional(c, 3, "tcp", &h.TCP, tcpCheckFields)
	optional(c, 4, "grpc", &h.GRPC, grpcCheckFields)
	c.duration(5, "interval", &h.Interval)
	c.duration(6, "timeout", &h.Timeout)
	c.uint32(7, "unhealthy_threshold", &h.UnhealthyThreshold)
	c.uint32(8, "healthy_threshold", &h.HealthyThreshold)
}

func httpCheckFields(c *coder, h *model.HTTPCheck) {
	c.strict()
	text(c, 1, "path", &h.Path)
	text(c, 2, "host", &h.Host)
	list(c, 3, "headers", &h.Headers, headerValueFields)
	c.ints(4, "statuses", &h.Statuses)
}

func tcpCheckFields(c *coder, t *model.TCPCheck) {
	c.strict()
	text(c, 1, "send", &t.Send)
	text(c, 2, "receive", &t.Receive)
}

func grpcCheckFields(c *coder, g *model.GRPCCheck) {
	c.strict()
	text(c, 1, "service", &g.Service)
}

func inboundPortFields(c *coder, p *plan.InboundPort) {
	c.uint16(1, "port", &p.Port)
	enum(c, 2, "protocol", &p.Protocol, upTo(model.UDP, model.Undeclared))
	enum(c, 3, "mtls", &p.MTLS, upTo(model.MTLSDisable, model.MTLSStrict))
	part(c, 4, "service", &p.Service, keyFields)
	text(c, 5, "host", &p.Host)
	text(c, 6, "mtls_origin", &p.MTLSOrigin)
	text(c, 7, "rule", &p.Rule)
	part(c, 8, "pool", &p.Pool, appPoolFields)
}

// appPoolFields: a sidecar that does not know them calls its app as if no rule said more.
func appPoolFields(c *coder, p *plan.AppPool) {
	c.uint32(1, "max_connections", &p.MaxConnections)
	c.uint32(2, "max_pending_requests", &p.MaxPendingRequests)
	c.uint32(3, "max_requests", &p.MaxRequests)
	c.uint32(4, "max_requests_per_connection", &p.MaxRequestsPerConnection)
	c.uint32(5, "max_concurrent_streams", &p.MaxConcurrentStreams)
	c.duration(6, "connect_timeout", &p.ConnectTimeout)
	c.duration(7, "http_idle_timeout", &p.HTTPIdleTimeout)
	c.duration(8, "max_connection_duration", &p.MaxConnectionDuration)
	part(c, 9, "keep_alive", &p.KeepAlive, tcpKeepAliveFields)
	part(c, 10, "ping", &p.Ping, http2KeepAliveFields)
}
