package grpcstream

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// cutter is a response that notes when its call was cut.
type cutter struct {
	http.ResponseWriter

	cuts int
}

func (c *cutter) SetWriteDeadline(at time.Time) error {
	if !at.After(time.Now()) {
		c.cuts++
	}
	return nil
}

func TestPatienceCutsOnlyTheMessageThatTakesTooLong(t *testing.T) {
	const limit = 10 * time.Second
	for _, tt := range []struct {
		name string
		do   func(p *Patience)
		want int
	}{
		{"taken_in_time", func(p *Patience) { p.Begin(time.Now(), limit); time.Sleep(limit / 2); p.End(); time.Sleep(2 * limit) }, 0},
		{"not_taken", func(p *Patience) { p.Begin(time.Now(), limit); time.Sleep(2 * limit); p.End() }, 1},
		{"nothing_is_written", func(*Patience) { time.Sleep(10 * limit) }, 0},
		{"the_next_one_has_its_own_time", func(p *Patience) {
			p.Begin(time.Now(), limit)
			time.Sleep(limit - 1)
			p.End()
			p.Begin(time.Now(), limit)
			time.Sleep(limit - 1)
			p.End()
		}, 0},
		{"the_timer_of_the_message_before_comes_late", func(p *Patience) { p.Begin(time.Now(), limit); p.over(); p.End(); p.over() }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &cutter{}
				tt.do(NewPatience(http.NewResponseController(c)))
				synctest.Wait()
				if c.cuts != tt.want {
					t.Errorf("the call was cut %d times, want %d", c.cuts, tt.want)
				}
			})
		})
	}
}
