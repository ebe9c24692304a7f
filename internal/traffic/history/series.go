package history

import (
	"encoding/binary"

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

// series is the hour of one edge. Fine samples are by steps, coarse ones by minutes.
type series struct {
	fine, coarse queue
}

func (s *series) add(step int64, sample *traffic.Sample) {
	s.fine.append(step, sample)
}

// age moves what has got old from fine to coarse, a whole minute at a time, and forgets what is older than an hour.
func (s *series) age(now int64) {
	if !s.fine.isEmpty() && s.fine.first < fineFrom(now) {
		var sum traffic.Sample
		minute := int64(-1)
		flush := func() {
			if minute >= 0 {
				s.coarse.append(minute, &sum)
			}
		}
		s.fine.cut(fineFrom(now), func(step int64, one *traffic.Sample) {
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

// fineFrom is the first step that is kept as it is: that of a whole minute, ten minutes or a little less ago.
func fineFrom(now int64) int64 { return (now - fine) / stepsPerMinute * stepsPerMinute }

func (s *series) isEmpty() bool { return s.fine.isEmpty() && s.coarse.isEmpty() }

// visit hands on what was reported in steps, the first and the last included; of a minute, as of its first step.
func (s *series) visit(from, to int64, one func(step int64, sample *traffic.Sample)) {
	s.coarse.each(from/stepsPerMinute, func(minute int64, sample *traffic.Sample) {
		if minute*stepsPerMinute <= to {
			one(minute*stepsPerMinute, sample)
		}
	})
	s.fine.each(from, func(step int64, sample *traffic.Sample) {
		if step <= to {
			one(step, sample)
		}
	})
}

// sum adds up what was reported in steps. What is open counts where the last report is not older than live.
func (s *series) sum(from, to, live int64) (total traffic.Sample) {
	s.visit(from, to, func(_ int64, one *traffic.Sample) { total.Then(one) })
	if s.fine.isEmpty() || s.fine.last < live {
		total.Open = 0
	}
	return total
}
