package controlplane

import (
	"slices"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// TestStagingKeepsTheNewestOfEach: of two changes of one object the later one is made, a lane that is not due stays, and the
// time is that of the oldest change for as long as one is left.
func TestStagingKeepsTheNewestOfEach(t *testing.T) {
	s := newStaging()
	var made []string
	change := func(name string) func(*store.Txn) { return func(*store.Txn) { made = append(made, name) } }
	slice, route := model.Ref{Kind: "EndpointSlice"}, model.Ref{Kind: "VirtualService"}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s.seen(start)
	s.config(route, change("route"), start)
	s.seen(start.Add(time.Second))
	s.endpoint(slice, change("older slice"))
	s.endpoint(slice, change("newer slice"))

	due := s.pacer.take(start)
	s.flush(nil, due)
	if want := []string{"newer slice"}; !slices.Equal(made, want) {
		t.Errorf("made at once: %q, want %q", made, want)
	}
	if !s.since.Equal(start) {
		t.Errorf("since %s while the route waits, want %s", s.since, start)
	}
	s.flush(nil, s.pacer.take(start.Add(configQuiet)))
	if want := []string{"newer slice", "route"}; !slices.Equal(made, want) {
		t.Errorf("made when it was quiet: %q, want %q", made, want)
	}
	if !s.since.IsZero() {
		t.Errorf("since %s though nothing is staged", s.since)
	}
	s.endpoint(slice, change("slice"))
	if got := s.pacer.take(start.Add(configQuiet)); !got[laneEndpoints] {
		t.Errorf("due %v after a pause, want the endpoints", got)
	}
	s.endpoint(slice, change("slice"))
	if got := s.pacer.take(start.Add(configQuiet + time.Millisecond)); got[laneEndpoints] {
		t.Error("an endpoint that comes soon after another one does not wait")
	}
	s.hurry()
	if got := s.pacer.take(start.Add(configQuiet + time.Millisecond)); !got[laneEndpoints] {
		t.Error("what is urgent waits")
	}
}
