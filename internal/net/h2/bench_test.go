package h2

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// typical is a request as a sidecar forwards it.
func typical() *httpx.Request {
	r := request("POST", "/api/v1/users/42", "accept", "application/json", "content-type", "application/json",
		"user-agent", "Go-http-client/1.1", "accept-encoding", "gzip", "x-request-id", "6b0c5f0e-8b3a-4c6c-9a77-2b1f0c9f3b11",
		"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	r.ContentLength = 1024
	return r
}

// echoHandler answers with the body it gets, allocating nothing.
func echoHandler() func(*ServerStream) {
	type state struct {
		res httpx.Response
		buf [4096]byte
	}
	pool := sync.Pool{New: func() any { return new(state) }}
	return func(s *ServerStream) {
		st := pool.Get().(*state)
		defer pool.Put(st)
		st.res.Reset()
		st.res.Status, st.res.ContentLength = 200, s.Request().ContentLength
		st.res.Fields.AddString("content-type", "application/json")
		st.res.Fields.AddString("server", "app")
		if s.Respond(&st.res) != nil {
			return
		}
		for {
			n, err := s.Read(st.buf[:])
			if errors.Is(err, io.EOF) {
				s.End(nil)
				return
			}
			if err != nil {
				return
			}
			if _, err := s.Write(st.buf[:n]); err != nil {
				return
			}
		}
	}
}

// caller makes one exchange after the other with memory of its own.
type caller struct {
	client *Client
	req    *httpx.Request
	res    httpx.Response
	body   []byte
	buf    []byte
}

func newCaller(c *Client) *caller {
	return &caller{client: c, req: typical(), body: make([]byte, 1024), buf: make([]byte, 4096)}
}

func (c *caller) call() error {
	s, err := c.client.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Send(c.req); err != nil {
		return err
	}
	if _, err := s.Write(c.body); err != nil {
		return err
	}
	if err := s.End(nil); err != nil {
		return err
	}
	if err := s.Receive(&c.res); err != nil {
		return err
	}
	n := 0
	for {
		m, err := s.Read(c.buf)
		n += m
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if n != len(c.body) || c.res.Status != 200 {
		return fmt.Errorf("status %d, %d bytes", c.res.Status, n)
	}
	return nil
}

func cpuTime() time.Duration {
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// doubting is a client as a sidecar's is.
var doubting = Options{DoubtAfter: doubtAfter, DoubtTimeout: doubtTimeout, Doubt: func() {}}

// BenchmarkEcho is 1 KiB each way over one TLS connection on loopback, both ends in this process.
func BenchmarkEcho(b *testing.B) {
	for _, streams := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			p := newPair(b, echoHandler(), setup{tls: true, client: doubting})
			if err := newCaller(p.client).call(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(2048)
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			start := cpuTime()
			for range streams {
				wg.Go(func() {
					c := newCaller(p.client)
					for left.Add(-1) >= 0 {
						if err := c.call(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/op")
		})
	}
}

// budgetAllocations is what one exchange may allocate, client and server together: measured 0.
const budgetAllocations = 0.1

func TestBudgetAllocations(t *testing.T) {
	if raceEnabled {
		t.Log("sync.Pool drops at random under the race detector; the number is not enforced")
	}
	p := newPair(t, echoHandler(), setup{tls: false, client: doubting})
	c := newCaller(p.client)
	for range 200 {
		if err := c.call(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	got := testing.AllocsPerRun(2000, func() {
		if err := c.call(); err != nil {
			t.Error(err)
		}
	})
	if got > budgetAllocations && !raceEnabled {
		t.Errorf("allocations per exchange = %v, want at most %v", got, budgetAllocations)
	}
}
