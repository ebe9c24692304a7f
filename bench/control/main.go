package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Result is what one controller did with one number of sidecars.
type Result struct {
	Controller string `json:"controller"`
	Sidecars   int    `json:"sidecars"`
	Services   int    `json:"services"`
	Endpoints  int    `json:"endpoints"`
	Clusters   int    `json:"clusters"`
	// Until it serves, and until it knows what all clusters have; seconds of CPU until then, and MB of memory afterwards, before
	// sidecars connect and at the end.
	Serving  float64 `json:"serving_ms"`
	Whole    float64 `json:"whole_ms"`
	Starting float64 `json:"starting_cpu_s"`
	Base     float64 `json:"base_mb"`
	End      float64 `json:"end_mb"`
	// Of that without sidecars, what is no garbage.
	Live float64 `json:"live_mb"`
	// Ms from an event to the last sidecar.
	LastP50 float64 `json:"last_p50_ms"`
	LastP99 float64 `json:"last_p99_ms"`
	// For each event and sidecar.
	CPU   float64 `json:"cpu_us"`
	Bytes float64 `json:"bytes"`
	// Events at a rate: ms to each sidecar, and how much of a processor the controller takes.
	Churn     int     `json:"churn_per_s"`
	ChurnP50  float64 `json:"churn_p50_ms"`
	ChurnP99  float64 `json:"churn_p99_ms"`
	ChurnLoad float64 `json:"churn_cpu"`
	Missed    int     `json:"missed"` // deliveries that a newer event has overtaken
	// KB of the controller's memory for each sidecar that is connected.
	Memory float64 `json:"kb_per_sidecar"`
	Kept   float64 `json:"live_kb_per_sidecar"` // of that, what is no garbage
}

type settings struct {
	controllers   []string
	sidecars      []int
	mesh          mesh
	clusters      int
	events, churn int
	churning      time.Duration
	out           string
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "control:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string) (*settings, error) {
	s := &settings{controllers: []string{"fairlead=bin/fairlead-controller"}}
	f := flag.NewFlagSet("control", flag.ContinueOnError)
	f.Func("bin", "the controller to measure", func(v string) error { s.controllers[0] = "fairlead=" + v; return nil })
	f.Func("variant", "NAME=FILE: another build, beside it; can be repeated", func(v string) error {
		if !strings.Contains(v, "=") {
			return errors.New("want NAME=FILE")
		}
		s.controllers = append(s.controllers, v)
		return nil
	})
	numbers := f.String("n", "100,500,1000", "numbers of sidecars")
	f.IntVar(&s.mesh.services, "services", 1000, "Services in the mesh, at least 100")
	f.IntVar(&s.mesh.endpoints, "endpoints", 20, "endpoints of each, at least 2")
	f.IntVar(&s.clusters, "clusters", 1, "clusters that have all of these Services, each with endpoints of its own; with several, endpoints of all but the control plane's own change")
	f.IntVar(&s.events, "events", 40, "events one by one")
	f.IntVar(&s.churn, "churn", 100, "events a second afterwards, for -for")
	f.DurationVar(&s.churning, "for", 10*time.Second, "how long")
	f.StringVar(&s.out, "out", "", "JSON file for the results")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	for n := range strings.SplitSeq(*numbers, ",") {
		k, err := strconv.Atoi(n)
		if err != nil || k < 1 {
			return nil, fmt.Errorf("-n %s: want positive numbers, separated by commas", *numbers)
		}
		s.sidecars = append(s.sidecars, k)
	}
	if s.mesh.services < popular || s.mesh.services > mostServices || s.mesh.endpoints < 2 || s.mesh.endpoints > 250 {
		return nil, fmt.Errorf("want %d to %d -services and 2 to 250 -endpoints", popular, mostServices)
	}
	if s.clusters < 1 || s.clusters > maxClusters {
		return nil, fmt.Errorf("want 1 to %d -clusters", maxClusters)
	}
	return s, nil
}

func run(ctx context.Context, args []string) error {
	s, err := parseFlags(args)
	if err != nil {
		return err
	}
	var all []Result
	for _, n := range s.sidecars {
		results, err := measure(ctx, s, n)
		if err != nil {
			return err
		}
		for i := range results {
			show(&results[i])
		}
		all = append(all, results...)
	}
	if s.out == "" {
		return nil
	}
	b, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.out, append(b, '\n'), 0o600) //nolint:gosec // the user's own choice
}

func show(r *Result) {
	fmt.Printf("%-10s %d × %d Services × %d endpoints: serves after %.0f ms, knows all after %.0f ms and %.2f s of CPU; %.0f MB of which %.0f live, at the end %.0f MB\n",
		r.Controller, r.Clusters, r.Services, r.Endpoints, r.Serving, r.Whole, r.Starting, r.Base, r.Live, r.End)
	fmt.Printf("%-10s %5d sidecars: event → last p50 %.1f ms p99 %.1f ms, %.1f µs and %.0f B for each; %d/s: p50 %.1f ms p99 %.1f ms, %.0f %% of a processor, %d overtaken; %.0f KB each, %.0f live\n",
		r.Controller, r.Sidecars, r.LastP50, r.LastP99, r.CPU, r.Bytes, r.Churn, r.ChurnP50, r.ChurnP99, 100*r.ChurnLoad, r.Missed, r.Memory, r.Kept)
}

// measure runs every controller with n sidecars, event for event in turn.
func measure(ctx context.Context, s *settings, n int) (results []Result, err error) {
	var running []*controller
	var over []func()
	defer func() {
		for _, f := range over {
			f()
		}
		for _, c := range running {
			c.stop()
		}
	}()
	for _, v := range s.controllers {
		name, file, _ := strings.Cut(v, "=")
		c, err := startController(name, file, s)
		if c != nil {
			running = append(running, c)
		}
		if err != nil {
			return nil, err
		}
		time.Sleep(settle)
		before, live := c.resident(), c.live()
		end, err := c.populate(ctx, n)
		over = append(over, end)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		time.Sleep(settle)
		results = append(results, Result{
			Controller: name, Sidecars: n, Services: s.mesh.services, Endpoints: s.mesh.endpoints,
			Clusters: s.clusters, Serving: milliseconds(c.serving), Whole: milliseconds(c.whole), Starting: c.starting.Seconds(), Base: float64(before) / 1024, Live: float64(live) / 1024,
			Memory: float64(c.resident()-before) / float64(n), Kept: float64(c.live()-live) / float64(n),
		})
	}
	if err := oneByOne(s, running, results); err != nil {
		return nil, err
	}
	for i, c := range running {
		if err := c.churn(s, &results[i]); err != nil {
			return nil, err
		}
		results[i].End = float64(c.resident()) / 1024
	}
	return results, nil
}

// settle is how long a burst is given to be over before memory is read.
const settle = 2 * time.Second

// oneByOne changes the Service that all call, waits until all have it, and goes on to the next controller.
func oneByOne(s *settings, running []*controller, results []Result) error {
	last, cpu := make([][]time.Duration, len(running)), make([][]time.Duration, len(running))
	down := make([]int64, len(running))
	for number := 1; number <= s.events; number++ {
		for i, c := range running {
			bytes, used := c.crowd.down.Load(), c.cpu()
			e := c.crowd.expect(number, len(c.crowd.clients))
			if err := c.changing(number).change(0, number); err != nil {
				return err
			}
			select {
			case <-e.done:
			case <-time.After(30 * time.Second):
				return fmt.Errorf("%s: event %d has not reached all of %d sidecars after 30 s", c.name, number, e.want)
			}
			time.Sleep(50 * time.Millisecond) // acknowledgements
			last[i] = append(last[i], slices.Max(e.took))
			cpu[i] = append(cpu[i], c.cpu()-used)
			down[i] += c.crowd.down.Load() - bytes
			time.Sleep(250 * time.Millisecond) // the whole model is checked
		}
	}
	for i := range running {
		n := float64(len(running[i].crowd.clients))
		r := &results[i]
		r.LastP50, r.LastP99 = milliseconds(quantile(last[i], 0.5)), milliseconds(quantile(last[i], 0.99))
		r.CPU = float64(quantile(cpu[i], 0.5).Nanoseconds()) / 1e3 / n
		r.Bytes = float64(down[i]) / n / float64(s.events)
	}
	return nil
}

// churn makes events at a rate, over the Services that are called.
func (c *controller) churn(s *settings, r *Result) error {
	total := int(s.churning.Seconds() * float64(s.churn))
	if total == 0 {
		return nil
	}
	followers := make(map[int]int)
	for i := range c.crowd.clients {
		seen := make(map[int]bool)
		for _, service := range called(i) {
			if !seen[service] {
				followers[service]++
			}
			seen[service] = true
		}
	}
	events := make([]*event, total)
	used, began := c.cpu(), time.Now()
	for k := range total {
		if wait := time.Until(began.Add(time.Duration(k) * time.Second / time.Duration(s.churn))); wait > 0 {
			time.Sleep(wait)
		}
		service, number := k%popular, s.events+1+k
		events[k] = c.crowd.expect(number, followers[service])
		if err := c.changing(number).change(service, number); err != nil {
			return err
		}
	}
	took := time.Since(began)
	time.Sleep(time.Second) // what is under way
	r.Churn, r.ChurnLoad = s.churn, (c.cpu()-used).Seconds()/took.Seconds()
	var all []time.Duration
	c.crowd.mu.Lock()
	defer c.crowd.mu.Unlock()
	for _, e := range events {
		all = append(all, e.took...)
		r.Missed += e.want - len(e.took)
	}
	r.ChurnP50, r.ChurnP99 = milliseconds(quantile(all, 0.5)), milliseconds(quantile(all, 0.99))
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// quantile of some times: the smallest that at least so large a part does not exceed.
func quantile(of []time.Duration, q float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(of))
	return s[min(max(int(q*float64(len(s))+0.999999)-1, 0), len(s)-1)]
}
