package logexport

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/otlp"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/telemetry"
)

// collector is one that takes what it is sent, or is away.
type collector struct {
	mu     sync.Mutex
	away   bool
	bodies []string
}

func (c *collector) Send(_ context.Context, r *otlp.Request) (*otlp.Answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return nil, errors.New("refused")
	}
	rest := r.Body[5:] // behind the prefix of gRPC
	for _, n := range []protowire.Number{1, 2} {
		rest = fieldOf(rest, n)
	}
	for len(rest) > 0 {
		n, kind, size := protowire.ConsumeTag(rest)
		value, used := protowire.ConsumeBytes(rest[size:])
		if n == otlp.FieldItems && kind == protowire.BytesType {
			c.bodies = append(c.bodies, string(fieldOf(fieldOf(value, logBody), anyString)))
		}
		rest = rest[size+used:]
	}
	return &otlp.Answer{Status: 200, GRPCStatus: "0"}, nil
}

// fieldOf gives the first value of a field of bytes.
func fieldOf(message []byte, want protowire.Number) []byte {
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		used := protowire.ConsumeFieldValue(n, kind, message[size:])
		if n == want {
			value, _ := protowire.ConsumeBytes(message[size:])
			return value
		}
		message = message[size+used:]
	}
	return nil
}

func callOf(path string, code int) *telemetry.Record {
	return &telemetry.Record{Reporter: telemetry.Source, Start: time.Now(), HeadAfter: -1, Protocol: "HTTP/1.1", Path: []byte(path), Code: code}
}

func sent(names ...string) *plan.Telemetry {
	out := &plan.Telemetry{}
	for _, name := range names {
		out.Client.Logs = append(out.Client.Logs, plan.AccessLog{
			Provider: name, Format: model.LogFormat{Text: "%REQ(:path)%"},
			Collector: &model.TraceProvider{Name: name, Protocol: model.TraceOTLPGRPC, Host: model.Hostname(name), Port: 4317},
		})
	}
	return out
}

// TestLogs: a call goes to each collector that objects name, once, and to none when they are gone; what is left is sent at the end.
func TestLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := map[string]*collector{"a": {}, "b": {}}
		l := New(Options{Reach: func(p *model.TraceProvider) otlp.Sender { return all[p.Name] }, Logger: slog.New(slog.DiscardHandler)})
		w := &plan.Workload{}
		l.Record(callOf("/before", 200))
		l.Configure(w, sent("a", "b"))
		l.Record(callOf("/both", 200))
		time.Sleep(2 * time.Second)
		l.Configure(w, sent("b"))
		l.Record(callOf("/b", 200))
		other := callOf("/server", 200)
		other.Reporter = telemetry.Destination
		l.Record(other)
		l.Configure(w, nil)
		l.Record(callOf("/after", 200))
		l.Close()
		for name, want := range map[string]string{"a": "/both", "b": "/both /b"} {
			if got := strings.Join(all[name].bodies, " "); got != want {
				t.Errorf("%s has got %q, want %q", name, got, want)
			}
		}
		if c := l.Counts(); c != (otlp.Counts{Sent: 3}) {
			t.Errorf("counts %+v", c)
		}
	})
}

// TestCollectorAway: for half a minute of 1,000 calls a second. None waits, what finds no place is counted, and what comes after is
// sent.
func TestCollectorAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{away: true}
		l := New(Options{Reach: func(*model.TraceProvider) otlp.Sender { return c }, Logger: slog.New(slog.DiscardHandler)})
		l.Configure(&plan.Workload{}, sent("a"))
		const calls = 30_000
		for range calls / 100 {
			before := time.Now()
			for range 100 {
				l.Record(callOf("/away", 200))
			}
			if took := time.Since(before); took != 0 {
				t.Fatalf("calls have waited %v", took)
			}
			time.Sleep(100 * time.Millisecond)
		}
		c.mu.Lock()
		c.away = false
		c.mu.Unlock()
		time.Sleep(time.Minute)
		l.Record(callOf("/back", 200))
		l.Close()
		n := l.Counts()
		if n.Sent+n.Full+n.Failed != calls+1 || n.Full < calls-2*otlp.Places-otlp.BatchItems || len(c.bodies) != int(n.Sent) {
			t.Errorf("counts %+v of %d calls, %d have come", n, calls+1, len(c.bodies))
		}
		if last := c.bodies[len(c.bodies)-1]; last != "/back" {
			t.Errorf("the last one is %s", last)
		}
	})
}

// TestRecordAllocatesNothing, whether it finds a place or not.
func TestRecordAllocatesNothing(t *testing.T) {
	u := rule{format: telemetry.NewLogFormat(&model.LogFormat{Text: "%REQ(:path)% %RESPONSE_CODE%", Labels: []model.LogLabel{{Key: "a", Format: "%DURATION%"}}}, "")}
	r := callOf("/a", 200)
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(1000, func() { buf = u.encode(buf[:0], r) }); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}
