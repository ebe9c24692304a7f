package view

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"fairlead.dev/fairlead/internal/traffic"
)

// MetricsRow is one line of "x metrics": how the calls to a workload go.
type MetricsRow struct {
	Workload string
	// RPS and ErrorRPS are per second; an error is an answer of 400 and above, or none, as "istioctl x metrics" takes it.
	RPS, ErrorRPS float64
	P50, P90, P99 time.Duration
}

// Metrics tells of the workloads of that name, of whatever kind, in the namespace; one that nobody has called has zeros. The called
// sidecar is asked, or the caller's where there is no other.
func Metrics(a *traffic.Answer, workload, namespace string) (MetricsRow, error) {
	row := MetricsRow{Workload: workload}
	all, _ := hops(a)
	is := func(p *traffic.Pod) bool { return p != nil && p.Workload == workload && p.Namespace == namespace }
	if !slices.ContainsFunc(a.Pods, func(p traffic.Pod) bool { return is(&p) }) {
		return row, fmt.Errorf("no workload %q in namespace %s; another namespace is written as %s.NAMESPACE, or with -n", workload, namespace, workload)
	}
	var total traffic.Sample
	for i := range all {
		h := &all[i]
		n := h.sample.Requests()
		if n == 0 || h.seconds <= 0 || !h.counts(false) || !is(h.dst.pod) || h.dst.elsewhere {
			continue
		}
		total.Add(&h.sample)
		row.RPS += float64(n) / h.seconds
		row.ErrorRPS += float64(h.sample.Responses[0]+h.sample.Responses[4]+h.sample.Responses[5]) / h.seconds
	}
	row.P50, row.P90, row.P99 = total.Latency.Quantile(0.5), total.Latency.Quantile(0.9), total.Latency.Quantile(0.99)
	return row, nil
}

// WriteMetrics writes the table that istioctl writes.
func WriteMetrics(w io.Writer, rows []MetricsRow) error {
	tw := tabwriter.NewWriter(w, 13, 1, 2, ' ', tabwriter.AlignRight)
	line := func(cells ...any) { fmt.Fprintf(tw, "%40s\t%s\t%s\t%s\t%s\t%s\t\n", cells...) }
	line("WORKLOAD", "TOTAL RPS", "ERROR RPS", "P50 LATENCY", "P90 LATENCY", "P99 LATENCY")
	slices.SortStableFunc(rows, func(a, b MetricsRow) int { return cmp.Compare(a.Workload, b.Workload) })
	for i := range rows {
		r := &rows[i]
		line(r.Workload, fmt.Sprintf("%.3f", r.RPS), fmt.Sprintf("%.3f", r.ErrorRPS), whole(r.P50), whole(r.P90), whole(r.P99))
	}
	return tw.Flush()
}

// whole is a duration to the tenth of a millisecond.
func whole(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }
