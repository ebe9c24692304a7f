package telemetry

import (
	"strconv"
	"sync/atomic"
)

// silences counts how often a peer has fallen silent.
type silences struct{ n atomic.Uint64 }

// Silenced counts a peer that owes an answer and says nothing: others are called first.
func (r *Registry) Silenced() { r.silences.n.Add(1) }

func (s *silences) append(b []byte) []byte {
	const name = "fairlead_peers_silent_total"
	b = append(b, "# TYPE "+name+" counter\n"+name+" "...)
	return append(strconv.AppendUint(b, s.n.Load(), 10), '\n')
}
