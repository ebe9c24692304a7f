package h2

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"fairlead.dev/fairlead/internal/net/httpx"
)

const (
	doubtAfter   = 150 * time.Millisecond
	doubtTimeout = 250 * time.Millisecond
)

// farEnd is a server whose kernel takes whatever is sent. While it is awake it answers pings, and requests after a while.
type farEnd struct {
	*peer
	asleep  atomic.Bool
	answers time.Duration // how long an answer takes, 0 for never
	pings   atomic.Int32  // received
}

func (p *farEnd) serve() {
	for {
		f, err := p.f.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.PingFrame:
			if f.IsAck() {
				continue
			}
			p.pings.Add(1)
			if !p.asleep.Load() {
				p.f.WritePing(true, f.Data)
			}
		case *http2.MetaHeadersFrame:
			if !p.asleep.Load() && p.answers > 0 {
				time.Sleep(p.answers)
				p.headers(f.StreamID, p.block(":status", "204"), true)
			}
		}
	}
}

// doubted is a client in a bubble, its server, and how often it was told that Silent may have changed.
type doubted struct {
	far    *farEnd
	client *Client
	told   atomic.Int32
}

func newDoubted(t *testing.T, o Options) *doubted {
	t.Helper()
	d := new(doubted)
	o.Doubt = func() { d.told.Add(1) }
	ours, theirs := bubble(t)
	p, c := serverOver(t, ours, theirs, o)
	p.nc.SetDeadline(time.Time{})
	d.far, d.client = &farEnd{peer: p}, c
	go d.far.serve()
	synctest.Wait()
	return d
}

// send sends a request and waits for no answer.
func (d *doubted) send(t *testing.T) *Stream {
	t.Helper()
	s, err := d.client.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(request("POST", "/")); err != nil {
		t.Fatal(err)
	}
	s.End(nil)
	return s
}

// expect compares what is known after a while with what is wanted.
func (d *doubted) expect(t *testing.T, after time.Duration, silent bool, pings, told int32) {
	t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if got := d.client.Silent(); got != silent || d.far.pings.Load() != pings || d.told.Load() != told {
		t.Errorf("silent is %t after %d pings, told %d times; want %t, %d, %d", got, d.far.pings.Load(), d.told.Load(), silent, pings, told)
	}
}

func TestSilence(t *testing.T) {
	// never has the doubt's pings be the only ones.
	never := Options{PingAfter: -1, DoubtAfter: doubtAfter, DoubtTimeout: doubtTimeout}
	for name, story := range map[string]func(t *testing.T, d *doubted){
		"frozen_until_it_says_anything": func(t *testing.T, d *doubted) {
			d.far.asleep.Store(true)
			defer d.send(t).Close()
			d.expect(t, doubtAfter-1, false, 0, 0)
			d.expect(t, 1, false, 1, 0)
			d.expect(t, doubtTimeout-1, false, 1, 0)
			d.expect(t, 1, true, 1, 1)
			defer d.send(t).Close() // it is asked no more often for that
			d.expect(t, time.Hour, true, 1, 1)
			d.far.f.WriteRawFrame(0xbe, 0, 0, []byte("anything"))
			d.expect(t, 0, false, 1, 2)
			defer d.send(t).Close()
			d.expect(t, doubtAfter+doubtTimeout, true, 2, 3)
		},
		"frozen_between_answers": func(t *testing.T, d *doubted) {
			d.far.answers = time.Millisecond
			defer d.send(t).Close()
			time.Sleep(2 * time.Millisecond)
			d.far.asleep.Store(true)
			defer d.send(t).Close()
			d.expect(t, 2*doubtAfter+doubtTimeout-2*time.Millisecond, true, 1, 1)
		},
		"the_app_is_slow": func(t *testing.T, d *doubted) {
			d.far.answers = 0
			defer d.send(t).Close()
			d.expect(t, time.Hour, false, 1, 0)
			defer d.send(t).Close()
			d.expect(t, time.Hour, false, 2, 0)
		},
		"nothing_is_asked": func(t *testing.T, d *doubted) { d.expect(t, time.Hour, false, 0, 0) },
		"answers_come_in_time": func(t *testing.T, d *doubted) {
			d.far.answers = 60 * time.Millisecond
			for range 100 { // the last look finds that something was sent and answered since the one before
				time.Sleep(10 * time.Millisecond)
				s := d.send(t)
				var resp httpx.Response
				if err := s.Receive(&resp); err != nil {
					t.Fatal(err)
				}
				s.Close()
			}
			d.far.asleep.Store(true)
			d.expect(t, time.Hour, false, 0, 0) // nobody asks
		},
		"this_end_was_held_up": func(t *testing.T, d *doubted) {
			d.far.asleep.Store(true)
			defer d.send(t).Close()
			time.Sleep(doubtAfter)
			synctest.Wait()
			d.client.conn.mu.Lock()
			d.client.conn.quiet.due = d.client.conn.quiet.due.Add(-time.Second)
			d.client.conn.mu.Unlock()
			d.expect(t, doubtTimeout, false, 1, 0)
			d.expect(t, doubtAfter, true, 1, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { story(t, newDoubted(t, never)) })
		})
	}
}

// TestDoubtEndsNothing: a connection to a peer that is frozen is given up at the same moment with doubt and without.
func TestDoubtEndsNothing(t *testing.T) {
	ended := map[time.Duration]time.Duration{}
	for _, after := range []time.Duration{0, doubtAfter} {
		synctest.Test(t, func(t *testing.T) {
			d := newDoubted(t, Options{ProbeAfter: time.Second, PingTimeout: 2 * time.Second, DoubtAfter: after, DoubtTimeout: doubtTimeout})
			time.Sleep(time.Minute + 300*time.Millisecond)
			d.far.asleep.Store(true)
			began, s := time.Now(), d.send(t)
			defer s.Close()
			var resp httpx.Response
			want(t, s.Receive(&resp), ErrPeerSilent)
			ended[after] = time.Since(began)
		})
	}
	if ended[0] != ended[doubtAfter] {
		t.Errorf("without doubt it ends after %s, with doubt after %s", ended[0], ended[doubtAfter])
	}
}

// TestDoubtDoesNotLast: nobody asks a silent peer any more, for there are others, and so its connection is given up without a request that waits.
func TestDoubtDoesNotLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoubted(t, Options{ProbeAfter: time.Second, PingTimeout: 2 * time.Second, DoubtAfter: doubtAfter, DoubtTimeout: doubtTimeout})
		d.far.asleep.Store(true)
		d.send(t).Close()
		select {
		case err := <-d.far.done:
			want(t, err, ErrPeerSilent)
		case <-time.After(5 * time.Second):
			t.Error("not given up after 5 s")
		}
	})
}
