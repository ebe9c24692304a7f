package trace

import (
	"fmt"
	"io"
)

// WriteMetrics writes what became of contexts and spans, in the Prometheus text format 0.0.4.
func (t *Tracer) WriteMetrics(w io.Writer) error {
	c := t.Counts()
	const contexts, sent, dropped = "fairlead_trace_contexts_total", "fairlead_trace_spans_sent_total", "fairlead_trace_spans_dropped_total"
	_, err := fmt.Fprintf(w, "# TYPE %s counter\n", contexts)
	for _, s := range []struct {
		side string
		of   *Side
	}{{"client", &t.Client}, {"server", &t.Server}} {
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%[1]s{side=%[2]q,context=\"kept\"} %[3]d\n%[1]s{side=%[2]q,context=\"begun\"} %[4]d\n%[1]s{side=%[2]q,context=\"lost\"} %[5]d\n",
			contexts, s.side, s.of.Kept.Load(), s.of.Begun.Load(), s.of.Lost.Load())
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "# TYPE %[1]s counter\n%[1]s %[2]d\n# TYPE %[3]s counter\n%[3]s{reason=\"full\"} %[4]d\n%[3]s{reason=\"refused\"} %[5]d\n%[3]s{reason=\"unreachable\"} %[6]d\n",
		sent, c.Sent, dropped, c.Full, c.Refused, c.Failed)
	return err
}
