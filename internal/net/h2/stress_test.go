package h2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"fairlead.dev/fairlead/internal/net/httpx"
)

var errChangedMind = errors.New("changed my mind")

// TestStress runs many exchanges of all sizes, some broken off at any point by either side or by a third party, over
// windows small enough to be exhausted all the time.
func TestStress(t *testing.T) {
	small := Options{StreamWindow: 7000, ConnWindow: 70000, MaxConcurrentStreams: 100}
	for _, mode := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", mode), func(t *testing.T) {
			p := newPair(t, func(s *ServerStream) {
				rng := rand.New(rand.NewPCG(uint64(s.id), 1))
				if rng.IntN(10) == 0 {
					s.Abort(errChangedMind)
					return
				}
				if rng.IntN(20) == 0 {
					return // without a word
				}
				echo(s)
			}, setup{tls: mode, client: small, server: small, budget: 1 << 20})
			var wg sync.WaitGroup
			for g := range 24 {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(g), 2))
					for range 20 {
						if err := randomExchange(p.client, rng); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			if n := p.client.Active(); n != 0 {
				t.Errorf("Active() = %d at the end, want 0", n)
			}
			got, err := p.exchange(request("GET", "/after"), "", nil)
			for errors.As(err, new(*ResetError)) { // the handler may choose to break this one off too
				got, err = p.exchange(request("GET", "/after"), "", nil)
			}
			if err != nil || got.Head != "200 " {
				t.Errorf("exchange after the storm = %v, %v", got, err)
			}
			checkWindows(t, p)
		})
	}
}

// checkWindows makes sure that no byte got lost: nothing counts as unread on either end, and each lets the other send at
// least half a window.
func checkWindows(t *testing.T, p *pair) {
	t.Helper()
	for name, c := range map[string]*conn{"client": &p.client.conn, "server": &p.server.conn} {
		c.mu.Lock()
		if c.inflow.unread != 0 || c.inflow.left < c.inflow.window.size/2 || c.inflow.window.size > int64(c.opts.ConnWindow) {
			t.Errorf("%s: %d bytes unread, the peer may send %d of %d", name, c.inflow.unread, c.inflow.left, c.inflow.window.size)
		}
		if held := c.pool.Budget.Held(); held != 0 {
			t.Errorf("%s: the budget counts %d bytes", name, held)
		}
		c.mu.Unlock()
	}
}

func randomExchange(c *Client, rng *rand.Rand) error {
	s, err := c.Open()
	if err != nil {
		return err
	}
	body := bytes.Repeat([]byte{byte(rng.IntN(256))}, rng.IntN(60000))
	r := request("POST", "/stress", "x-n", strconv.Itoa(rng.IntN(50)))
	r.ContentLength = int64(len(body))
	var wg sync.WaitGroup
	defer s.Close()
	defer wg.Wait()
	broken := false
	switch rng.IntN(8) {
	case 0:
		broken = true
		wg.Go(func() { s.Abort(errChangedMind) })
	case 1:
		return nil // closed unsent
	case 2:
		return s.Send(r) // closed unanswered
	}
	if err := s.Send(r); err != nil {
		return expected(err, broken)
	}
	wg.Go(func() {
		for chunk := body; ; {
			n := min(len(chunk), 1+rng.IntN(9000))
			if n == 0 {
				break
			}
			if _, err := s.Write(chunk[:n]); err != nil {
				return
			}
			chunk = chunk[n:]
		}
		s.End(nil)
	})
	var res httpx.Response
	if err := s.Receive(&res); err != nil {
		return expected(err, broken)
	}
	got, err := io.ReadAll(s)
	if err != nil {
		return expected(err, broken)
	}
	if !bytes.Equal(got, body) {
		return fmt.Errorf("echo of %d bytes gave %d", len(body), len(got))
	}
	return nil
}

func expected(err error, broken bool) error {
	var reset *ResetError
	if errors.As(err, &reset) && reset.Remote && (reset.Code == CodeCancel || reset.Code == CodeInternal) {
		return nil
	}
	if broken && errors.Is(err, errChangedMind) {
		return nil
	}
	return err
}
