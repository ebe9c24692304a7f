package main

import (
	"context"
	"slices"
	"strings"
	"testing"
)

func TestIntendedIsAPartOfWhatTheSlowestTakes(t *testing.T) {
	all := []Capacity{{ours, 20000}, {"envoy", 5219}, {"nginx", 15000}}
	for _, tt := range []struct {
		name string
		part float64
		of   []Capacity
		want int
	}{
		{"half", 0.5, all, 2600},
		{"four_fifths", 0.8, all, 4170},
		{"ours_is_the_slowest", 0.5, []Capacity{{ours, 900}, {"envoy", 5219}}, 450},
		{"who_takes_nothing_is_not_the_slowest", 0.5, []Capacity{{"envoy", 0}, {"nginx", 100}}, 50},
		{"never_none_which_would_be_a_closed_loop", 0.5, []Capacity{{"envoy", 3}}, 1},
		{"nobody", 0.5, nil, 0},
		{"nobody_takes_anything", 0.5, []Capacity{{"envoy", 0}}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := intended(tt.part, tt.of); got != tt.want {
				t.Errorf("intended = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestTheReportSaysWhereARateComesFrom(t *testing.T) {
	c := CellRun{Cell: partly(0.8), Capacity: []Capacity{{ours, 20000}, {"envoy", 5219.4}}, Blocks: []Block{{Of: ours, CPU: 1}}}
	c.Rate = intended(c.Part, c.Capacity)
	run := &Run{Cells: []*CellRun{&c}}
	const want = "1 round. 4170 requests/s for each, 80 % of what envoy takes. Taken, where each connection asks again once it is answered: fairlead 20000, envoy 5219."
	page, err := Page(run)
	if text := Markdown(run); err != nil || !strings.Contains(text, want) || !strings.Contains(page, want) {
		t.Errorf("the reports lack %q, %v:\n%s", want, err, text)
	}
	c.Part, c.Rate = 0, 1000
	if got := asked(&c); got != "" {
		t.Errorf("of a rate that was given: %q", got)
	}
}

// TestCapacitiesAreAskedOnce has cells of the same connections share them, and those without a goal left out.
func TestCapacitiesAreAskedOnce(t *testing.T) {
	r := crew()
	cell, known := partly(0.5), []Capacity{{ours, 100}}
	r.takes = map[string][]Capacity{}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := r.capacities(ended, &cell, nil); got != nil || len(r.takes) != 0 {
		t.Errorf("a run that was ended knows what they take: %v", r.takes)
	}
	r.capacities(t.Context(), &cell, nil)
	for key := range r.takes {
		r.takes[key] = known
	}
	other := partly(0.8)
	if got := r.capacities(t.Context(), &other, r.contestants); !slices.Equal(got, known) {
		t.Errorf("asked again: %v", got)
	}
}
