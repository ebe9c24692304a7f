package history

import (
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/traffic"
)

// TestWindowsInThePast: one request in the first step, two in the second, and so on for an hour. A window that ends in the past
// has exactly its own steps, or whole minutes where these are all that is kept, and its parts add up to it.
func TestWindowsInThePast(t *testing.T) {
	c := newClock()
	st := New(c.now, DefaultMaxEdges)
	begin := c.at
	const steps = 360
	for i := range uint64(steps) {
		st.Add(pod(0), report(traffic.Row{Edge: edge("users"), Sample: requests(i + 1)}))
		if i < steps-1 {
			c.at = c.at.Add(Step)
		}
	}
	for _, tt := range []struct {
		name        string
		to          time.Duration // since the beginning
		window      time.Duration
		first, last uint64 // the steps that count, from 1
		parts       int
		seconds     float64
	}{
		{"just_now", 3590 * time.Second, time.Minute, 355, 360, 6, 10},
		{"five_minutes_ago", 3290 * time.Second, time.Minute, 325, 330, 6, 10},
		{"half_an_hour_ago", 1790 * time.Second, time.Minute, 175, 180, 1, 60},
		{"between_two_minutes", 1820 * time.Second, time.Minute, 175, 180, 1, 60},
		{"later_than_now", 2 * time.Hour, time.Minute, 355, 360, 6, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := Query{Window: tt.window, To: begin.Add(tt.to)}
			want := (tt.last - tt.first + 1) * (tt.first + tt.last) / 2
			a := st.Sum(q)
			if len(a.Flows) != 1 {
				t.Fatalf("%d flows", len(a.Flows))
			}
			sum := a.Flows[0].Sample()
			if sum.Requests() != want || a.Flows[0].Seconds != float64(10*(tt.last-tt.first+1)) {
				t.Errorf("%d requests in %v s, want %d", sum.Requests(), a.Flows[0].Seconds, want)
			}
			s := st.Series(q)
			total := uint64(0)
			for i := range s.Points {
				one := s.Points[i].Sample()
				total += one.Requests()
			}
			if len(s.Points) != tt.parts || s.Seconds != tt.seconds || total != want {
				t.Errorf("%d parts of %v s with %d requests, want %d of %v s with %d", len(s.Points), s.Seconds, total, tt.parts, tt.seconds, want)
			}
		})
	}
}
