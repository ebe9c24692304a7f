package call

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMoments(t *testing.T) {
	trace := "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"
	tests := []struct {
		name        string
		noted, asks []string
		want        bool
	}{
		{"request_id", []string{"x-request-id: a"}, []string{"X-Request-Id: a"}, true},
		{"another_request", []string{"x-request-id: a"}, []string{"x-request-id: b"}, false},
		{"none", []string{"host: a"}, []string{"host: a"}, false},
		{"trace_of_another_span", []string{"x-request-id: a", trace + "00f067aa0ba902b7-01"}, []string{"x-request-id: b", trace + "b7ad6b7169203331-00"}, true},
		{"traceparent_that_is_too_short", []string{"traceparent: 00-4bf9"}, []string{"traceparent: 00-4bf9"}, false},
		{"b3", []string{"X-B3-TraceId: 463ac"}, []string{"x-b3-traceid: 463ac"}, true},
		{"b3_in_one_field", []string{"b3: 463ac-1-1"}, []string{"b3: 463ac-2-1"}, true},
		{"b3_says_only_that_nothing_is_sampled", []string{"b3: 0"}, []string{"b3: 0"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m moments
			now := time.Unix(1000, 0)
			if !m.quiet(now) || m.since(fieldsOf(tt.asks...), now) {
				t.Error("something is remembered before anything was")
			}
			m.note(fieldsOf(tt.noted...), now)
			if got := m.since(fieldsOf(tt.asks...), now); got != tt.want {
				t.Errorf("since = %t, want %t", got, tt.want)
			}
			if m.since(fieldsOf(tt.asks...), now.Add(time.Microsecond)) {
				t.Error("what was noted before counts")
			}
			if m.quiet(now.Add(chainMemory)) || !m.quiet(now.Add(chainMemory+1)) {
				t.Error("it is not quiet after ten seconds, and no earlier")
			}
		})
	}
}

// Chains that are under way at the same time do not take each other's place: 200 of 10,000 are, one after the other.
func TestMomentsOfChainsUnderWay(t *testing.T) {
	var m moments
	now := time.Unix(1000, 0)
	const all, underWay = 10_000, 200
	lost := 0
	for i := range all {
		m.note(fieldsOf("x-request-id: "+strconv.Itoa(i)), now.Add(time.Duration(i)*time.Millisecond))
		if asked := i - underWay; asked >= 0 && !m.since(fieldsOf("x-request-id: "+strconv.Itoa(asked)), now) {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d chains were forgotten while they were under way", lost, all)
	}
}

// keyOf is a key of a set.
func keyOf(set, i int) uint64 { return uint64(i)<<11 | uint64(set) }

func TestMomentTable(t *testing.T) {
	table, set := new(momentTable), momentSets/2
	// Close to where the slots' clock begins again.
	turn := time.UnixMicro((time.Now().UnixMicro()>>momentBits + 1) << momentBits)
	at := func(i int) time.Time { return turn.Add(time.Duration(i-setWays/2) * time.Second) }
	known := func() (list []int) {
		for i := range 3 * setWays {
			if table.since(keyOf(set, i), at(0)) {
				list = append(list, i)
			}
		}
		return list
	}
	steps := []struct {
		name string
		key  int
		want []int
	}{
		{"first", 0, []int{0}},
		{"second", 1, []int{0, 1}},
		{"full", 7, []int{0, 1, 7}},
		{"again_takes_no_further_room", 0, []int{0, 1, 7}},
		{"fourth", 3, []int{0, 1, 3, 7}},
		{"fifth", 4, []int{0, 1, 3, 4, 7}},
		{"sixth", 5, []int{0, 1, 3, 4, 5, 7}},
		{"seventh", 6, []int{0, 1, 3, 4, 5, 6, 7}},
		{"eighth", 2, []int{0, 1, 2, 3, 4, 5, 6, 7}},
		{"a_ninth_takes_the_place_of_the_one_not_seen_for_longest", 8, []int{0, 2, 3, 4, 5, 6, 7, 8}},
		{"a_tenth", 9, []int{0, 2, 3, 4, 5, 6, 8, 9}},
	}
	for i, tt := range steps {
		table.note(keyOf(set, tt.key), at(i))
		if diff := cmp.Diff(tt.want, known()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if !table.since(keyOf(set, tt.key), at(i)) || table.since(keyOf(set, tt.key), at(i).Add(time.Microsecond)) {
			t.Errorf("%s: its moment is not the one at which it was noted", tt.name)
		}
	}
	if table.since(keyOf(set+1, 0), at(0)) {
		t.Error("a key of another set is known")
	}
}

// Keys are noted by many calls at a time; one of them is never read with the moment of another.
func TestMomentTableConcurrently(t *testing.T) {
	table, at := new(momentTable), time.Unix(1000, 0)
	var all sync.WaitGroup
	for i := range setWays {
		all.Go(func() {
			for n := range 1000 {
				mine := at.Add(time.Duration(i) * time.Hour)
				table.note(keyOf(0, i), mine)
				if !table.since(keyOf(0, i), mine) || table.since(keyOf(0, i), mine.Add(time.Microsecond)) {
					t.Errorf("round %d: key %d is not known as it was noted", n, i)
					return
				}
			}
		})
	}
	all.Wait()
}
