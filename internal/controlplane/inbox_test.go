package controlplane

import (
	"testing"

	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/source"
)

// TestInboxKeepsTheNewest: of each thing the newest is there, and what was taken is not there again.
func TestInboxKeepsTheNewest(t *testing.T) {
	wake := make(chan struct{}, 1)
	b := newInbox(wake)
	older, newer := objects(t, usersSlice(1))[0], objects(t, usersSlice(2))[0]
	service := objects(t, usersService)[0]
	b.receive(source.Change{Upserts: []source.Object{older, service}, Problems: []model.Problem{{Message: "solved since"}}})
	b.receive(source.Change{Upserts: []source.Object{newer}, Deletes: []model.Ref{service.Ref}})
	b.fix(&plan.TrustBundle{})
	b.deliver(func() {})
	for range 2 { // who pokes twice wakes once, and blocks nowhere
		b.seal(sealKeys{{1}})
	}
	<-wake
	w := b.take()
	if o, there := w.objects[service.Ref]; len(w.objects) != 2 || w.objects[newer.Ref].Value != newer.Value || o != nil || !there {
		t.Errorf("objects = %v, want the newer slice and the end of the Service", w.objects)
	}
	if !w.fresh || len(w.reading) != 0 || w.since.IsZero() || len(w.fixed) != 1 || len(w.results) != 1 || len(w.seals) != 1 {
		t.Errorf("work = %+v", w)
	}
	if again := b.take(); again.fresh || len(again.objects)+len(again.fixed)+len(again.results)+len(again.seals) != 0 {
		t.Errorf("taken twice: %+v", again)
	}
}

// TestInboxOfHealth: what a stream says after another one has begun is nothing, and the end of one does not take its last
// report away.
func TestInboxOfHealth(t *testing.T) {
	b := newInbox(make(chan struct{}, 1))
	pod := discovery.ClientIdentity{Namespace: "myapp", Pod: "users-a"}
	say := func(stream uint64, report *discovery.HealthReport) {
		b.receiveHealth(discovery.ClientHealth{Client: pod, Stream: stream, Report: report})
	}
	report := &discovery.HealthReport{}
	say(2, report)
	say(1, &discovery.HealthReport{})
	say(2, nil)
	say(1, nil)
	if got := b.take().health[podKey(pod)]; got == nil || got.Report != report || got.Stream != 2 || !got.ended {
		t.Errorf("health = %+v, want the report of stream 2, which has ended", got)
	}
}
