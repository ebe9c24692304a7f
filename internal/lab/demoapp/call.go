package demoapp

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Report is what a run of the client counted.
type Report struct {
	Requests int `json:"requests"`
	// OK counts answers below 400; Failed everything else, errors included.
	OK     int `json:"ok"`
	Failed int `json:"failed"`
	// Statuses, Pods and Versions count answers; Errors counts failures without one by their text.
	Statuses map[string]int `json:"statuses"`
	Pods     map[string]int `json:"pods"`
	Versions map[string]int `json:"versions"`
	Errors   map[string]int `json:"errors,omitempty"`
	// Messages counts those of gRPC that came in answers.
	Messages int `json:"messages,omitempty"`
	// Seconds is the length of the run, PerSecond its rate; the latencies are in milliseconds.
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"perSecond"`
	P50       float64 `json:"p50Milliseconds"`
	P99       float64 `json:"p99Milliseconds"`
	Max       float64 `json:"maxMilliseconds"`
	// Late counts, by the second of the run in which they began, the requests that failed or took a second or more.
	Late map[string]int `json:"late,omitempty"`

	begun     time.Time
	latencies []time.Duration
}

// load is what the client's flags say.
type load struct {
	url, method, body string
	headers           []string
	count             int
	concurrency       int
	rate              float64
	length, timeout   time.Duration
	fresh             bool
	http2, grpc       bool
	messages          int
	output            string
}

// callMain is "call URL": --count N, --concurrency C, --rate R per second, --for D, --new-connections, -o json,
// --header "K: V", --method, --body, --timeout, --http2 (with prior knowledge), --grpc (a call of StreamMethod, or another one
// that the URL names, which must end with status 0), --messages N of --body.
func callMain(ctx context.Context, args []string, p Process) error {
	l, err := parseLoad(args, p.Err)
	if err != nil {
		return err
	}
	r := l.run(ctx)
	if l.output == "json" {
		enc := json.NewEncoder(p.Out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	fmt.Fprintf(p.Out, "%d requests in %.2f s (%.0f/s): %d ok, %d failed; p50 %.2f ms, p99 %.2f ms\n",
		r.Requests, r.Seconds, r.PerSecond, r.OK, r.Failed, r.P50, r.P99)
	for _, group := range []struct {
		name   string
		counts map[string]int
	}{{"status", r.Statuses}, {"version", r.Versions}, {"pod", r.Pods}, {"error", r.Errors}} {
		for _, key := range sortedKeys(group.counts) {
			fmt.Fprintf(p.Out, "  %s %s: %d\n", group.name, key, group.counts[key])
		}
	}
	if r.Failed > 0 {
		return fmt.Errorf("%d of %d requests failed", r.Failed, r.Requests)
	}
	return nil
}

func parseLoad(args []string, errOut io.Writer) (*load, error) {
	l := &load{}
	flags := flag.NewFlagSet("demo-app call", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.IntVar(&l.count, "count", 0, "how many requests (default 1, or as many as --for allows)")
	flags.IntVar(&l.concurrency, "concurrency", 1, "how many at the same time")
	flags.Float64Var(&l.rate, "rate", 0, "requests per second; 0 is as fast as possible")
	flags.DurationVar(&l.length, "for", 0, "how long")
	flags.DurationVar(&l.timeout, "timeout", 10*time.Second, "for one request")
	flags.BoolVar(&l.fresh, "new-connections", false, "a new connection for every request")
	flags.BoolVar(&l.http2, "http2", false, "HTTP/2 with prior knowledge")
	flags.BoolVar(&l.grpc, "grpc", false, "calls of gRPC, over HTTP/2")
	flags.IntVar(&l.messages, "messages", 0, "with --grpc: how many messages each call sends, with the body in each; none unless said")
	flags.StringVar(&l.method, "method", "GET", "the method")
	flags.StringVar(&l.body, "body", "", "the body")
	flags.StringVar(&l.output, "o", "", "json, or text where it is empty")
	flags.Func("header", `a header, as "Name: value"`, func(v string) error {
		if !strings.Contains(v, ":") {
			return errors.New("no colon")
		}
		l.headers = append(l.headers, v)
		return nil
	})
	for len(args) > 0 { // flags may come before and after the URL
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if args = flags.Args(); len(args) > 0 {
			if l.url != "" {
				return nil, fmt.Errorf("call: a second URL %q", args[0])
			}
			l.url, args = args[0], args[1:]
		}
	}
	if l.url == "" {
		return nil, errors.New("call: say which URL")
	}
	if l.grpc {
		l.http2, l.method = true, http.MethodPost
		l.headers = append(l.headers, "content-type: "+grpcType, "te: trailers")
	}
	if l.count == 0 && l.length == 0 {
		l.count = 1
	}
	if l.count == 0 {
		l.count = math.MaxInt
	}
	l.concurrency = max(1, l.concurrency)
	return l, nil
}

// run makes the calls and adds them up.
func (l *load) run(ctx context.Context) *Report {
	begun := time.Now() // before the length begins, so that no report tells of less
	if l.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.length)
		defer cancel()
	}
	transport := &http.Transport{
		DisableKeepAlives: l.fresh, MaxIdleConnsPerHost: l.concurrency, MaxIdleConns: l.concurrency, DisableCompression: true,
	}
	if l.http2 {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: l.timeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	tickets := make(chan struct{})
	parts := make([]*Report, l.concurrency)
	var wg sync.WaitGroup
	for i := range parts {
		parts[i] = newReport()
		parts[i].begun = begun
		wg.Go(func() {
			for range tickets {
				// A request that has begun is finished also when the time is over.
				l.once(context.WithoutCancel(ctx), client, parts[i])
			}
		})
	}
	l.issue(ctx, begun, tickets)
	close(tickets)
	wg.Wait()
	total := newReport()
	for _, p := range parts {
		total.Add(p)
	}
	total.finish(time.Since(begun))
	return total
}

// issue hands out one ticket per request, at the rate that was asked for.
func (l *load) issue(ctx context.Context, begun time.Time, tickets chan<- struct{}) {
	for i := range l.count {
		if l.rate > 0 {
			due := begun.Add(time.Duration(float64(i) / l.rate * float64(time.Second)))
			if !wait(ctx, time.Until(due)) {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case tickets <- struct{}{}:
		}
	}
}

// once makes one call.
func (l *load) once(ctx context.Context, client *http.Client, r *Report) {
	r.Requests++
	begun := time.Now()
	failed := r.Failed
	defer func() {
		took := time.Since(begun)
		r.latencies = append(r.latencies, took)
		if r.Failed > failed || took >= time.Second {
			r.Late[strconv.Itoa(int(begun.Sub(r.begun)/time.Second))]++
		}
	}()
	req, err := http.NewRequestWithContext(ctx, l.method, l.url, l.bodyOfOne())
	if err != nil {
		r.fail(err)
		return
	}
	for _, h := range l.headers {
		name, value, _ := strings.Cut(h, ":")
		value = strings.TrimSpace(value)
		if strings.EqualFold(name, "host") {
			req.Host = value
		}
		req.Header.Add(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		r.fail(err)
		return
	}
	defer resp.Body.Close()
	if err := l.read(resp.Body, r); err != nil {
		r.fail(err)
		return
	}
	r.Statuses[strconv.Itoa(resp.StatusCode)]++
	if pod := resp.Header.Get("X-Demo-Pod"); pod != "" {
		r.Pods[pod]++
	}
	if version := resp.Header.Get("X-Demo-Version"); version != "" {
		r.Versions[version]++
	}
	if status := firstOf(resp.Trailer.Get(grpcStatus), resp.Header.Get(grpcStatus)); l.grpc && status != "0" {
		r.fail(fmt.Errorf("%s %s: %s", grpcStatus, status, firstOf(resp.Trailer.Get(grpcMessage), resp.Header.Get(grpcMessage))))
		return
	}
	if resp.StatusCode < http.StatusBadRequest {
		r.OK++
	} else {
		r.Failed++
	}
}

func (l *load) bodyOfOne() io.Reader {
	if l.messages > 0 {
		return newMessageStream(l.messages, l.body)
	}
	return strings.NewReader(l.body)
}

// read reads the body of an answer.
func (l *load) read(body io.Reader, r *Report) (err error) {
	if !l.grpc {
		_, err = io.Copy(io.Discard, body)
		return err
	}
	n, err := countMessages(body)
	r.Messages += n
	return err
}

func newReport() *Report {
	return &Report{Statuses: map[string]int{}, Pods: map[string]int{}, Versions: map[string]int{}, Errors: map[string]int{}, Late: map[string]int{}}
}

func (r *Report) fail(err error) {
	r.Failed++
	r.Errors[err.Error()]++
}

// Add counts what another run has counted as well. Latencies that are computed already are the worse ones of both.
func (r *Report) Add(o *Report) {
	r.Requests, r.OK, r.Failed = r.Requests+o.Requests, r.OK+o.OK, r.Failed+o.Failed
	r.Messages += o.Messages
	r.latencies = append(r.latencies, o.latencies...)
	r.P50, r.P99, r.Max = max(r.P50, o.P50), max(r.P99, o.P99), max(r.Max, o.Max)
	for _, m := range []struct {
		to   *map[string]int
		more map[string]int
	}{{&r.Statuses, o.Statuses}, {&r.Pods, o.Pods}, {&r.Versions, o.Versions}, {&r.Errors, o.Errors}, {&r.Late, o.Late}} {
		if *m.to == nil {
			*m.to = map[string]int{}
		}
		for k, v := range m.more {
			(*m.to)[k] += v
		}
	}
}

// finish computes rates and latencies.
func (r *Report) finish(length time.Duration) {
	r.Seconds = length.Seconds()
	if r.Seconds > 0 {
		r.PerSecond = float64(r.Requests) / r.Seconds
	}
	if len(r.latencies) == 0 {
		return
	}
	slices.Sort(r.latencies)
	at := func(q float64) float64 {
		i := min(int(q*float64(len(r.latencies))), len(r.latencies)-1)
		return float64(r.latencies[i]) / float64(time.Millisecond)
	}
	r.P50, r.P99, r.Max = at(0.50), at(0.99), at(1)
}

func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
