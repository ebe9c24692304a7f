package consul

import (
	"math/rand/v2"
	"time"
)

// The rules of blocking queries are Consul's (developer.hashicorp.com/consul/api-docs/features/blocking).

const (
	// longWait is how long a question is held open where nothing changes. The server adds up to a sixteenth.
	longWait = 5 * time.Minute
	// shortWait is the same where there are more questions than may be open at a time, and they take turns.
	shortWait = 2 * time.Second
	// answerTime is what an answer may take beside.
	answerTime = 10 * time.Second
	// minPause and maxPause bound the pause after a failure, which doubles.
	minPause, maxPause = time.Second, 30 * time.Second
	// burst questions go at once, further ones one a second: a server may answer as fast as it likes.
	burst = 2
)

// cursor is where a blocking query stands. The zero value asks for what there is.
type cursor struct{ index uint64 }

// answered takes the index of an answer. One that went backwards says nothing of what was seen before; 0 is a fault of
// the server, and would make a question that does not block.
func (c *cursor) answered(index uint64) {
	switch {
	case index == 0:
		c.index = 1
	case index < c.index:
		c.index = 0
	default:
		c.index = index
	}
}

// failed has the next question ask for what there is: the server may be another one since.
func (c *cursor) failed() { c.index = 0 }

// bucket lets questions go at the rate that burst says. The zero value is full.
type bucket struct {
	spent float64
	at    time.Time
}

// take gives how long to wait before the next question.
func (b *bucket) take(now time.Time) time.Duration {
	b.spent = max(0, b.spent-now.Sub(b.at).Seconds()) + 1
	b.at = now
	if b.spent <= burst {
		return 0
	}
	return time.Duration((b.spent - burst) * float64(time.Second))
}

// backoff doubles pauses.
type backoff struct{ pause time.Duration }

// failed gives the next pause, of which up to a quarter is left to chance: all questions fail at the same time.
func (b *backoff) failed() time.Duration {
	b.pause = min(max(2*b.pause, minPause), maxPause)
	return b.pause - rand.N(b.pause/4) //nolint:gosec // no secret depends on it
}

func (b *backoff) answered() { b.pause = 0 }

// waitOf gives how long a question is held open, less up to an eighth, so that those of a restart do not come back together.
func waitOf(open, allowed int) time.Duration {
	wait := longWait
	if open > allowed {
		wait = shortWait
	}
	return wait - rand.N(wait/8) //nolint:gosec // no secret depends on it
}
