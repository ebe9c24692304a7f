package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Block is one contestant in one cell for some seconds.
type Block struct {
	Of    string `json:"of"`
	Round int    `json:"round"`
	// CPU of the two proxies, and of the whole machine, for each request (µs) or GB (s). Of idle connections: KB for each.
	CPU     float64 `json:"cpu"`
	Machine float64 `json:"machine,omitempty"`
	// Rate is requests, or GB, a second.
	Rate     float64 `json:"rate,omitempty"`
	Requests float64 `json:"requests,omitempty"` // or GB
	// Latencies in µs.
	P50  float64 `json:"p50,omitempty"`
	P99  float64 `json:"p99,omitempty"`
	P999 float64 `json:"p999,omitempty"`
	// RSS of the proxies, afterwards, in KB.
	RSS int `json:"rss,omitempty"`
	// Private is the part of it that no other process has too.
	Private int `json:"private,omitempty"`
	// Foreign is the part of the machine that others took. A Noisy block, where that was too much, does not count.
	Foreign float64 `json:"foreign"`
	Noisy   bool    `json:"noisy,omitempty"`
	// Calls and Switches are system calls and context switches of the proxies for each request, where they were counted.
	Calls    float64 `json:"calls,omitempty"`
	Switches float64 `json:"switches,omitempty"`
	// Allocations of proxies that say it, for each request.
	Allocations float64 `json:"allocations,omitempty"`
	Error       string  `json:"error,omitempty"`
}

func (b *Block) good() bool { return b.Error == "" && !b.Noisy }

// outcome is what a generator says.
type outcome struct {
	Result

	cpu time.Duration
}

// Result is what `load` prints; see its package.
type Result struct {
	Requests int64   `json:"requests"`
	Errors   int64   `json:"errors"`
	Bytes    int64   `json:"bytes"`
	P50      float64 `json:"p50"`
	P99      float64 `json:"p99"`
	P999     float64 `json:"p999"`
	CPU      int64   `json:"cpu"`
	Error    string  `json:"error"`
}

// measure runs one block, and once more where others took too much of the machine or something failed.
func (r *Runner) measure(ctx context.Context, c *Contestant, cell *Cell, round int) Block {
	b := r.once(ctx, c, cell, r.length(cell))
	if !b.good() && (b.Noisy || !strings.Contains(b.Error, saturated)) && ctx.Err() == nil && time.Now().Before(r.end) {
		b = r.once(ctx, c, cell, r.length(cell))
	}
	b.Of, b.Round = c.Name, round
	return b
}

// saturated is how the generator says that requests would never catch up with their times.
const saturated = "saturated"

// patience is how much longer than its load a block may take: a proxy that does not answer must not end the run.
const patience = 30 * time.Second

// once runs a block of some seconds.
func (r *Runner) once(ctx context.Context, c *Contestant, cell *Cell, seconds int) (b Block) {
	most := time.Duration(seconds)*time.Second + patience
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	switch cell.Kind {
	case KindReady:
		return r.ready(ctx, c, cell)
	case KindIdle, KindHTTP1, KindOpen, KindNewConn, KindGRPC, KindStream, KindNewTCP, KindPing, KindBulk, KindHTTP2, KindHandshake:
	}
	return r.block(ctx, c, cell, load{c.command(cell, r.settings.load, seconds), cell.Kind, seconds})
}

// load is a command that makes it.
type load struct {
	argv    []string
	says    Kind // how what it prints is read
	seconds int
}

// block runs a generator and says what that took of the proxies.
func (r *Runner) block(ctx context.Context, c *Contestant, cell *Cell, l load) (b Block) {
	pids := c.pids
	if cell.Kind == KindHandshake {
		pids = c.inbound
	}
	cmd := c.lab.exec(ctx, c.caller(cell.Kind), l.argv)
	proxies, apps, busy, begun := cpuTime(pids), cpuTime(c.apps), busyTime(), time.Now()
	text, err := cmd.Output()
	took := time.Since(begun)
	proxies, apps, busy = cpuTime(pids)-proxies, cpuTime(c.apps)-apps, busyTime()-busy
	out, bad := parse(l.says, string(text))
	own := proxies + apps + out.cpu
	b.Foreign = max(0, (busy-own).Seconds()/took.Seconds()/float64(r.processors))
	b.Noisy = b.Foreign > r.foreign
	if err = errors.Join(err, bad); err != nil {
		b.Error = err.Error()
		return b
	}
	per := 1e6 // µs
	b.Requests = float64(out.Requests)
	if cell.Kind == KindBulk {
		per, b.Requests = 1, float64(out.Bytes)/1e9
	}
	b.CPU, b.Machine = proxies.Seconds()*per/b.Requests, own.Seconds()*per/b.Requests
	b.Rate = b.Requests / float64(l.seconds)
	b.P50, b.P99, b.P999, b.RSS, b.Private = out.P50, out.P99, out.P999, resident(c.pids), private(c.pids)
	return b
}

var (
	wrkRequests  = regexp.MustCompile(`(\d+) requests in`)
	wrkLatency   = regexp.MustCompile(`(50|99)%\s+([\d.]+)(us|ms|s)\b`)
	wrkBad       = regexp.MustCompile(`(?m)^\s*(Non-2xx.*|Socket errors.*)$`)
	h2loadDone   = regexp.MustCompile(`(\d+) succeeded, (\d+) failed`)
	h2loadMean   = regexp.MustCompile(`time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)\b`)
	timedCPU     = regexp.MustCompile(`(?m)^cpu_ns (\d+)$`)
	unitsInMicro = map[string]float64{"us": 1, "ms": 1e3, "s": 1e6}
)

// parse reads what a generator printed. Anything that failed makes the block one that does not count.
func parse(kind Kind, text string) (out outcome, err error) {
	switch kind {
	case KindHTTP1, KindGRPC, KindHTTP2:
		if m := timedCPU.FindStringSubmatch(text); m != nil {
			out.cpu = time.Duration(number(m[1]))
		}
		if kind == KindHTTP1 {
			return parseWrk(out, text)
		}
		return parseH2load(out, text)
	case KindOpen, KindNewConn, KindStream, KindNewTCP, KindPing, KindBulk, KindIdle, KindHandshake, KindReady:
	}
	if err := json.Unmarshal([]byte(text), &out.Result); err != nil {
		return out, fmt.Errorf("%w in %q", err, text)
	}
	out.cpu = time.Duration(out.CPU)
	switch {
	case out.Errors > 0:
		return out, fmt.Errorf("%d connections failed: %s", out.Errors, out.Error)
	case out.Requests == 0 && out.Bytes == 0:
		return out, errNothing
	}
	return out, nil
}

// errNothing makes a block one that does not count: there is nothing to divide by, and no JSON for what came of it.
var errNothing = errors.New("nothing was answered")

func parseWrk(out outcome, text string) (outcome, error) {
	m := wrkRequests.FindStringSubmatch(text)
	if bad := wrkBad.FindString(text); bad != "" || m == nil {
		return out, fmt.Errorf("wrk: %q", strings.TrimSpace(bad+text[:min(len(text), 200)]))
	}
	if out.Requests = int64(number(m[1])); out.Requests == 0 {
		return out, errNothing
	}
	for _, l := range wrkLatency.FindAllStringSubmatch(text, -1) {
		if v := number(l[2]) * unitsInMicro[l[3]]; l[1] == "50" {
			out.P50 = v
		} else {
			out.P99 = v
		}
	}
	return out, nil
}

func parseH2load(out outcome, text string) (outcome, error) {
	m := h2loadDone.FindStringSubmatch(text)
	if len(m) < 3 || number(m[2]) > 0 || number(m[1]) == 0 {
		return out, fmt.Errorf("h2load: %q", text[:min(len(text), 400)])
	}
	out.Requests = int64(number(m[1]))
	if l := h2loadMean.FindStringSubmatch(text); l != nil {
		out.P50 = number(l[1]) * unitsInMicro[l[2]] // the mean is all it says
	}
	return out, nil
}

// number reads what a pattern has found to be one.
func number(s string) float64 {
	f, _ := strconv.ParseFloat(s, 64)
	return f
}
