package otlp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// collector answers requests as a test says.
type collector struct {
	mu       sync.Mutex
	requests []*Request
	answer   func(ctx context.Context, n int) (*Answer, error)
}

func (c *collector) Send(ctx context.Context, r *Request) (*Answer, error) {
	c.mu.Lock()
	c.requests = append(c.requests, r)
	n := len(c.requests)
	c.mu.Unlock()
	return c.answer(ctx, n)
}

func (c *collector) bodies() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.requests {
		all = append(all, string(r.Body))
	}
	return all
}

// exporting runs an exporter of a JSON list in a bubble.
func exporting(t *testing.T, q *Queue, answer func(ctx context.Context, n int) (*Answer, error)) (e *Exporter, c *collector, log *bytes.Buffer, end func()) { //nolint:revive // what a test looks at
	t.Helper()
	c, log = &collector{answer: answer}, new(bytes.Buffer)
	e = NewExporter(Options{To: "test", Queue: q, Dialect: JSONList("/spans", nil), Sender: c, Timeout: 3 * time.Second, Logger: slog.New(slog.NewTextHandler(log, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Run(ctx)
	}()
	return e, c, log, func() { cancel(); <-done }
}

func add(q *Queue, items ...string) {
	for _, item := range items {
		if s := q.Reserve(); s != nil {
			q.Commit(s, append(s.Buffer(), item...))
		}
	}
}

func taken(context.Context, int) (*Answer, error) { return &Answer{Status: 202}, nil }

func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(8, 4)
		e, c, _, end := exporting(t, q, taken)
		add(q, "1", "2")
		synctest.Wait()
		if len(c.bodies()) != 0 {
			t.Errorf("sent before the batch was full, or a second over: %q", c.bodies())
		}
		add(q, "3", "4") // wakes it
		synctest.Wait()
		if got := fmt.Sprint(c.bodies()); got != "[[1,2,3,4]]" {
			t.Errorf("requests %s", got)
		}
		add(q, "5")
		time.Sleep(batchAge)
		synctest.Wait()
		add(q, "6")
		end() // what is left goes out
		if got := fmt.Sprint(c.bodies()); got != "[[1,2,3,4] [5] [6]]" {
			t.Errorf("requests %s", got)
		}
		if got := e.Counts(); got != (Counts{Sent: 6}) {
			t.Errorf("counts %+v", got)
		}
	})
}

// TestCollectorAway: what finds no place is dropped and counted, nothing grows, it is said once, and said when it is over.
func TestCollectorAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(8, 4)
		var away atomic.Bool
		away.Store(true)
		e, c, log, end := exporting(t, q, func(context.Context, int) (*Answer, error) {
			if away.Load() {
				return nil, errors.New("connection refused")
			}
			return &Answer{Status: 200}, nil
		})
		for range 30 {
			add(q, "a", "b")
			synctest.Wait()
			time.Sleep(time.Second)
			synctest.Wait()
		}
		got := e.Counts()
		if got.Sent != 0 || got.Full == 0 || got.Failed == 0 || q.Len() > 8 {
			t.Errorf("while it is away: %+v, %d wait", got, q.Len())
		}
		away.Store(false)
		time.Sleep(longestPause + longestPause/4)
		end()
		got = e.Counts()
		if got.Sent == 0 || got.Sent+got.Full+got.Failed != 60 {
			t.Errorf("of 60 items %+v", got)
		}
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "again") {
			t.Errorf("said:\n%s", log)
		}
		if len(c.bodies()) > 20 {
			t.Errorf("%d requests in 30 s to a collector that is away", len(c.bodies()))
		}
	})
}

// TestCollectorStalls: a request has its time, and the end has two seconds.
func TestCollectorStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(8, 1)
		e, c, log, end := exporting(t, q, func(ctx context.Context, _ int) (*Answer, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		add(q, "a")
		time.Sleep(3*time.Second + 500*time.Millisecond)
		synctest.Wait()
		if !strings.Contains(log.String(), "no answer within 3s") {
			t.Errorf("said %q after the first request's time", log)
		}
		began := time.Now()
		end()
		if took := time.Since(began); took > lastTime {
			t.Errorf("the end took %s", took)
		}
		if got := e.Counts(); got.Failed != 1 || len(c.bodies()) == 0 {
			t.Errorf("counts %+v after %d requests", got, len(c.bodies()))
		}
	})
}

func TestRefusedIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(8, 1)
		e, c, _, end := exporting(t, q, func(context.Context, int) (*Answer, error) { return &Answer{Status: 400, Body: []byte("no")}, nil })
		add(q, "a")
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := e.Counts(); got != (Counts{Refused: 1}) || len(c.bodies()) != 1 {
			t.Errorf("counts %+v after %d requests", got, len(c.bodies()))
		}
		end()
	})
}

// TestRetryAfter: a collector that says when is asked then.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(8, 1)
		var times []time.Time
		e, _, _, end := exporting(t, q, func(_ context.Context, n int) (*Answer, error) {
			times = append(times, time.Now())
			if n == 1 {
				return &Answer{Status: 503, RetryAfter: "17"}, nil
			}
			return &Answer{Status: 200}, nil
		})
		add(q, "a")
		time.Sleep(time.Minute)
		synctest.Wait()
		end()
		if got := e.Counts(); got != (Counts{Sent: 1}) || len(times) != 2 || times[1].Sub(times[0]) != 17*time.Second {
			t.Errorf("counts %+v, asked at %v", got, times)
		}
	})
}

func TestJudge(t *testing.T) {
	part := AppendBytes(nil, 1, append(AppendVarint(nil, 1, 3), AppendBytes(nil, 2, []byte("too old"))...))
	framed := append([]byte{0, 0, 0, 0, byte(len(part))}, part...)
	grpc, plain := OTLP(Settings{GRPC: true}), OTLP(Settings{})
	for _, tt := range []struct {
		name         string
		of           Dialect
		answer       Answer
		taken, again bool
		rejected     int64
		said         string
	}{
		{"ok", plain, Answer{Status: 200}, true, false, 0, ""},
		{"partial", plain, Answer{Status: 200, Body: part}, true, false, 3, "too old"},
		{"garbage", plain, Answer{Status: 200, Body: []byte("\xff\xff\xff")}, true, false, 0, "an answer that is none"},
		{"bad", plain, Answer{Status: 400}, false, false, 0, ""},
		{"busy", plain, Answer{Status: 429}, false, true, 0, ""},
		{"error", plain, Answer{Status: 500}, false, false, 0, ""},
		{"gateway", plain, Answer{Status: 504}, false, true, 0, ""},
		{"grpc_ok", grpc, Answer{Status: 200, GRPCStatus: "0"}, true, false, 0, ""},
		{"grpc_partial", grpc, Answer{Status: 200, GRPCStatus: "0", Body: framed}, true, false, 3, "too old"},
		{"grpc_away", grpc, Answer{Status: 200, GRPCStatus: "14"}, false, true, 0, ""},
		{"grpc_bad", grpc, Answer{Status: 200, GRPCStatus: "3"}, false, false, 0, ""},
		{"grpc_unknown_method", grpc, Answer{Status: 200, GRPCStatus: "12"}, false, false, 0, ""},
		{"no_grpc", grpc, Answer{Status: 404}, false, false, 0, ""},
		{"no_grpc_yet", grpc, Answer{Status: 503}, false, true, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := tt.of.judge(&tt.answer)
			if (v.err == nil) != tt.taken || v.retry != tt.again || v.rejected != tt.rejected || v.said != tt.said {
				t.Errorf("judge = %+v", v)
			}
		})
	}
}

// TestQueueUnderLoad: many add, one takes, and each item is taken or counted.
func TestQueueUnderLoad(t *testing.T) {
	q := NewQueue(64, 16)
	const adders, each = 8, 5000
	var wg sync.WaitGroup
	for range adders {
		wg.Go(func() {
			for range each {
				add(q, "x")
			}
		})
	}
	over := make(chan struct{})
	go func() {
		wg.Wait()
		close(over)
	}()
	got := 0
	for done := false; ; {
		b, ok := q.take(nil, nil, 10)
		if ok {
			if string(b) != "x" {
				t.Fatalf("took %q", b)
			}
			got++
			continue
		}
		if done {
			break
		}
		select {
		case <-over:
			done = true
		case <-q.wake:
		}
	}
	if uint64(got)+q.Dropped() != adders*each || q.Len() != 0 {
		t.Errorf("%d taken, %d dropped, %d left of %d", got, q.Dropped(), q.Len(), adders*each)
	}
}

// TestAddingAllocatesNothing once places have their memory.
func TestAddingAllocatesNothing(t *testing.T) {
	q := NewQueue(8, 100)
	item := []byte(strings.Repeat("x", 1000))
	into := make([]byte, 0, 4096)
	one := func() {
		s := q.Reserve()
		q.Commit(s, append(s.Buffer(), item...))
		q.take(into, nil, 4096)
	}
	for range 16 {
		one()
	}
	if n := testing.AllocsPerRun(100, one); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestFrame: what is sent is an Export request of one resource and one scope.
func TestFrame(t *testing.T) {
	items := AppendBytes(AppendBytes(nil, FieldItems, []byte("one")), FieldItems, []byte("two"))
	d := OTLP(Settings{Resource: AppendResource(nil, "service.name", "users"), Scope: "s", Version: "1", GRPC: true})
	r := d.request(items)
	if int(r.Body[4]) != len(r.Body)-5 || r.Body[0] != 0 {
		t.Errorf("prefix %v of %d bytes", r.Body[:5], len(r.Body))
	}
	var resource, scopes []byte
	whole, err := fieldOf(r.Body[5:], fieldRequest)
	if err == nil {
		resource, err = fieldOf(whole, fieldResource)
	}
	if err == nil {
		scopes, err = fieldOf(whole, fieldScopes)
	}
	if err != nil || !bytes.Contains(resource, []byte("service.name")) || !bytes.HasSuffix(scopes, items) {
		t.Errorf("resource %q, scopes %q, %v", resource, scopes, err)
	}
}

// FuzzAppendText: an attribute can be read, and is UTF-8.
func FuzzAppendText(f *testing.F) {
	f.Add("key", []byte("value"))
	f.Add("", []byte("\xff\x00"))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		b := Wrap(AppendNumber(AppendText([]byte("x"), 9, key, value), 9, key, -1), 1, 2)
		all, n := protowire.ConsumeBytes(b[2:])
		if n < 0 || n != len(b)-2 {
			t.Fatalf("%q", b)
		}
		first, err := fieldOf(all, 9)
		if err != nil {
			t.Fatal(err)
		}
		got, err := fieldOf(first, fieldKey)
		if err != nil || string(got) != key {
			t.Errorf("key %q, %v", got, err)
		}
		v, err := fieldOf(first, fieldValue)
		if err != nil {
			t.Fatal(err)
		}
		text, err := fieldOf(v, anyString)
		if err != nil || string(text) != strings.ToValidUTF8(string(text), "") {
			t.Errorf("value %q, %v", text, err)
		}
	})
}

// slowSender takes a while for each request, and gives up where its time is over.
type slowSender struct{ asked int }

func (s *slowSender) Send(ctx context.Context, _ *Request) (*Answer, error) {
	s.asked++
	select {
	case <-time.After(100 * time.Millisecond):
		return &Answer{Status: 200}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestEndInTheMiddle: what is under way when the exporter ends is not broken off, and the rest follows it.
func TestEndInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, sender := NewQueue(Places, BatchItems), new(slowSender)
		for range BatchItems + 10 {
			place := q.Reserve()
			q.Commit(place, append(place.Buffer(), 'x'))
		}
		e := NewExporter(Options{To: "test", Queue: q, Dialect: JSONList("/", nil), Sender: sender, Timeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, stop)
		began := time.Now()
		e.Run(ctx)
		if c := e.Counts(); c != (Counts{Sent: BatchItems + 10}) || sender.asked != 2 || time.Since(began) != 200*time.Millisecond {
			t.Errorf("%+v by %d requests after %v", c, sender.asked, time.Since(began))
		}
	})
}
