package dashboard

import (
	"context"
	"net/http"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/traffic"
)

// Series is how calls went over time, in columns, as charts take them. T is seconds since 1970; null is where nothing was counted.
// Rates are per second, durations milliseconds.
type Series struct {
	T       []int64    `json:"t"`
	RPS     []*float64 `json:"rps"`
	Success []*float64 `json:"success"`
	P50     []*float64 `json:"p50"`
	P95     []*float64 `json:"p95"`
	P99     []*float64 `json:"p99"`
	// Step is the seconds from one to the next.
	Step    float64 `json:"step"`
	Note    string  `json:"note,omitempty"`
	Command string  `json:"command"`
}

// series answers for one workload, pair of them, Service or namespace, or for all.
func (s *Server) series(ctx context.Context, r *http.Request) (any, error) {
	w, err := spanOf(r, windowSeconds)
	if err != nil {
		return nil, err
	}
	q, query := r.URL.Query(), w.query()
	for _, name := range []string{"node", "src", "service", "ns"} {
		if value := q.Get(name); value != "" {
			query.Set(name, value)
		}
	}
	if dst := q.Get("dst"); dst != "" {
		query.Set("node", dst)
	}
	answers, missing, err := ask[traffic.Series](ctx, s, observe.ViewSeries, query)
	if err != nil {
		return nil, err
	}
	out := columns(traffic.MergeSeries(answers))
	out.Note = missing
	out.Command = s.seriesCommand(query.Get("node"), query.Get("service"), query.Get("ns")) + " " + w.flag()
	return out, nil
}

// seriesCommand prints the same numbers, of all of the window together.
func (s *Server) seriesCommand(node, service, namespace string) string {
	if parts := strings.SplitN(node, "/", 3); len(parts) == 3 && parts[0] != "-" {
		if strings.Contains(parts[2], "@") { // of another cluster: who called it from here is known, and no more
			return s.command("edges", parts[1], "-n", parts[0])
		}
		return s.command("stat", parts[1]+"/"+parts[2], "-n", parts[0])
	}
	if ns, name, ok := strings.Cut(service, "/"); ok {
		return s.command("stat svc/"+name, "-n", ns)
	}
	if namespace != "" {
		return s.command("stat ns/" + namespace)
	}
	return s.command("stat deploy", s.everywhere())
}

// columns lays points out without gaps: what is between the first and the last, and is not there, is null.
func columns(from traffic.Series) *Series {
	out := &Series{T: []int64{}, RPS: []*float64{}, Success: []*float64{}, P50: []*float64{}, P95: []*float64{}, P99: []*float64{}, Step: from.Seconds}
	step := int64(from.Seconds)
	const most = windowSeconds // of a step of a second
	for i := range from.Points {
		p := &from.Points[i]
		for n := len(out.T); n > 0 && step > 0 && out.T[n-1]+step < p.At && n < most; n++ {
			out.add(out.T[n-1]+step, nil, nil, nil)
		}
		sample := p.Sample()
		n := sample.Requests()
		if n == 0 {
			out.add(p.At, nil, nil, nil)
			continue
		}
		rps, success := float64(n)/from.Seconds, float64(sample.Successes())/float64(n)
		out.add(p.At, &rps, &success, &sample.Latency)
	}
	return out
}

func (s *Series) add(at int64, rps, success *float64, latency *traffic.Histogram) {
	quantile := func(q float64) *float64 {
		if latency == nil {
			return nil
		}
		ms := float64(latency.Quantile(q)) / float64(time.Millisecond)
		return &ms
	}
	s.T, s.RPS, s.Success = append(s.T, at), append(s.RPS, rps), append(s.Success, success)
	s.P50, s.P95, s.P99 = append(s.P50, quantile(0.5)), append(s.P95, quantile(0.95)), append(s.P99, quantile(0.99))
}
