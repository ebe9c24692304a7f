package discovery

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
		do   func(p *patience)
		want int
	}{
		{"taken_in_time", func(p *patience) { p.begin(time.Now(), limit); time.Sleep(limit / 2); p.end(); time.Sleep(2 * limit) }, 0},
		{"not_taken", func(p *patience) { p.begin(time.Now(), limit); time.Sleep(2 * limit); p.end() }, 1},
		{"nothing_is_written", func(*patience) { time.Sleep(10 * limit) }, 0},
		{"the_next_one_has_its_own_time", func(p *patience) {
			p.begin(time.Now(), limit)
			time.Sleep(limit - 1)
			p.end()
			p.begin(time.Now(), limit)
			time.Sleep(limit - 1)
			p.end()
		}, 0},
		{"the_timer_of_the_message_before_comes_late", func(p *patience) { p.begin(time.Now(), limit); p.over(); p.end(); p.over() }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &cutter{}
				tt.do(newPatience(http.NewResponseController(c)))
				synctest.Wait()
				if c.cuts != tt.want {
					t.Errorf("the call was cut %d times, want %d", c.cuts, tt.want)
				}
			})
		})
	}
}
