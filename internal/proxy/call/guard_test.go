package call

import (
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// abortable notes how it was aborted.
type abortable struct {
	httpx.ClientExchange

	aborted []error
}

func (a *abortable) Abort(reason error) { a.aborted = append(a.aborted, reason) }

func TestGuard(t *testing.T) {
	gone := func(g *Guard, turn uint64) { g.Gone(turn, io.EOF) }
	tests := []struct {
		name string
		do   func(g *Guard, watch func())
		want string
	}{
		{"nothing happens", func(_ *Guard, watch func()) { watch() }, "[]"},
		{"its time is up", func(g *Guard, watch func()) { watch(); g.arm(timeouts{deadline: time.Second}) }, "[timeout]"},
		{"a try that is answered in time", func(g *Guard, watch func()) {
			g.whole(time.Now())
			watch()
			g.arm(timeouts{try: time.Second})
			g.answered()
		}, "[]"},
		{"a try that is not", func(g *Guard, watch func()) { g.whole(time.Now()); watch(); g.arm(timeouts{try: time.Second}) }, "[timeout]"},
		{"a request that comes slowly", func(g *Guard, watch func()) { watch(); g.arm(timeouts{request: time.Second, try: time.Second}) }, "[]"},
		{"a request that has come", func(g *Guard, watch func()) {
			watch()
			g.arm(timeouts{request: time.Second})
			time.Sleep(time.Hour)
			g.whole(time.Now())
		}, "[timeout]"},
		{"a client that is gone before its request has come", func(g *Guard, watch func()) {
			watch()
			g.arm(timeouts{request: time.Second})
			gone(g, 1)
			g.whole(time.Now())
		}, "[client]"},
		{"let go in time", func(g *Guard, watch func()) { watch(); g.arm(timeouts{deadline: time.Second}); g.disarm() }, "[]"},
		{"the client is gone", func(g *Guard, watch func()) { watch(); gone(g, 1) }, "[client]"},
		{"gone before the clock was set", func(g *Guard, watch func()) { watch(); gone(g, 1); g.arm(timeouts{deadline: time.Second}) }, "[client]"},
		{"gone before its time is up", func(g *Guard, watch func()) { watch(); g.arm(timeouts{deadline: time.Second}); gone(g, 1) }, "[client]"},
		{"gone when it was let go", func(g *Guard, watch func()) { watch(); g.disarm(); gone(g, 1) }, "[]"},
		{"another one is gone", func(g *Guard, watch func()) { watch(); g.disarm(); watch(); gone(g, 1) }, "[]"},
		{"the next has no limit", func(g *Guard, watch func()) { watch(); g.arm(timeouts{deadline: time.Second}); g.disarm(); watch() }, "[]"},
		{"the next is gone", func(g *Guard, watch func()) {
			watch()
			g.arm(timeouts{deadline: time.Second})
			g.disarm()
			watch()
			gone(g, 2)
		}, "[client]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, up := new(Guard), new(abortable)
				g.enter(nil, time.Now(), 0)
				tt.do(g, func() { g.watch(nil, up) })
				time.Sleep(time.Minute) // of the bubble
				synctest.Wait()
				words := []string{}
				for _, err := range up.aborted {
					word := "timeout"
					if isDownstream(err) {
						word = "client"
					}
					words = append(words, word)
				}
				if got := fmt.Sprint(words); got != tt.want {
					t.Errorf("aborted with %s, want %s", got, tt.want)
				}
			})
		})
	}
}
