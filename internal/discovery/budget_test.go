//go:build !race

package discovery

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// swing is a source whose one answer goes back and forth between two versions.
type swing struct {
	versions [2]Found
	at       int
}

func (s *swing) Watch(context.Context, []Key) error { return nil }
func (s *swing) Unwatch([]Key)                      {}
func (s *swing) Answer(Key) (Found, bool)           { return s.versions[s.at], true }

// drain is a client that takes everything at once.
type drain struct{ writes, flushes, bytes int }

func (d *drain) Header() http.Header { return http.Header{} }
func (d *drain) WriteHeader(int)     {}
func (d *drain) Write(p []byte) (int, error) {
	d.writes++
	d.bytes += len(p)
	return len(p), nil
}

func (d *drain) FlushError() error {
	d.flushes++
	return nil
}

func (d *drain) SetWriteDeadline(time.Time) error { return nil }

// What an endpoint event may cost for each subscriber, from Changed to the acknowledgement: measured 0 allocations to send it, 1 for the
// message of the acknowledgement, and 104 bytes as one write.
const (
	budgetEvent = 0
	budgetAck   = 1
	budgetBytes = 150
)

// TestBudgetEvent: of an endpoint that comes and goes, each subscriber is told in one message, which costs no memory.
func TestBudgetEvent(t *testing.T) {
	before, after := podsShard(20), changed(podsShard(20), func(l []plan.Endpoint) []plan.Endpoint { return l[:19] })
	d := users("a")
	d.Backends = []plan.Backend{{Shards: []string{before.Name}}}
	whole := encoded(t, d)
	a, b := encoded(t, before), encoded(t, after)
	a.Base, a.Patch, b.Base, b.Patch = b.Version, Patch(b, a), a.Version, Patch(a, b)
	source := &swing{versions: [2]Found{{Resource: whole, Parts: []*plan.Encoded{a}}, {Resource: whole, Parts: []*plan.Encoded{b}}}}
	server, err := NewServer(ServerOptions{
		Source: source, Logger: slog.New(slog.DiscardHandler), MayRead: func(ClientIdentity, string) bool { return true },
		Authenticate: func(context.Context, string) (ClientIdentity, error) { return ClientIdentity{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	out := &drain{}
	st := newStream(server, ClientIdentity{Namespace: "myapp", Pod: "a"}, out, func(error) {})
	if err := server.add(st); err != nil {
		t.Fatal(err)
	}
	defer server.remove(st)
	r := &Request{Node: &Node{Patches: true}, Subscribe: []string{"ip/10.96.0.1:8080"}}
	st.resume(r)
	if err := st.subscribe(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	st.start()
	if err := st.catchUp(); err != nil {
		t.Fatal(err)
	}
	keys, since := []Key{{"myapp", "ip/10.96.0.1:8080"}}, time.Now()
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
		source.at ^= 1
		server.Changed(keys, since)
		if err := st.catchUp(); err != nil {
			t.Fatal(err)
		}
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
