package dns

import (
	"io"
	"strconv"
)

// outcome is what became of a question.
type outcome uint8

const (
	// answered from the table.
	answered outcome = iota
	// forwarded to an upstream, and answered by it.
	forwarded
	// failed because no upstream answered: SERVFAIL.
	failed
	// dropped because too many were in work.
	dropped
	// malformed questions cannot be read, or not answered.
	malformed
	outcomes
)

// String gives the value of the label.
func (o outcome) String() string {
	return [...]string{answered: "answered", forwarded: "forwarded", failed: "failed", dropped: "dropped", malformed: "malformed"}[o]
}

// WriteMetrics writes how many questions there were, by outcome, in the Prometheus text format 0.0.4.
func (s *Server) WriteMetrics(w io.Writer) error {
	const name = "fairlead_dns_questions_total"
	b := []byte("# TYPE " + name + " counter\n")
	for o := range outcomes {
		b = append(b, name+`{outcome="`+o.String()+`"} `...)
		b = strconv.AppendUint(b, s.counts[o].Load(), 10)
		b = append(b, '\n')
	}
	_, err := w.Write(b)
	return err
}
