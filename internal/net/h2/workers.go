package h2

import "sync"

// defaultIdleWorkers is how many goroutines wait for work; each keeps some KiB of stack.
const defaultIdleWorkers = 64

// Workers are goroutines that run handlers one after the other. A goroutine that has done the same work before has
// the stack for it: starting a new one per request costs a stack that grows by copying. There is no queue; as many
// run at once as there are streams, which the servers bound.
type Workers struct {
	max int
	wg  sync.WaitGroup

	mu     sync.Mutex
	idle   []*worker // the one that worked last is last, and comes first
	closed bool
}

type worker struct{ next chan work }

// work is what a goroutine does before it waits for more.
type work interface{ serve() }

// task is work of any other kind than a handler's.
type task func()

func (t task) serve() { t() }

// NewWorkers keeps up to maxIdle goroutines waiting, 64 where it is 0. It may serve any number of connections.
func NewWorkers(maxIdle int) *Workers {
	return &Workers{max: orDefault(maxIdle, defaultIdleWorkers)}
}

// Close ends the goroutines and waits for them. No server may use the workers any more.
func (p *Workers) Close() {
	p.mu.Lock()
	p.closed = true
	for _, w := range p.idle {
		close(w.next)
	}
	p.idle = nil
	p.mu.Unlock()
	p.wg.Wait()
}

// Trim ends half of the goroutines that wait, for a process that has become quiet.
func (p *Workers) Trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := (len(p.idle) + 1) / 2
	for i, w := range p.idle[:n] { // those that have waited longest
		close(w.next)
		p.idle[i] = nil
	}
	p.idle = p.idle[:copy(p.idle, p.idle[n:])]
}

// Go calls f in one of the goroutines.
func (p *Workers) Go(f func()) { p.run(task(f)) }

func (p *Workers) run(s work) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		w.next <- s
		return
	}
	p.mu.Unlock()
	p.wg.Go(func() { p.work(s) })
}

func (p *Workers) work(s work) {
	w := &worker{next: make(chan work, 1)}
	for s != nil {
		s.serve()
		p.mu.Lock()
		if p.closed || len(p.idle) >= p.max {
			p.mu.Unlock()
			return
		}
		p.idle = append(p.idle, w)
		p.mu.Unlock()
		s = <-w.next
	}
}
