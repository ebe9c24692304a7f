package history

import (
	"encoding/binary"
	"slices"

	"fairlead.dev/fairlead/internal/traffic"
)

// queue is encoded samples in the order of their time, each with the distance in steps to the one before.
type queue struct {
	b     []byte
	first int64 // the step of the first sample; without meaning where there is none
	last  int64 // that of the last
}

func (q *queue) isEmpty() bool { return len(q.b) == 0 }

// append adds a sample of a step that is not before the last one.
func (q *queue) append(step int64, s *traffic.Sample) {
	var scratch [256]byte
	if q.isEmpty() {
		q.first, q.last = step, step
	}
	coded := binary.AppendUvarint(scratch[:0], uint64(max(step-q.last, 0)))
	coded = s.Append(coded)
	if spare := cap(q.b) - len(q.b); spare < len(coded) { // append would double it
		grown := make([]byte, len(q.b), len(q.b)+len(coded)+len(q.b)/8)
		copy(grown, q.b)
		q.b = grown
	}
	q.b = append(q.b, coded...)
	q.last = max(step, q.last)
}

// each visits the samples from a step on.
func (q *queue) each(from int64, visit func(step int64, s *traffic.Sample)) {
	step := q.first
	for rest, begun := q.b, false; len(rest) > 0; begun = true {
		distance, n := binary.Uvarint(rest)
		s, behind, err := traffic.DecodeSample(rest[n:])
		if err != nil {
			return // it was encoded here: cannot be
		}
		if begun {
			step += int64(distance)
		}
		if step >= from {
			visit(step, &s)
		}
		rest = behind
	}
}

// count is how many samples there are.
func (q *queue) count() (n int) {
	q.each(0, func(int64, *traffic.Sample) { n++ })
	return n
}

// cut drops the samples before a step, and gives each to dropped where that is not nil.
func (q *queue) cut(before int64, dropped func(step int64, s *traffic.Sample)) {
	rest, step := q.b, q.first
	for len(rest) > 0 && step < before {
		_, n := binary.Uvarint(rest)
		s, behind, err := traffic.DecodeSample(rest[n:])
		if err != nil {
			behind = nil
		}
		if dropped != nil {
			dropped(step, &s)
		}
		if rest = behind; len(rest) > 0 {
			distance, _ := binary.Uvarint(rest)
			step += int64(distance)
		}
	}
	if len(rest) == len(q.b) {
		return
	}
	q.first = step
	if len(rest) == 0 {
		q.b = nil
		return
	}
	q.b = q.b[:copy(q.b, rest)]
	// The first distance is never read as one: q.first says where it is.
}

// packEvery is how many samples wait as they came, before they become part of a block, and about how many too old ones wait to go.
const packEvery = 6

// series is the hour of one edge: what is old in minutes, if there is no room for more, then blocks of steps, then the newest
// steps as they came.
type series struct {
	key    key
	coarse queue
	blocks []byte
	fine   queue
	waits  int // samples in fine
	lastAt int // where the last block begins
}

// seriesBytes is what a series takes without its samples: itself, the names in its key that no other has, its part of a
// reporter.
const seriesBytes = 600

// pages are where blocks are made and read: two of them, so that one can become another.
type pages struct{ from, to block }

func (s *series) add(step int64, sample *traffic.Sample, p *pages) {
	s.fine.append(max(step, s.last()), sample) // a clock that was set back makes steps longer
	s.waits++
	if s.waits >= packEvery {
		s.pack(p)
	}
}

// pack adds what waits to the last block, or begins another.
func (s *series) pack(p *pages) {
	b := &p.to
	b.reset()
	if s.lastAt < len(s.blocks) {
		coded, _ := split(s.blocks[s.lastAt:])
		if first, _ := span(coded); s.fine.last-first < blockSteps {
			b.decode(coded)
			s.blocks = s.blocks[:s.lastAt]
		}
	}
	var scratch []byte
	at := len(s.blocks)
	flush := func() {
		s.lastAt = at + len(scratch)
		scratch = b.appendTo(scratch)
		b.reset()
	}
	s.fine.each(0, func(step int64, one *traffic.Sample) {
		if !b.fits(step) {
			flush()
		}
		b.add(step, one)
	})
	flush()
	whole := make([]byte, 0, at+len(scratch))
	s.blocks = append(append(whole, s.blocks...), scratch...)
	s.fine, s.waits = queue{b: s.fine.b[:0]}, 0
}

// age forgets what is older than an hour, and moves what is before fineFrom, the beginning of a minute, to coarse. What nobody
// asks for any more goes a few steps at a time.
func (s *series) age(now, fineFrom int64, p *pages) {
	if oldest := s.oldest(); oldest >= 0 && (oldest < fineFrom || oldest <= now-hour-packEvery) {
		from := max(fineFrom, now-hour+1)
		var sum traffic.Sample
		minute := int64(-1)
		flush := func() {
			if minute >= 0 {
				s.coarse.append(minute, &sum)
			}
		}
		s.cut(from, p, func(step int64, one *traffic.Sample) {
			if step >= fineFrom || step <= now-hour {
				return
			}
			if m := step / stepsPerMinute; m != minute {
				flush()
				minute, sum = m, traffic.Sample{}
			}
			sum.Then(one)
		})
		flush()
	}
	if !s.coarse.isEmpty() {
		s.coarse.cut((now-hour)/stepsPerMinute, nil)
	}
}

// oldest is the first step of which there is a sample by itself, -1 where there is none.
func (s *series) oldest() int64 {
	if len(s.blocks) > 0 {
		coded, _ := split(s.blocks)
		first, _ := span(coded)
		return first
	}
	if !s.fine.isEmpty() {
		return s.fine.first
	}
	return -1
}

// cut drops the samples before a step from blocks and fine, and gives each to dropped.
func (s *series) cut(before int64, p *pages, dropped func(step int64, one *traffic.Sample)) {
	rest, begun := s.blocks, []byte(nil)
	for len(rest) > 0 {
		coded, behind := split(rest)
		first, last := span(coded)
		if first >= before {
			break
		}
		p.from.decode(coded)
		p.to.reset()
		p.from.each(0, func(step int64, one *traffic.Sample) {
			if step < before {
				dropped(step, one)
				return
			}
			p.to.add(step, one)
		})
		rest = behind
		if last >= before {
			begun = p.to.appendTo(nil)
			break
		}
	}
	if len(rest) < len(s.blocks) {
		s.lastAt -= len(s.blocks) - len(rest) - len(begun)
		if len(rest) == 0 { // the block that was cut is the last
			s.lastAt = 0
		}
		s.blocks = append(slices.Clip(begun), rest...)
	}
	if len(s.blocks) == 0 {
		s.blocks, s.lastAt = nil, 0
		s.fine.cut(before, dropped)
		s.waits = s.fine.count()
	}
}

func (s *series) isEmpty() bool { return s.fine.isEmpty() && s.coarse.isEmpty() && len(s.blocks) == 0 }

// bytes is about how much memory the samples take.
func (s *series) bytes() int { return cap(s.fine.b) + cap(s.coarse.b) + cap(s.blocks) }

// eachBlock decodes the blocks that have samples of steps from one to another.
func (s *series) eachBlock(from, to int64, p *pages, visit func(b *block)) {
	for rest := s.blocks; len(rest) > 0; {
		var coded []byte
		coded, rest = split(rest)
		if first, last := span(coded); last >= from && first <= to {
			p.from.decode(coded)
			visit(&p.from)
		}
	}
}

// visit hands on what was reported in steps, the first and the last included; of a minute, as of its first step.
func (s *series) visit(from, to int64, p *pages, one func(step int64, sample *traffic.Sample)) {
	upTo := func(step int64, sample *traffic.Sample) {
		if step <= to {
			one(step, sample)
		}
	}
	s.coarse.each(from/stepsPerMinute, func(minute int64, sample *traffic.Sample) { upTo(minute*stepsPerMinute, sample) })
	s.eachBlock(from, to, p, func(b *block) { b.each(from, upTo) })
	s.fine.each(from, upTo)
}

// sum adds up what was reported in steps. What is open counts where the last report is not older than live.
func (s *series) sum(from, to, live int64, p *pages) (total traffic.Sample) {
	add := func(step int64, one *traffic.Sample) {
		if step <= to {
			total.Then(one)
		}
	}
	s.coarse.each(from/stepsPerMinute, func(minute int64, one *traffic.Sample) { add(minute*stepsPerMinute, one) })
	s.eachBlock(from, to, p, func(b *block) { b.sum(from, to, &total) })
	s.fine.each(from, add)
	if s.last() < live {
		total.Open = 0
	}
	return total
}

// last is the newest step that is kept by itself, -1 where there is none.
func (s *series) last() int64 {
	if !s.fine.isEmpty() {
		return s.fine.last
	}
	if s.lastAt < len(s.blocks) {
		coded, _ := split(s.blocks[s.lastAt:])
		_, last := span(coded)
		return last
	}
	return -1
}
