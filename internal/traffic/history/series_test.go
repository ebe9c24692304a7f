package history

import (
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/traffic"
)

// TestWindowsInThePast: one request in the first step, two in the second, and so on for an hour. A window that ends in the past
// has exactly its own steps, or whole minutes where there is no memory for more, and its parts add up to it.
func TestWindowsInThePast(t *testing.T) {
	for _, tt := range []struct {
		name        string
		bytes       int
		to          time.Duration // since the beginning
		window      time.Duration
		each        time.Duration
		first, last uint64 // the steps that count, from 1
		parts       int
		seconds     float64
	}{
		{"just_now", DefaultMaxBytes, 3590 * time.Second, time.Minute, 0, 355, 360, 6, 10},
		{"five_minutes_ago", DefaultMaxBytes, 3290 * time.Second, time.Minute, 0, 325, 330, 6, 10},
		{"half_an_hour_ago", DefaultMaxBytes, 1790 * time.Second, time.Minute, 0, 175, 180, 6, 10},
		{"between_two_minutes", DefaultMaxBytes, 1820 * time.Second, time.Minute, 0, 178, 183, 6, 10},
		{"in_parts_of_a_minute", DefaultMaxBytes, 1820 * time.Second, time.Minute, time.Minute, 178, 183, 2, 60},
		{"all", DefaultMaxBytes, 3590 * time.Second, time.Hour, 0, 1, 360, 360, 10},
		{"later_than_now", DefaultMaxBytes, 2 * time.Hour, time.Minute, 0, 355, 360, 6, 10},
		{"five_minutes_ago_in_little_memory", 1, 3290 * time.Second, time.Minute, 0, 325, 330, 6, 10},
		{"half_an_hour_ago_in_little_memory", 1, 1790 * time.Second, time.Minute, 0, 175, 180, 1, 60},
		{"between_two_minutes_in_little_memory", 1, 1820 * time.Second, time.Minute, 0, 175, 180, 1, 60},
		{"all_in_little_memory", 1, 3590 * time.Second, time.Hour, 0, 1, 360, 60, 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			st := New(c.now, Options{MaxEdges: DefaultMaxEdges, MaxBytes: tt.bytes})
			begin := c.at
			const steps = 360
			for i := range uint64(steps) {
				st.Add(pod(0), report(traffic.Row{Edge: edge("users"), Sample: requests(i + 1)}))
				if i < steps-1 {
					c.at = c.at.Add(Step)
				}
			}
			q := Query{Window: tt.window, To: begin.Add(tt.to), Each: tt.each}
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

// TestIdleEdges: one request every few minutes for three hours. Each is there once, for an hour, and blocks of few samples end.
func TestIdleEdges(t *testing.T) {
	c := newClock()
	st := New(c.now, Defaults())
	for range 60 {
		for range 3 {
			st.Add(pod(0), report(traffic.Row{Edge: edge("users"), Sample: requests(1)}))
			c.at = c.at.Add(Step)
		}
		c.at = c.at.Add(3*time.Minute - 3*Step)
	}
	c.at = c.at.Add(-3 * time.Minute)
	for _, tt := range []struct {
		window time.Duration
		want   uint64
	}{{Step, 1}, {3 * time.Minute, 3}, {3*time.Minute + Step, 4}, {30 * time.Minute, 30}, {time.Hour, 60}} {
		if sum, _, _ := total(st, tt.window); sum.Requests() != tt.want {
			t.Errorf("window %s: %d requests, want %d", tt.window, sum.Requests(), tt.want)
		}
	}
}

// TestAClockThatIsSetBack loses nothing.
func TestAClockThatIsSetBack(t *testing.T) {
	c := newClock()
	st := New(c.now, Defaults())
	for i := range 40 {
		st.Add(pod(0), report(traffic.Row{Edge: edge("users"), Sample: requests(1)}))
		c.at = c.at.Add(Step)
		if i == 20 {
			c.at = c.at.Add(-2 * time.Minute)
		}
	}
	if sum, _, _ := total(st, time.Hour); sum.Requests() != 40 {
		t.Errorf("%d requests, want 40", sum.Requests())
	}
}
