package healthcheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
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
)

// Options say how checks are made. All fields but the last two are required.
type Options struct {
	Dial func(context.Context, netip.AddrPort) (net.Conn, error)
	// Report gets all results there are, by target, whenever one of them is another than last time. Calls do not overlap.
	Report func([]Result)
	Words  Words
	Logger *slog.Logger
	// Confirm has Report called at least so often while there are checks; 0 does not.
	Confirm time.Duration
	// Spread gives when the first check of a target begins, from its timeout; nil means at once.
	Spread func(timeout time.Duration) time.Duration
}

// Words are what checks are called in the log and in metrics.
type Words struct {
	// Of says what is checked.
	Of string
	// Total and Failing are names of metrics.
	Total, Failing string
}

// OfPod are the words for checks of the sidecar's own workload.
func OfPod() Words {
	return Words{
		Of:    "own workload",
		Total: "fairlead_health_checks_total", Failing: "fairlead_health_check_failing",
	}
}

// OfOthers are the words for checks of endpoints that the sidecar calls.
func OfOthers() Words {
	return Words{
		Of:    "endpoint without a sidecar",
		Total: "fairlead_health_probes_total", Failing: "fairlead_health_probes_failing",
	}
}

// Target is what is checked, and for whom.
type Target struct {
	// Policy names the HealthCheckPolicy.
	Policy string
	Addr   netip.AddrPort
}

// Task is a check that is to be made. The port of How is that of the target.
type Task struct {
	Target

	How model.HealthCheck
}

// Result is what is known of a target.
type Result struct {
	Target

	Failing bool
	Why     string
	Since   time.Time
	// Checked is when the newest check ended.
	Checked time.Time
}

// Checker makes checks.
type Checker struct {
	o    Options
	wake chan struct{} // one slot: wanted is new

	mu     sync.Mutex
	wanted []Task             // guarded by mu, as the next two
	checks map[Target]*check  // under way
	counts map[string]*counts // by policy, of those that checks are under way for

	reporting sync.Mutex // held while Report is called
}

// counts are the checks of one policy.
type counts struct{ passed, failed atomic.Uint64 }

// check is the check of one target.
type check struct {
	Task
	*counts

	prober *appprobe.Prober
	stop   context.CancelFunc

	mu      sync.Mutex
	verdict verdict   // guarded by mu, as the next
	checked time.Time // when the newest one ended
}

// New makes a Checker. Nothing is checked before Run.
func New(o Options) *Checker {
	return &Checker{o: o, wake: make(chan struct{}, 1), checks: make(map[Target]*check), counts: make(map[string]*counts)}
}

// Set says which checks are to be made from now on. It does not block.
func (c *Checker) Set(tasks []Task) {
	c.mu.Lock()
	c.wanted = tasks
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
	confirm := time.NewTimer(time.Hour)
	defer confirm.Stop()
	for {
		if c.adjust(ctx, &wg) {
			c.report()
		}
		confirm.Stop()
		if c.o.Confirm > 0 && len(c.running()) > 0 {
			confirm.Reset(c.o.Confirm)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-confirm.C:
			c.report()
		}
	}
}

// adjust ends the checks that are not wanted any more and begins the new ones. It reports whether a result is gone.
func (c *Checker) adjust(ctx context.Context, wg *sync.WaitGroup) (less bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wanted := make(map[Target]Task, len(c.wanted))
	for _, w := range c.wanted {
		wanted[w.Target] = w
	}
	for target, running := range c.checks {
		if w, stays := wanted[target]; stays && reflect.DeepEqual(w, running.Task) {
			delete(wanted, target)
			continue
		}
		running.stop()
		delete(c.checks, target)
		less = true
	}
	for target, w := range wanted {
		next, err := c.newCheck(w)
		if err != nil {
			c.o.Logger.LogAttrs(ctx, slog.LevelError, "health check cannot be made", slog.String("policy", w.Policy), slog.Any("error", err))
			continue
		}
		if next.counts = c.counts[w.Policy]; next.counts == nil {
			next.counts = &counts{}
			c.counts[w.Policy] = next.counts
		}
		var own context.Context
		own, next.stop = context.WithCancel(ctx)
		c.checks[target] = next
		wg.Go(func() { c.repeat(own, next) })
	}
	maps.DeleteFunc(c.counts, func(policy string, _ *counts) bool {
		for target := range c.checks {
			if target.Policy == policy {
				return false
			}
		}
		return true
	})
	return less
}

// newCheck makes a check ready; the error says why a sidecar cannot make it.
func (c *Checker) newCheck(w Task) (*check, error) {
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
	prober, err := appprobe.NewProber(probe, appprobe.ProberOptions{PodIP: w.Addr.Addr(), Dial: c.o.Dial, Agent: "fairlead-health-check"})
	if err != nil {
		return nil, err
	}
	return &check{Task: w, prober: prober}, nil
}

// repeat makes one check again and again until ctx ends.
func (c *Checker) repeat(ctx context.Context, k *check) {
	defer k.stop()
	first := time.Duration(0)
	if c.o.Spread != nil {
		first = c.o.Spread(k.How.Timeout)
	}
	timer := time.NewTimer(first)
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
	k.checked = time.Now()
	turned = k.verdict.observe(&k.How, err, k.checked)
	return k.verdict.pause(&k.How), turned
}

func (c *Checker) log(ctx context.Context, k *check) {
	r, _ := k.result()
	if r.Failing {
		c.o.Logger.LogAttrs(ctx, slog.LevelWarn, "health check fails, the control plane is told",
			slog.String("of", c.o.Words.Of), slog.String("policy", r.Policy), slog.String("check", k.How.Kind()), slog.String("address", r.Addr.String()), slog.String("reason", r.Why))
		return
	}
	c.o.Logger.LogAttrs(ctx, slog.LevelInfo, "health check passes", slog.String("of", c.o.Words.Of),
		slog.String("policy", r.Policy), slog.String("address", r.Addr.String()))
}

// maxWhy bounds what is said of a failure, in bytes.
const maxWhy = 200

// result is what is known of the check; ok is false where that is nothing yet.
func (k *check) result() (r Result, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	why := k.verdict.why
	if len(why) > maxWhy {
		why = strings.ToValidUTF8(why[:maxWhy], "")
	}
	return Result{Target: k.Target, Failing: k.verdict.failing, Why: why, Since: k.verdict.since, Checked: k.checked}, k.verdict.known
}

// Results lists what is known, by target.
func (c *Checker) Results() []Result {
	out := make([]Result, 0, 1)
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
	slices.SortFunc(out, func(a, b *check) int { return cmp.Or(cmp.Compare(a.Policy, b.Policy), a.Addr.Compare(b.Addr)) })
	return out
}

// report tells the newest state. Two checks may turn at a time: the last call has both.
func (c *Checker) report() {
	c.reporting.Lock()
	defer c.reporting.Unlock()
	c.o.Report(c.Results())
}

// WriteMetrics writes how often the checks of each policy were made, and how many of its targets fail.
func (c *Checker) WriteMetrics(w io.Writer) error {
	all := c.running()
	if len(all) == 0 {
		return nil
	}
	failing := make(map[string]int)
	byPolicy := make(map[string]*counts)
	for _, k := range all {
		if r, _ := k.result(); r.Failing {
			failing[k.Policy]++
		}
		byPolicy[k.Policy] = k.counts
	}
	var total, now strings.Builder
	for _, policy := range slices.Sorted(maps.Keys(byPolicy)) {
		n := byPolicy[policy]
		fmt.Fprintf(&total, "%s{policy=%q,result=\"pass\"} %d\n", c.o.Words.Total, policy, n.passed.Load())
		fmt.Fprintf(&total, "%s{policy=%q,result=\"fail\"} %d\n", c.o.Words.Total, policy, n.failed.Load())
		fmt.Fprintf(&now, "%s{policy=%q} %d\n", c.o.Words.Failing, policy, failing[policy])
	}
	_, err := fmt.Fprintf(w, "# TYPE %s counter\n%s# TYPE %s gauge\n%s", c.o.Words.Total, &total, c.o.Words.Failing, &now)
	return err
}
