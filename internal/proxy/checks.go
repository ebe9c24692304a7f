package proxy

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/healthcheck"
)

// confirmProbes is how often the control plane is told at least what is found of other endpoints: a sidecar that says nothing for
// long counts for nothing.
const confirmProbes = 30 * time.Second

// checks are those that HealthCheckPolicies ask the sidecar for.
type checks struct {
	own    *healthcheck.Checker // of the workload, which is at address
	others *healthcheck.Checker // of endpoints that it calls
	report func(func(*discovery.HealthReport))

	address netip.Addr
	owns    func(netip.Addr) bool
}

// newChecks makes what checks the workload, and the endpoints that it calls.
func newChecks(p *Proxy) *checks {
	c := &checks{report: p.o.Discovery.Report, address: p.o.IPs[0], owns: p.self.Owns}
	c.own = healthcheck.New(healthcheck.Options{Dial: p.dialApp, Report: c.reportOwn, Words: healthcheck.OfPod(), Logger: p.o.Logger})
	c.others = healthcheck.New(healthcheck.Options{
		Dial: p.dialPlain, Report: c.reportOthers, Words: healthcheck.OfOthers(), Logger: p.o.Logger, Confirm: confirmProbes,
		Spread: rand.N[time.Duration], // load is spread, which is no secret
	})
	return c
}

// run makes the checks until the workload drains, or ctx ends: an app that ends is no finding. Start starts a goroutine that the
// proxy joins.
func (c *checks) run(ctx context.Context, draining <-chan struct{}, start func(func(context.Context))) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	start(func(context.Context) {
		defer stop()
		select {
		case <-draining:
		case <-ctx.Done():
		}
	})
	c.report(func(h *discovery.HealthReport) { h.Prober = true })
	probed := make(chan struct{})
	start(func(context.Context) {
		defer close(probed)
		c.others.Run(ctx)
	})
	c.own.Run(ctx)
	<-probed
	c.report(func(h *discovery.HealthReport) { h.Prober, h.Probes = false, nil }) // other sidecars take over
}

// set says what is to be checked from now on.
func (c *checks) set(policy *plan.InboundPolicy) {
	own := make([]healthcheck.Task, 0, len(policy.Checks))
	for _, k := range policy.Checks {
		own = append(own, healthcheck.Task{Target: healthcheck.Target{Policy: k.Policy, Addr: netip.AddrPortFrom(c.address, k.How.Port)}, How: k.How})
	}
	c.own.Set(own)
	others := make([]healthcheck.Task, 0, len(policy.Probes))
	for _, k := range policy.Probes {
		if k.Addr.IsLoopback() || c.owns(k.Addr) {
			continue // its own, of which no policy for others speaks
		}
		others = append(others, healthcheck.Task{Target: healthcheck.Target{Policy: k.Policy, Addr: netip.AddrPortFrom(k.Addr, k.How.Port)}, How: k.How})
	}
	c.others.Set(others)
}

func (c *checks) reportOwn([]healthcheck.Result) {
	found := c.health()
	c.report(func(h *discovery.HealthReport) { h.Results = found.Results })
}

func (c *checks) reportOthers(results []healthcheck.Result) {
	out := make([]model.ProbeResult, 0, len(results))
	for _, r := range results {
		namespace, name, _ := strings.Cut(r.Policy, "/")
		out = append(out, model.ProbeResult{
			Target:  model.ProbeTarget{Policy: model.Key{Namespace: namespace, Name: name}, Addr: r.Addr},
			Failing: r.Failing, Why: r.Why, Since: r.Since, Age: time.Since(r.Checked),
		})
	}
	c.report(func(h *discovery.HealthReport) { h.Probes = out })
}

// health gives what the checks of the workload have found.
func (c *checks) health() model.PodHealth {
	var h model.PodHealth
	for _, r := range c.own.Results() {
		h.Results = append(h.Results, model.CheckResult{Policy: r.Policy, Failing: r.Failing, Why: r.Why, Since: r.Since})
	}
	return h
}
