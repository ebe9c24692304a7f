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
		{"its time is up", func(g *Guard, watch func()) { watch(); g.arm(time.Second) }, "[timeout]"},
		{"let go in time", func(g *Guard, watch func()) { watch(); g.arm(time.Second); g.disarm() }, "[]"},
		{"the client is gone", func(g *Guard, watch func()) { watch(); gone(g, 1) }, "[client]"},
		{"gone before the clock was set", func(g *Guard, watch func()) { watch(); gone(g, 1); g.arm(time.Second) }, "[client]"},
		{"gone before its time is up", func(g *Guard, watch func()) { watch(); g.arm(time.Second); gone(g, 1) }, "[client]"},
		{"gone when it was let go", func(g *Guard, watch func()) { watch(); g.disarm(); gone(g, 1) }, "[]"},
		{"another one is gone", func(g *Guard, watch func()) { watch(); g.disarm(); watch(); gone(g, 1) }, "[]"},
		{"the next has no limit", func(g *Guard, watch func()) { watch(); g.arm(time.Second); g.disarm(); watch() }, "[]"},
		{"the next is gone", func(g *Guard, watch func()) { watch(); g.arm(time.Second); g.disarm(); watch(); gone(g, 2) }, "[client]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, up := new(Guard), new(abortable)
				tt.do(g, func() { g.watch(nil, up, time.Now()) })
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
