package healthcheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/appprobe"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Options say what is checked. All fields are required.
type Options struct {
	// Address is the workload's.
	Address netip.Addr
	Dial    func(context.Context, netip.AddrPort) (net.Conn, error)
	// Report gets all results there are, by policy, whenever one of them is another than last time. Calls do not overlap.
	Report func([]model.CheckResult)
	Logger *slog.Logger
}

// Checker makes the checks of a workload.
type Checker struct {
	o    Options
	wake chan struct{} // one slot: wanted is new

	mu     sync.Mutex
	wanted []plan.Check      // guarded by mu, as the next
	checks map[string]*check // under way, by policy

	reporting sync.Mutex // held while Report is called
}

// check is the check of one policy.
type check struct {
	plan.Check

	prober *appprobe.Prober
	stop   context.CancelFunc

	passed, failed atomic.Uint64

	mu      sync.Mutex
	verdict verdict // guarded by mu
}

// New makes a Checker. Nothing is checked before Run.
func New(o Options) *Checker {
	return &Checker{o: o, wake: make(chan struct{}, 1), checks: make(map[string]*check)}
}

// Set says which checks are to be made from now on. It does not block.
func (c *Checker) Set(checks []plan.Check) {
	c.mu.Lock()
	c.wanted = checks
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run makes checks until ctx ends.
func (c *Checker) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for {
		if c.adjust(ctx, &wg) {
			c.report()
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
	}
}

// adjust ends the checks that are not wanted any more and begins the new ones. It reports whether a result is gone.
func (c *Checker) adjust(ctx context.Context, wg *sync.WaitGroup) (less bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wanted := make(map[string]plan.Check, len(c.wanted))
	for _, w := range c.wanted {
		wanted[w.Policy] = w
	}
	for policy, running := range c.checks {
		if w, stays := wanted[policy]; stays && reflect.DeepEqual(w, running.Check) {
			delete(wanted, policy)
			continue
		}
		running.stop()
		delete(c.checks, policy)
		less = true
	}
	for policy, w := range wanted {
		next, err := c.newCheck(w)
		if err != nil {
			c.o.Logger.LogAttrs(ctx, slog.LevelError, "health check cannot be made", slog.String("policy", policy), slog.Any("error", err))
			continue
		}
		var own context.Context
		own, next.stop = context.WithCancel(ctx)
		c.checks[policy] = next
		wg.Go(func() { c.repeat(own, next) })
	}
	return less
}

// newCheck makes a check ready; the error says why a sidecar cannot make it.
func (c *Checker) newCheck(w plan.Check) (*check, error) {
	probe := appprobe.Probe{Timeout: w.How.Timeout}
	switch how := &w.How; {
	case how.HTTP != nil:
		probe.HTTP = &appprobe.HTTPGet{Port: how.Port, Path: how.HTTP.Path, Statuses: how.HTTP.Statuses}
		for _, h := range how.HTTP.Headers {
			probe.HTTP.Headers = append(probe.HTTP.Headers, appprobe.Header{Name: h.Name, Value: h.Value})
		}
		if how.HTTP.Host != "" {
			probe.HTTP.Headers = append(probe.HTTP.Headers, appprobe.Header{Name: "Host", Value: how.HTTP.Host})
		}
	case how.TCP != nil:
		probe.TCP = &appprobe.TCPSocket{Port: how.Port, Send: how.TCP.Send, Receive: how.TCP.Receive}
	case how.GRPC != nil:
		probe.GRPC = &appprobe.GRPC{Port: how.Port, Service: how.GRPC.Service}
	default:
		return nil, errors.New("this sidecar is too old for it")
	}
	if w.How.Interval <= 0 {
		return nil, errors.New("it has no interval")
	}
	prober, err := appprobe.NewProber(probe, appprobe.ProberOptions{PodIP: c.o.Address, Dial: c.o.Dial, Agent: "fairlead-health-check"})
	if err != nil {
		return nil, err
	}
	return &check{Check: w, prober: prober}, nil
}

// repeat makes one check again and again until ctx ends.
func (c *Checker) repeat(ctx context.Context, k *check) {
	defer k.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		err := k.prober.Run(ctx)
		if ctx.Err() != nil {
			return
		}
		pause, turned := k.observe(err)
		if turned {
			c.log(ctx, k)
			c.report()
		}
		timer.Reset(max(time.Until(began.Add(pause)), 0))
	}
}

// observe takes an outcome, and gives the time from the check's beginning to the next.
func (k *check) observe(err error) (pause time.Duration, turned bool) {
	if err != nil {
		k.failed.Add(1)
	} else {
		k.passed.Add(1)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	turned = k.verdict.observe(&k.How, err, time.Now())
	return k.verdict.pause(&k.How), turned
}

func (c *Checker) log(ctx context.Context, k *check) {
	r, _ := k.result()
	if r.Failing {
		c.o.Logger.LogAttrs(ctx, slog.LevelWarn, "health check fails, callers that have another endpoint are told to use it",
			slog.String("policy", r.Policy), slog.String("check", k.How.Kind()), slog.Int("port", int(k.How.Port)), slog.String("reason", r.Why))
		return
	}
	c.o.Logger.LogAttrs(ctx, slog.LevelInfo, "health check passes", slog.String("policy", r.Policy))
}

// maxWhy bounds what is said of a failure, in bytes.
const maxWhy = 200

// result is what is known of the check; ok is false where that is nothing yet.
func (k *check) result() (r model.CheckResult, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	why := k.verdict.why
	if len(why) > maxWhy {
		why = strings.ToValidUTF8(why[:maxWhy], "")
	}
	return model.CheckResult{Policy: k.Policy, Failing: k.verdict.failing, Why: why, Since: k.verdict.since}, k.verdict.known
}

// Results lists what is known, by policy.
func (c *Checker) Results() []model.CheckResult {
	out := make([]model.CheckResult, 0, 1)
	for _, k := range c.running() {
		if r, ok := k.result(); ok {
			out = append(out, r)
		}
	}
	return out
}

func (c *Checker) running() []*check {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*check, 0, len(c.checks))
	for _, k := range c.checks {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b *check) int { return cmp.Compare(a.Policy, b.Policy) })
	return out
}

// report tells the newest state. Two checks may turn at a time: the last call has both.
func (c *Checker) report() {
	c.reporting.Lock()
	defer c.reporting.Unlock()
	c.o.Report(c.Results())
}

// WriteMetrics writes how often each check was made, and whether it fails.
func (c *Checker) WriteMetrics(w io.Writer) error {
	all := c.running()
	if len(all) == 0 {
		return nil
	}
	var total, failing strings.Builder
	for _, k := range all {
		bit := 0
		if r, _ := k.result(); r.Failing {
			bit = 1
		}
		fmt.Fprintf(&total, "fairlead_health_checks_total{policy=%q,result=\"pass\"} %d\n", k.Policy, k.passed.Load())
		fmt.Fprintf(&total, "fairlead_health_checks_total{policy=%q,result=\"fail\"} %d\n", k.Policy, k.failed.Load())
		fmt.Fprintf(&failing, "fairlead_health_check_failing{policy=%q} %d\n", k.Policy, bit)
	}
	_, err := io.WriteString(w, "# TYPE fairlead_health_checks_total counter\n"+total.String()+"# TYPE fairlead_health_check_failing gauge\n"+failing.String())
	return err
}
