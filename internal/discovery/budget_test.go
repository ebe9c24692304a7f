//go:build !race

package discovery

import (
	"testing"
	"time"
)

// What an endpoint event may cost for each subscriber, from Changed to the acknowledgement: measured 0 allocations to send it, 1 for the
// message of the acknowledgement, and 104 bytes as one write.
const (
	budgetEvent = 0
	budgetAck   = 1
	budgetBytes = 150
)

// TestBudgetEvent: of an endpoint that comes and goes, each subscriber is told in one message, which costs no memory.
func TestBudgetEvent(t *testing.T) {
	source, server := newSwing(t)
	out := &drain{}
	st := follow(t, server, "a", out)
	written := func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		for st.writing {
			st.idle.Wait()
		}
	}
	written()
	keys, since := []Key{{"myapp", swung}}, time.Now()
	var ack []byte
	acknowledge := func() {
		ack = appendNumber(ack[:0], 6, st.nonce)
		r, err := parseRequest(ack)
		if err != nil {
			t.Fatal(err)
		}
		st.acknowledge(t.Context(), r)
	}
	event := func() {
		source.events.Add(1)
		server.Changed(keys, since)
		written()
	}
	*out = drain{}
	event()
	if out.writes != 1 || out.flushes != 1 || out.bytes > budgetBytes {
		t.Errorf("an event is %d writes, %d flushes, %d bytes; want one, one and at most %d", out.writes, out.flushes, out.bytes, budgetBytes)
	}
	if got := testing.AllocsPerRun(1000, func() { event(); st.mu.Lock(); st.unacked = st.unacked[:0]; st.mu.Unlock() }); got > budgetEvent {
		t.Errorf("an event costs a subscriber %v allocations, want %d", got, budgetEvent)
	}
	if got := testing.AllocsPerRun(1000, func() { event(); acknowledge() }); got > budgetEvent+budgetAck {
		t.Errorf("an event and its acknowledgement cost a subscriber %v allocations, want %d", got, budgetEvent+budgetAck)
	}
}
