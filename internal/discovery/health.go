package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/protofield"
)

// HealthReport is message HealthReport: what the checks of the client's workload have found, and those that the client makes of
// other endpoints, complete.
type HealthReport struct {
	Results []model.CheckResult
	Probes  []model.ProbeResult
	// Prober means that the client makes the probes that its inbound policy asks for.
	Prober bool
}

const (
	// MaxResults bounds the results in one report, and maxPolicy and maxWhy the texts of each, in bytes.
	MaxResults        = 16
	maxPolicy, maxWhy = 63, 256
	// maxProbes bounds the results of probes in one report, and maxPolicyKey their policies, in bytes.
	maxProbes, maxPolicyKey = 128, 2*maxPolicy + 1
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
	for i := range h.Probes {
		b = appendBytes(b, 2, appendProbeResult(nil, &h.Probes[i]))
	}
	if h.Prober {
		b = appendNumber(b, 3, 1)
	}
	return b
}

func appendProbeResult(b []byte, r *model.ProbeResult) []byte {
	b = appendText(b, 1, r.Target.Policy.String())
	b = appendBytes(b, 2, r.Target.Addr.Addr().AsSlice())
	b = appendNumber(b, 3, uint64(r.Target.Addr.Port()))
	if r.Failing {
		b = appendNumber(b, 4, 1)
	}
	b = appendText(b, 5, r.Why)
	if s := r.Since.Unix(); s > 0 {
		b = appendNumber(b, 6, uint64(s))
	}
	return appendNumber(b, 7, milliseconds(r.Age))
}

func parseHealthReport(b []byte) (*HealthReport, error) {
	h := &HealthReport{}
	err := protofield.Each(b, func(n int, v []byte, number uint64) error {
		switch n {
		case 1:
			r, err := parseCheckResult(v)
			if err != nil {
				return err
			}
			if _, again := (&model.PodHealth{Results: h.Results}).Result(r.Policy); again || len(h.Results) >= MaxResults {
				return errHealth
			}
			h.Results = append(h.Results, r)
		case 2:
			r, err := parseProbeResult(v)
			if err != nil {
				return err
			}
			if len(h.Probes) >= maxProbes || slices.ContainsFunc(h.Probes, func(p model.ProbeResult) bool { return p.Target == r.Target }) {
				return errProbes
			}
			h.Probes = append(h.Probes, r)
		case 3:
			h.Prober = number != 0
		}
		return nil
	})
	return h, err
}

var errProbes = fmt.Errorf("HealthReport: more than %d probes, one twice, or one without a policy and an address", maxProbes)

func parseProbeResult(b []byte) (r model.ProbeResult, err error) {
	var policy string
	var addr netip.Addr
	var port uint16
	err = protofield.Each(b, func(n int, v []byte, number uint64) error {
		switch n {
		case 1:
			policy = string(v)
		case 2:
			addr, _ = netip.AddrFromSlice(v)
		case 3:
			port = uint16(number)
		case 4:
			r.Failing = number != 0
		case 5:
			r.Why = note(v[:min(len(v), maxWhy)])
		case 6:
			r.Since = unixTime(number)
		case 7:
			r.Age = duration(number)
		}
		return nil
	})
	namespace, name, ok := strings.Cut(policy, "/")
	if err == nil && (!ok || namespace == "" || name == "" || len(policy) > maxPolicyKey || !utf8.ValidString(policy) || !addr.IsValid() || port == 0) {
		err = errProbes
	}
	r.Target = model.ProbeTarget{Policy: model.Key{Namespace: namespace, Name: name}, Addr: netip.AddrPortFrom(addr.Unmap(), port)}
	return r, err
}

// unixTime reads seconds that are far from what a time can hold.
func unixTime(seconds uint64) time.Time { return time.Unix(int64(seconds&(1<<40-1)), 0).UTC() }

func parseCheckResult(b []byte) (r model.CheckResult, err error) {
	err = protofield.Each(b, func(n int, v []byte, number uint64) error {
		switch n {
		case 1:
			r.Policy = string(v)
		case 2:
			r.Failing = number != 0
		case 3:
			r.Why = note(v[:min(len(v), maxWhy)])
		case 4:
			r.Since = unixTime(number)
		}
		return nil
	})
	if err == nil && (r.Policy == "" || len(r.Policy) > maxPolicy || !utf8.ValidString(r.Policy)) {
		err = errHealth
	}
	return r, err
}

// Report changes what the client tells the control plane of its checks, now and at the beginning of each further conversation,
// until it is called again. It does not block. Results beyond MaxResults, and probes beyond maxProbes, are left out.
func (c *Client) Report(change func(*HealthReport)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := &HealthReport{}
	if c.health != nil {
		*next = *c.health
	}
	change(next)
	next.Results = next.Results[:min(len(next.Results), MaxResults)]
	next.Probes = next.Probes[:min(len(next.Probes), maxProbes)]
	c.health = next
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
