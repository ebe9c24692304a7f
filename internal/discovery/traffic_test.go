package discovery

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// traffic notes what crosses the wire, one line per message.
type traffic struct {
	mu    sync.Mutex
	lines []string
}

func (tr *traffic) hook(o *ServerOptions) {
	o.Trace.Received = func(_ ClientIdentity, r *Request) {
		tr.add(fmt.Sprintf("> +%v -%v have %d ack %v nack %d", r.Subscribe, r.Unsubscribe, len(r.InitialVersions), r.Ack > 0, len(r.Nacks)))
	}
	o.Trace.Sent = func(_ ClientIdentity, r *Response, _ int, _ time.Duration) {
		var b strings.Builder
		b.WriteString("<")
		for _, a := range r.Resources {
			switch {
			case a.Version == "":
				b.WriteString(" " + a.Name + "=absent")
			case len(a.Patch) > 0:
				b.WriteString(" " + a.Name + "=patch")
			case len(a.Body) == 0:
				b.WriteString(" " + a.Name + "=same")
			default:
				b.WriteString(" " + a.Name + "=body")
			}
		}
		for _, n := range r.Removed {
			b.WriteString(" -" + n)
		}
		if r.Synced {
			b.WriteString(" synced")
		}
		tr.add(b.String())
	}
}

func (tr *traffic) add(line string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, line)
}

func (tr *traffic) take() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	lines := tr.lines
	tr.lines = nil
	return lines
}

// sent gives the lines of the server.
func (tr *traffic) sent() (lines []string) {
	for _, l := range tr.take() {
		if strings.HasPrefix(l, "<") {
			lines = append(lines, l)
		}
	}
	return lines
}

// untilSynced gives what the server has sent until it had said everything for now, without how it was cut into messages: a writer may
// begin before all names of the first request are asked for. The client may have a message before it is noted here.
func (tr *traffic) untilSynced(t *testing.T) (answers []string) {
	t.Helper()
	eventually(t, "the server has said everything", func() bool {
		for _, line := range tr.sent() {
			line, synced := strings.CutSuffix(line, " synced")
			answers = append(answers, strings.Fields(line)[1:]...)
			if synced {
				return true
			}
		}
		return false
	})
	return answers
}
