package discovery

import (
	"fmt"
	"time"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/model"
)

// HealthReport is message HealthReport: what the checks of the client's workload have found, complete.
type HealthReport struct{ Results []model.CheckResult }

const (
	// MaxResults bounds the results in one report, and maxPolicy and maxWhy the texts of each, in bytes.
	MaxResults        = 16
	maxPolicy, maxWhy = 63, 256
	// healthWork is what a report costs of the budget that bounds a pod's requests, in bytes: four per second in the long
	// run, beyond a burst.
	healthWork = workRate / 4
)

var errHealth = fmt.Errorf("HealthReport: more than %d results, or one without a policy of 1 to %d bytes", MaxResults, maxPolicy)

func (h *HealthReport) append(b []byte) []byte {
	for i := range h.Results {
		r := &h.Results[i]
		m := appendText(nil, 1, r.Policy)
		if r.Failing {
			m = appendNumber(m, 2, 1)
		}
		m = appendText(m, 3, r.Why)
		if s := r.Since.Unix(); s > 0 {
			m = appendNumber(m, 4, uint64(s))
		}
		b = appendBytes(b, 1, m)
	}
	return b
}

func parseHealthReport(b []byte) (*HealthReport, error) {
	h := &HealthReport{}
	err := eachField(b, func(n int, v []byte, _ uint64) error {
		if n != 1 {
			return nil
		}
		r, err := parseCheckResult(v)
		if err != nil {
			return err
		}
		if _, again := (&model.PodHealth{Results: h.Results}).Result(r.Policy); again || len(h.Results) >= MaxResults {
			return errHealth
		}
		h.Results = append(h.Results, r)
		return nil
	})
	return h, err
}

func parseCheckResult(b []byte) (r model.CheckResult, err error) {
	err = eachField(b, func(n int, v []byte, number uint64) error {
		switch n {
		case 1:
			r.Policy = string(v)
		case 2:
			r.Failing = number != 0
		case 3:
			r.Why = note(v[:min(len(v), maxWhy)])
		case 4:
			r.Since = time.Unix(int64(number&(1<<40-1)), 0).UTC()
		}
		return nil
	})
	if err == nil && (r.Policy == "" || len(r.Policy) > maxPolicy || !utf8.ValidString(r.Policy)) {
		err = errHealth
	}
	return r, err
}

// ReportHealth tells the control plane what the checks of the workload have found, now and at the beginning of each
// further conversation, until it is called again. It does not block. Results beyond MaxResults are left out.
func (c *Client) ReportHealth(results []model.CheckResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health = &HealthReport{Results: results[:min(len(results), MaxResults)]}
	if c.session != nil {
		c.session.health = c.health
		poke(c.session.wake)
	}
}

// ClientHealth is what a client has reported on one stream.
type ClientHealth struct {
	Client ClientIdentity
	// Stream tells streams apart; those that began later have higher numbers.
	Stream uint64
	// Report is nil where the stream has ended.
	Report *HealthReport
}

// healthReported hands a report on, of a client that is known as a pod.
func (st *stream) healthReported(report *HealthReport) {
	if st.s.o.Health == nil || st.client.Pod == "" {
		return
	}
	st.reports = true
	st.s.o.Health(ClientHealth{Client: st.client, Stream: st.number, Report: report})
}
