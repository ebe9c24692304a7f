package discovery

import (
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// tracingFields: spans are what people look at, and say less where a sidecar does not know a part of it.
func tracingFields(c *coder, t *plan.Tracing) {
	text(c, 1, "origin", &t.Origin)
	optional(c, 2, "provider", &t.Provider, traceProviderFields)
	text(c, 3, "service", &t.Service)
	c.double(4, "sampling", &t.Sampling)
	list(c, 5, "tags", &t.Tags, traceTagFields)
	c.bool(6, "no_report", &t.NoReport)
	c.bool(7, "no_propagation", &t.NoPropagation)
	c.bool(8, "no_istio_tags", &t.NoIstioTags)
	c.bool(9, "otel_names", &t.OTelNames)
	c.uint32(10, "max_tag_length", &t.MaxTagLength)
	text(c, 11, "node_id", &t.NodeID)
	text(c, 12, "mesh_id", &t.MeshID)
	c.bool(13, "sample_at_random", &t.SampleAtRandom)
}

// traceProviderFields: a sidecar that does not know the protocol sends nothing (0).
func traceProviderFields(c *coder, p *model.TraceProvider) {
	text(c, 1, "name", &p.Name)
	enum(c, 2, "protocol", &p.Protocol, upTo(model.TraceZipkin, 0))
	text(c, 3, "host", &p.Host)
	c.uint16(4, "port", &p.Port)
	text(c, 5, "path", &p.Path)
	c.duration(6, "timeout", &p.Timeout)
	list(c, 7, "headers", &p.Headers, headerValueFields)
	c.uint32(8, "max_tag_length", &p.MaxTagLength)
	c.bool(9, "otel_names", &p.OTelNames)
	text(c, 10, "log_name", &p.LogName)
}

// traceTagFields: a sidecar that does not know where the value is from leaves the tag out (0).
func traceTagFields(c *coder, t *model.TraceTag) {
	text(c, 1, "name", &t.Name)
	enum(c, 2, "from", &t.From, upTo(model.TagFormat, 0))
	text(c, 3, "value", &t.Value)
	text(c, 4, "default", &t.Default)
}
