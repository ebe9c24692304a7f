package trace

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/otlp"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/telemetry"
)

// Side is what is done about traces in the requests of one side. It is safe for concurrent use.
type Side struct {
	rules atomic.Pointer[rules] // nil for nothing
	// Kept, Begun and Lost count requests by where their context is from: they brought it along, they begin a trace, or they are
	// calls of the app without one while it answers requests that have one.
	Kept, Begun, Lost atomic.Uint64
	// Serving is the requests to the app that have a context, and are under way.
	Serving *atomic.Int64
}

// rules are a plan.Tracing ready for use.
type rules struct {
	plan   plan.Tracing
	below  uint64 // random numbers below it are sampled
	report bool   // spans are made
	out    *otlp.Output
	encode func([]byte, *span, *who, *rules) []byte // for that collector
	tags   []tag
}

func newRules(t *plan.Tracing, o *Options) *rules {
	if t == nil {
		return nil
	}
	r := &rules{plan: *t, report: t.Provider != nil && t.Provider.Protocol != 0 && !t.NoReport, encode: appendOTLP}
	if t.Provider != nil && t.Provider.Protocol == model.TraceZipkin {
		r.encode = appendZipkin
	}
	switch p := t.Sampling / 100; {
	case p >= 1:
		r.below = math.MaxUint64
	case p > 0:
		r.below = uint64(p * (1 << 63) * 2)
	}
	for _, t := range t.Tags {
		if own := newTag(t, o); own.name != "" {
			r.tags = append(r.tags, own)
		}
	}
	return r
}

// Describe says in words what is done.
func (s *Side) Describe() string {
	r := s.rules.Load()
	switch {
	case r == nil:
		return "off"
	case r.plan.Provider == nil:
		return "passed on"
	case !r.report:
		return fmt.Sprintf("%v%%, not sent", r.plan.Sampling)
	}
	return fmt.Sprintf("%v%% to %s", r.plan.Sampling, r.plan.Provider.Name)
}

// decide decides about a request that comes without a decision.
func (r *rules) decide(f *httpx.Fields) Decision {
	if !r.plan.SampleAtRandom {
		if d := r.decideByID(f.Get("x-request-id")); d != Undecided {
			return d
		}
	}
	return r.sample()
}

// The form of a UUID, "9f0a1b2c-…": Envoy has its decision in a digit of it, and samples by the first ones (envoy
// source/extensions/request_id/uuid/config.cc).
const (
	uuidLen    = 36
	uuidReason = 14
	uuidNumber = 8
	fineness   = 10_000 // of sampling
)

// decideByID decides by the id of a request, so that all requests with it are sampled alike. Undecided means that it is none.
func (r *rules) decideByID(id []byte) Decision {
	if len(id) != uuidLen {
		return Undecided
	}
	var n [uuidNumber / 2]byte
	if !unhex(n[:], id[:uuidNumber]) {
		return Undecided
	}
	switch id[uuidReason] {
	case '9', 'a', 'b': // an Envoy before this sidecar has sampled it, was made to, or its client asked for it
		return Sampled
	}
	if float64(binary.BigEndian.Uint32(n[:])%fineness) < r.plan.Sampling*(fineness/100) {
		return Sampled
	}
	return Dropped
}

func (r *rules) sample() Decision {
	if r.below == math.MaxUint64 || r.below > 0 && rand.Uint64() < r.below { //nolint:gosec // a sample keeps no secret
		return Sampled
	}
	return Dropped
}

// Call is what a request is in its trace. The zero value is in none.
type Call struct {
	rules *rules
	ctx   Context
	span  SpanID // of the latest try
	began time.Time
	try   int
	// decided says that the decision is this sidecar's, written that the head has the context, serving that Serve counts it.
	decided, written, serving bool
}

// Begin reads the head of a request, and decides. Nothing of the head is changed yet.
func (s *Side) Begin(f *httpx.Fields) (c Call) {
	if c.rules = s.rules.Load(); c.rules == nil {
		return c
	}
	c.ctx = Read(f)
	has := c.ctx.Trace != (ID{}) || c.ctx.Decision != Undecided
	switch {
	case has:
		s.Kept.Add(1)
	case s.Serving != nil && s.Serving.Load() > 0:
		s.Lost.Add(1)
	default:
		s.Begun.Add(1)
	}
	if c.rules.plan.Provider == nil {
		return c
	}
	if c.ctx.Trace == (ID{}) {
		c.ctx.Trace = newID()
	}
	if c.ctx.Decision == Undecided {
		c.ctx.Decision, c.decided = c.rules.decide(f), true
	}
	return c
}

// Traced says that something is done about the request's trace.
func (c *Call) Traced() bool { return c.rules != nil }

// Serve counts a request to the app that calls of it may belong to, until Served.
func (c *Call) Serve(n *atomic.Int64) {
	if c.rules != nil && c.ctx.Trace != (ID{}) {
		c.serving = true
		n.Add(1)
	}
}

// Served ends what Serve began.
func (c *Call) Served(n *atomic.Int64) {
	if c.serving {
		c.serving = false
		n.Add(-1)
	}
}

// Reports says that spans are made of the request.
func (c *Call) Reports() bool {
	return c.rules != nil && c.rules.report && c.ctx.Decision == Sampled
}

// Try begins a try: it has a span of its own, which the head says. What is not sampled is written once, and not at all where it
// came in W3C's form: who gets it learns nothing new. So is a context whose spans are not sent: its parent is one that is.
func (c *Call) Try(f *httpx.Fields, now time.Time) {
	if c.rules == nil || c.rules.plan.Provider == nil {
		return
	}
	c.try++
	if c.Reports() {
		c.began, c.span = now, newSpanID()
		if !c.rules.plan.NoPropagation {
			c.ctx.write(f, c.span)
		}
		return
	}
	if c.written || c.rules.plan.NoPropagation {
		return
	}
	c.written = true
	if c.ctx.Forms&W3C != 0 && !c.ctx.broken {
		return
	}
	o, span := c.ctx, c.ctx.Parent
	switch {
	case span == (SpanID{}):
		span = newSpanID()
	case !c.decided:
		o.Forms &= W3C // the others say it already
	}
	o.Parent = SpanID{}
	o.write(f, span)
}

// Record gives what the record of the latest try says of its trace.
func (c *Call) Record() (t telemetry.Trace) {
	if c.rules == nil || c.ctx.Trace == (ID{}) {
		return t
	}
	t = telemetry.Trace{ID: c.ctx.Trace, Parent: c.ctx.Parent, Sampled: c.ctx.Decision == Sampled, Try: c.try}
	if c.Reports() {
		if c.span == (SpanID{}) { // it was not sent anywhere
			c.span = newSpanID()
		}
		t.Span, t.Began, t.Spans = c.span, c.began, true
	}
	return t
}
