package kube

import (
	"sync/atomic"
	"time"
)

// clock knows by how much the clock of an API server differs from this one's, by the dates of its answers (RFC 9110 §6.6.1). It believes what an
// answer proves: whoever is stopped in between, or waits long for an answer, has no other clock for that.
type clock struct {
	ahead atomic.Int64 // nanoseconds
}

// answered takes an answer: when it was asked for, when its head came, and the date that it has, in whole seconds.
func (c *clock) answered(sent, got, date time.Time) {
	var ahead time.Duration
	switch {
	case date.After(got):
		ahead = date.Sub(got)
	case date.Add(time.Second).Before(sent):
		ahead = date.Add(time.Second).Sub(sent)
	}
	c.ahead.Store(int64(ahead))
}

// Skew says by how much the API server's clock is ahead of this one's at least, less than 0 where it is behind.
func (s *Source) Skew() time.Duration { return time.Duration(s.clock.ahead.Load()) }
