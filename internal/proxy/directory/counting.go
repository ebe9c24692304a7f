package directory

import (
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/upstream"
	"fairlead.dev/fairlead/internal/telemetry"
)

// counting is where calls are counted, and under which labels.
type counting struct {
	metrics *telemetry.Registry
	self    *Self
}

// scopes are where calls are counted.
type scopes struct {
	HTTP, GRPC *telemetry.HTTPScope
	TCP        *telemetry.TCPScope
}

// labels are the fixed metric labels of calls to a destination through the given endpoint (nil: none was reached).
func (c counting) labels(p *plan.Destination, e *plan.Endpoint, protocol string) telemetry.Labels {
	l := telemetry.Labels{
		Reporter: telemetry.Source, Source: c.self.Info(), SourcePrincipal: c.self.Identity(),
		Host: p.Host, Service: p.Service, Protocol: protocol,
	}
	if e != nil {
		l.Destination = e.Workload
		l.DestinationPrincipal = e.Identity
	}
	return l
}

// counted is what an endpoint of a backend is reached and counted by.
func (c counting) counted(w *upstream.Way, b *plan.Backend, e *plan.Endpoint) *Reached {
	known := *e
	if !w.Mutual() {
		known.Identity = "" // it does not prove it
	}
	return &Reached{Way: w, scopes: c.scopes(&plan.Destination{Host: b.Host, Service: b.Service}, &known)}
}

// scopes are the metrics of calls to a destination through the given endpoint (nil: none was reached).
func (c counting) scopes(p *plan.Destination, e *plan.Endpoint) scopes {
	return scopes{
		HTTP: c.metrics.HTTP(c.labels(p, e, "http")),
		GRPC: c.metrics.HTTP(c.labels(p, e, "grpc")),
		TCP:  c.metrics.TCP(c.labels(p, e, "tcp")),
	}
}
