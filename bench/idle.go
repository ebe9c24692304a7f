package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// settle is how long proxies have to give back what a start, or a burst, left behind before their memory is read. Of ours a connection
// waits for two seconds until it does without a goroutine, and what many of them left behind goes back five seconds later at most.
const settle = 8 * time.Second

// crowd is how many idle connections there are at the same time, of all contestants; they share the server.
const crowd = 8000

// sitting is one contestant while its connections wait.
type sitting struct {
	*Contestant

	block     Block
	generator *child
	opened    bool
}

// idle measures memory: what the proxies hold for each connection that waits, and whether all of them still serve. It is private
// memory, beyond that after a first request: pages of programs that had not run so far are no connection's. All settle at the same time.
func (r *Runner) idle(ctx context.Context, all []*Contestant, cell *Cell) []Block {
	sittings := make([]*sitting, len(all))
	for i, c := range all {
		sittings[i] = &sitting{Contestant: c, block: Block{Of: c.Name}}
	}
	r.firstRequests(ctx, sittings, cell)
	for rest := sittings; len(rest) > 0; {
		n := min(together(cell.Conns), len(rest))
		r.sit(ctx, rest[:n], cell)
		rest = rest[n:]
	}
	blocks := make([]Block, len(sittings))
	for i, s := range sittings {
		if s.block.Error != "" && ctx.Err() == nil && time.Now().Before(r.end) { // once more, as every block that failed
			s = &sitting{Contestant: s.Contestant, block: Block{Of: s.Name}}
			r.firstRequests(ctx, []*sitting{s}, cell)
			r.sit(ctx, []*sitting{s}, cell)
		}
		blocks[i] = s.block
	}
	return blocks
}

// together is how many contestants have so many connections at the same time.
func together(conns int) int { return max(1, crowd/conns) }

// idleSeconds is about how long a number of contestants take.
func idleSeconds(contestants, conns int) float64 {
	const around = 0.15
	groups := (contestants + together(conns) - 1) / together(conns)
	return settle.Seconds()*float64(1+groups) + float64(contestants)*(2*around+1.5*float64(conns)/1000)
}

// firstRequests has all that have not done so answer one request, and notes what they take afterwards.
func (r *Runner) firstRequests(ctx context.Context, all []*sitting, cell *Cell) {
	first := *cell
	first.Conns = 1
	var cold []*sitting
	for _, s := range all {
		if s.warm != 0 {
			continue
		}
		one, cancel := context.WithTimeout(ctx, patience)
		out, err := s.lab.exec(one, s.pod, s.command(&first, r.settings.load, r.seconds)).CombinedOutput()
		cancel()
		if err != nil {
			s.block.Error = fmt.Sprintf("one connection: %v: %s", err, out)
			continue
		}
		cold = append(cold, s)
	}
	if len(cold) == 0 {
		return
	}
	pause(ctx, settle)
	for _, s := range cold {
		s.warm = private(s.pids)
	}
}

// sit opens the connections of some contestants, waits once, and reads what each of them takes.
func (r *Runner) sit(ctx context.Context, all []*sitting, cell *Cell) {
	// They are opened, and asked again, one by one.
	most := settle + time.Duration(len(all))*(patience+time.Duration(cell.Conns)*10*time.Millisecond)
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for _, s := range all {
		if s.block.Error != "" {
			continue
		}
		g, err := s.lab.begin(ctx, s.pod, s.command(cell, r.settings.load, r.seconds))
		if err != nil {
			s.block.Error = err.Error()
			continue
		}
		s.generator, s.opened = g, strings.HasPrefix(g.line(), "open ")
	}
	pause(ctx, settle)
	for _, s := range all {
		if s.generator != nil {
			s.block.RSS, s.block.Private = resident(s.pids), private(s.pids)
		}
	}
	for _, s := range all {
		if s.generator != nil {
			s.end(cell)
		}
	}
}

// end has every connection asked once more, and closed.
func (s *sitting) end(cell *Cell) {
	b := &s.block
	b.CPU, b.Requests = float64(b.Private-s.warm)/float64(cell.Conns), float64(cell.Conns)
	s.generator.in.Close()
	answered := s.generator.line() == "all answered"
	if err := s.generator.end(); err != nil || !s.opened || !answered {
		b.Error = fmt.Sprintf("opened: %v, all answered afterwards: %v: %v", s.opened, answered, err)
	}
}

// pause waits, unless the run is ended.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
