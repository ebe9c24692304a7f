package trace

import (
	"fmt"
	"io"
)

// WriteMetrics writes what became of contexts and spans, in the Prometheus text format 0.0.4.
func (t *Tracer) WriteMetrics(w io.Writer) error {
	const contexts = "fairlead_trace_contexts_total"
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
	return t.Counts().WriteMetrics(w, "fairlead_trace_spans_sent_total", "fairlead_trace_spans_dropped_total")
}
