package history

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/traffic"
)

// BenchmarkStore: a report of twenty edges, and a question about an hour of a hundred such sidecars.
func BenchmarkStore(b *testing.B) {
	c := newClock()
	st := New(c.now, Defaults())
	r := rand.New(rand.NewPCG(1, 2))
	rep := report()
	for e := range 20 {
		rep.Rows = append(rep.Rows, traffic.Row{Edge: edge(fmt.Sprint("peer-", e)), Sample: busy(r, 50, 12)})
	}
	for range hour {
		c.at = c.at.Add(Step)
		for i := range 100 {
			st.Add(pod(i), rep)
		}
	}
	b.Run("report", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.at = c.at.Add(Step / 100)
			st.Add(pod(b.N%100), rep)
		}
	})
	b.Run("hour", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			st.Sum(Query{Window: time.Hour})
		}
	})
}
