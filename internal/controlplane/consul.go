package controlplane

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/consul"
)

// consulTime is how long the first state of what the control plane stands on waits for that of a Consul. Without it sidecars that
// come back to a replica which has just started would be told for a moment that the services of Consul are gone. One that is
// away is waited for until it has failed, and no longer than this.
const consulTime = 3 * time.Second

// ConsulOptions say where a Consul is, and what of it is followed.
type ConsulOptions = consul.Options

// CheckConsulAddress says what is wrong with an address; New says it too.
func CheckConsulAddress(address string) error {
	_, _, err := consul.ParseAddress(address)
	return err
}

// consulServices are the services of a Consul. A nil one is none.
type consulServices struct {
	source *consul.Source
	engine *engine
}

func newConsulServices(p *ControlPlane) (*consulServices, error) {
	if p.o.Consul == nil {
		return nil, nil //nolint:nilnil // none
	}
	c := &consulServices{engine: p.engine}
	o := *p.o.Consul
	o.Logger, o.Cluster = p.o.Logger, p.engine.global.ClusterID
	o.Problems = func(list []model.Problem) { p.engine.problems.set(context.Background(), foundInConsul, list) } //nolint:forbidigo // for the log alone
	var err error
	if c.source, err = consul.New(o); err != nil {
		return nil, err
	}
	p.metrics.registry.MustRegister(consulMetrics{c.source})
	return c, nil
}

// before has the first change of a sink wait until the services of Consul are known, or its time is over.
func (c *consulServices) before(ctx context.Context, sink func(source.Change)) func(source.Change) {
	if c == nil {
		return sink
	}
	first := true
	return func(change source.Change) {
		if first {
			c.await(ctx)
		}
		first = false
		sink(change)
	}
}

func (c *consulServices) await(ctx context.Context) {
	over := time.NewTimer(consulTime)
	defer over.Stop()
	select {
	case <-c.source.Settled():
	case <-over.C:
	case <-ctx.Done():
	}
}

// run is a part of the control plane.
func (c *consulServices) run(ctx context.Context) error {
	if c == nil {
		return nil
	}
	return c.source.Run(ctx, c.engine.inbox.receiveMore)
}

// consulMetrics say how the datacenters of a Consul stand.
type consulMetrics struct{ source *consul.Source }

// Describe implements prometheus.Collector: which datacenters there are is not known before.
func (consulMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c consulMetrics) Collect(out chan<- prometheus.Metric) {
	label := []string{"datacenter"}
	up := prometheus.NewDesc("fairlead_consul_up", "1 where the catalog of a datacenter of Consul was read when it was last asked for.", label, nil)
	services := prometheus.NewDesc("fairlead_consul_services", "Services of a datacenter of Consul that are followed.", label, nil)
	failures := prometheus.NewDesc("fairlead_consul_failures_total", "Questions to Consul that were not answered.", label, nil)
	age := prometheus.NewDesc("fairlead_consul_answered_timestamp_seconds", "When the catalog of a datacenter of Consul was last read.", label, nil)
	for _, s := range c.source.Statuses() {
		well := 0.0
		if s.Cause == "" && !s.Answered.IsZero() {
			well = 1
		}
		out <- prometheus.MustNewConstMetric(up, prometheus.GaugeValue, well, s.Datacenter)
		out <- prometheus.MustNewConstMetric(services, prometheus.GaugeValue, float64(s.Services), s.Datacenter)
		out <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(s.Failures), s.Datacenter)
		if !s.Answered.IsZero() {
			out <- prometheus.MustNewConstMetric(age, prometheus.GaugeValue, float64(s.Answered.Unix()), s.Datacenter)
		}
	}
}
