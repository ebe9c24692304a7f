package xds

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What one client may use of the control plane, all its streams together.
const (
	// maxStreams leaves room for a pod whose processes each have a gRPC library.
	maxStreams = 64
	// maxNames bounds what is followed. An Envoy with 10,000 services asks for the endpoints of each.
	maxNames = 32 << 10
	// The work that requests make is counted in bytes, a new name as nameWork: workBurst at once, then workRate per second.
	workBurst = 16 << 20
	workRate  = 512 << 10
	nameWork  = 128
	// What is sent once more because the client asks for it once more is counted in bytes, too. An answer may be much larger than its
	// question.
	againBurst = 64 << 20
	againRate  = 1 << 20
	// sweepEvery is how often accounts that are not used any more are looked for.
	sweepEvery = time.Minute
)

// account is what one client uses.
type account struct {
	mu      sync.Mutex
	streams int   // guarded by mu, as everything below
	names   int   // of all streams
	work    purse // of requests
	again   purse // what was sent once more
}

// purse is what a client has used of something of which it has so much at once, and then so much per second.
type purse struct {
	used float64 // as of at; more than a burst is a debt
	at   time.Time
}

// settle brings used up to date.
func (p *purse) settle(rate float64, now time.Time) {
	p.used = max(0, p.used-rate*now.Sub(p.at).Seconds())
	p.at = now
}

// charge books bytes, and says how long it takes to be out of debt. A debt is never more than a burst.
func (p *purse) charge(bytes int, burst, rate float64, now time.Time) time.Duration {
	p.settle(rate, now)
	p.used = min(p.used+float64(bytes), 2*burst)
	return time.Duration(max(0, p.used-burst) / rate * float64(time.Second))
}

// reserve makes room for up to n names, and says for how many there is.
func (a *account) reserve(n int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n = max(0, min(n, maxNames-a.names))
	a.names += n
	return n
}

func (a *account) release(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.names -= n
}

// charge books work, and says how long to wait before the next request is read.
func (a *account) charge(work int, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.work.charge(work, workBurst, workRate, now)
}

// repeat books what is sent once more, and says for how long the stream is to be asked nothing.
func (a *account) repeat(bytes int, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.again.charge(bytes, againBurst, againRate, now)
}

func (a *account) idle(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.work.settle(workRate, now)
	a.again.settle(againRate, now)
	return a.streams == 0 && a.work.used == 0 && a.again.used == 0
}

// accounts has those of all clients. It is safe for concurrent use.
type accounts struct {
	mu      sync.Mutex
	clients map[Peer]*account // guarded by mu, as the next
	swept   time.Time
}

// open notes a stream in the account of its client; close undoes it.
func (a *accounts) open(p Peer, now time.Time) (*account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.swept) >= sweepEvery {
		a.swept = now
		for c, of := range a.clients {
			if of.idle(now) {
				delete(a.clients, c)
			}
		}
	}
	of := a.clients[p]
	if of == nil {
		of = &account{}
		a.clients[p] = of
	}
	of.mu.Lock()
	defer of.mu.Unlock()
	if of.streams >= maxStreams {
		return nil, status.Errorf(codes.ResourceExhausted, "%s has %d streams already", p, maxStreams)
	}
	of.streams++
	return of, nil
}

func (a *account) close(names int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams--
	a.names -= names
}

// pause waits, or returns the cause why ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
