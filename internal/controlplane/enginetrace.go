package controlplane

import (
	"github.com/prometheus/client_golang/prometheus"

	"fairlead.dev/fairlead/internal/config"
)

// engineTrace counts what the engine does, under Istio's names. The zero value counts nothing.
type engineTrace struct {
	config   *prometheus.CounterVec // objects that people write that came, changed or went, by kind and event
	registry *prometheus.CounterVec // the same of what says which services, pods and places there are
	triggers *prometheus.CounterVec // changes put in force, by cause
	errors   prometheus.Counter     // answers that cannot be sent
}

// newEngineTrace registers the counters.
func newEngineTrace(m *metrics) engineTrace {
	event := []string{"type", "event"}
	return engineTrace{
		config:   m.make.NewCounterVec(counterOpts("pilot_k8s_cfg_events", "Objects of configuration that came, changed or went, as far as the engine saw each state."), event),
		registry: m.make.NewCounterVec(counterOpts("pilot_k8s_reg_events", "Services, pods, nodes and namespaces that came, changed or went, as far as the engine saw each state."), event),
		triggers: m.make.NewCounterVec(counterOpts("pilot_push_triggers", "Changes put in force, by what they are of."), []string{"type"}),
		errors:   m.make.NewCounter(counterOpts("pilot_total_xds_internal_errors", "Resources that cannot be sent as they would have to be.")),
	}
}

// change says whether an object was there before, and whether it is there now.
type change struct{ was, is bool }

// event names the change, "" where nothing has changed.
func (c change) event() string {
	switch {
	case c.was && c.is:
		return "update"
	case c.is:
		return "add"
	case c.was:
		return "delete"
	}
	return ""
}

// count counts what became of an object.
func (t engineTrace) count(k *config.Kind, c change) {
	event := c.event()
	if t.config == nil || k == nil || event == "" {
		return
	}
	by := t.config
	if k.Group == "" || k.Worsens != nil {
		by = t.registry
	}
	by.WithLabelValues(k.Name, event).Inc()
}

// committed counts what lanes were put in force.
func (t engineTrace) committed(due [lanes]bool) {
	if t.triggers == nil {
		return
	}
	for l, name := range [lanes]string{laneEndpoints: "endpoint", laneConfig: "config"} {
		if due[l] {
			t.triggers.WithLabelValues(name).Inc()
		}
	}
}

// failed counts resources that cannot be sent.
func (t engineTrace) failed(resources int) {
	if t.errors != nil {
		t.errors.Add(float64(resources))
	}
}
