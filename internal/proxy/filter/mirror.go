package filter

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// Mirror sends copies of requests to where their route's mirrors say, for the share that they say, in the background. A copy
// begins when the body has, and follows it as it is read for the request itself, which waits for nothing of that. A copy that
// cannot follow is broken off: its receiver sees that, and never takes a part for the whole.
type Mirror struct {
	run   func(func(context.Context))
	slots chan struct{}
	// held is the memory of bodies that copies have yet to send, in bytes.
	held atomic.Int64
	// skipped counts copies of which nothing was sent, cut those that were broken off, by why.
	skipped, cut [copyEnds]atomic.Uint64
}

const (
	// maxMirrors bounds the copies under way.
	maxMirrors = 256
	// maxMirrorLag is how many bytes of its body a copy may be behind the request: 1 MiB.
	maxMirrorLag = 1 << 20
	// maxMirrorHeld bounds the memory for what copies are behind, all together, in bytes: 16 MiB.
	maxMirrorHeld = 16 << 20
)

// CopyEnd is what becomes of a copy.
type CopyEnd uint8

const (
	// CopySent means that all of it was sent, whatever the answer.
	CopySent CopyEnd = iota
	// CopyNoEndpoint means that nothing is behind the mirror that could get it.
	CopyNoEndpoint
	// CopyUnreachable means that there was no connection to the endpoint.
	CopyUnreachable
	// CopyAnswered means that the endpoint did not wait for the end of the body.
	CopyAnswered
	// CopyLate means that the endpoint took nothing for too long.
	CopyLate
	// CopyBroken means that its connection broke.
	CopyBroken
	copySwitches   // the request asks for another protocol, of which there is nothing to copy
	copyBusy       // maxMirrors are under way
	copyMemory     // maxMirrorHeld is used up
	copySlow       // it is more than maxMirrorLag behind
	copyIncomplete // the request has ended before its body had

	copyEnds
)

// String gives the label of the metrics.
func (e CopyEnd) String() string {
	switch e {
	case CopySent:
		return "sent"
	case CopyNoEndpoint:
		return "no_endpoint"
	case CopyUnreachable:
		return "unreachable"
	case CopyAnswered:
		return "answered_early"
	case CopyLate:
		return "timeout"
	case CopyBroken:
		return "broken"
	case copySwitches:
		return "switches_protocols"
	case copyBusy:
		return "too_many"
	case copyMemory:
		return "memory"
	case copySlow:
		return "slow"
	case copyIncomplete:
		return "incomplete"
	case copyEnds:
	}
	return "invalid"
}

// NewMirror returns a filter that starts goroutines by run.
func NewMirror(run func(func(context.Context))) *Mirror {
	return &Mirror{run: run, slots: make(chan struct{}, maxMirrors)}
}

// Request implements Filter.
func (m *Mirror) Request(_ context.Context, c *Call) error {
	if len(c.Route.Plan.Mirrors) == 0 {
		return nil
	}
	body := new(MirroredBody)
	for i := range c.Route.Plan.Mirrors {
		to := &c.Route.Plan.Mirrors[i]
		if !chance(to.Percent) {
			continue
		}
		if c.Request.Upgrade != nil || string(c.Request.Method) == "CONNECT" {
			m.skipped[copySwitches].Add(1)
		} else if send := c.Copier.Copy(c, int(to.Backend)); send == nil {
			m.skipped[CopyNoEndpoint].Add(1)
		} else {
			body.copies = append(body.copies, newCopied(m, send))
		}
	}
	switch {
	case len(body.copies) == 0:
	case c.Whole:
		body.Add(c.Body)
		body.End(c.Trailers)
	default:
		body.Add(c.Body)
		c.Mirrored = body
	}
	return nil
}

// reserve takes memory for what copies are behind, or reports that there is none.
func (m *Mirror) reserve(n int) bool {
	if m.held.Add(int64(n)) <= maxMirrorHeld {
		return true
	}
	m.held.Add(-int64(n))
	return false
}

// ended counts a copy that was begun.
func (m *Mirror) ended(how CopyEnd) {
	if how == CopySent {
		return
	}
	if how == CopyNoEndpoint || how == CopyUnreachable {
		m.skipped[how].Add(1)
		return
	}
	m.cut[how].Add(1)
}

// WriteMetrics implements Counter.
func (m *Mirror) WriteMetrics(w io.Writer) error {
	for _, of := range []struct {
		name   string
		counts *[copyEnds]atomic.Uint64
		ends   []CopyEnd
	}{
		{"fairlead_mirror_skipped_total", &m.skipped, []CopyEnd{
			CopyNoEndpoint, CopyUnreachable, copySwitches, copyBusy, copyMemory, copySlow, copyIncomplete,
		}},
		{"fairlead_mirror_cut_total", &m.cut, []CopyEnd{
			CopyAnswered, CopyLate, CopyBroken, copyMemory, copySlow, copyIncomplete,
		}},
	} {
		if _, err := fmt.Fprintf(w, "# TYPE %s counter\n", of.name); err != nil {
			return err
		}
		for _, end := range of.ends {
			if _, err := fmt.Fprintf(w, "%s{reason=%q} %d\n", of.name, end.String(), of.counts[end].Load()); err != nil {
				return err
			}
		}
	}
	return nil
}

// MirroredBody hands the body of a request to its copies while that is read. Its methods never wait, do nothing on nil, and
// have one caller at a time.
type MirroredBody struct{ copies []*Copied }

// Add takes the next piece, which the caller may use again.
func (b *MirroredBody) Add(p []byte) {
	if b == nil || len(p) == 0 {
		return
	}
	for _, c := range b.copies {
		c.add(p)
	}
}

// End says that the body has come to its end. trailers may be nil, and are copied.
func (b *MirroredBody) End(trailers *httpx.Fields) {
	if b == nil {
		return
	}
	for _, c := range b.copies {
		c.end(trailers)
	}
}

// Cut says that no more comes: copies that have not got all are broken off.
func (b *MirroredBody) Cut() {
	if b == nil {
		return
	}
	for _, c := range b.copies {
		c.incomplete()
	}
}
