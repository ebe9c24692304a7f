package discovery

import (
	"maps"
	"slices"
)

const (
	// requestSize is what a client puts into one message, in bytes, far enough below maxRequest for the last entry.
	requestSize = maxRequest / 2
	// entrySize bounds what tags and lengths add to the texts of one entry, in bytes.
	entrySize = 16
)

// split cuts a request into ones of about size bytes at most, to be sent in their order. What the client has comes before
// the names that lead there.
func (r *Request) split(size int) []*Request {
	s := splitter{size: size, part: &Request{Node: r.Node, Ack: r.Ack, Health: r.Health}}
	for _, n := range slices.Sorted(maps.Keys(r.InitialVersions)) {
		version := r.InitialVersions[n]
		put(&s.room(len(n)+len(version)).InitialVersions, n, version)
	}
	for _, n := range r.Unsubscribe {
		part := s.room(len(n))
		part.Unsubscribe = append(part.Unsubscribe, n)
	}
	for i := range r.Nacks {
		for _, e := range r.Nacks[i].Errors {
			s.room(len(e.Name)+len(e.Reason)).refuse(r.Nacks[i].Nonce, e)
		}
	}
	for _, e := range r.Partial {
		part := s.room(len(e.Name) + len(e.Reason))
		part.Partial = append(part.Partial, e)
	}
	for _, n := range r.Subscribe {
		told, known := r.InitialNames[n]
		part := s.room(2*len(n) + len(told))
		part.Subscribe = append(part.Subscribe, n)
		if known {
			put(&part.InitialNames, n, told)
		}
	}
	for _, part := range s.parts {
		part.More = r.Node != nil
	}
	return append(s.parts, s.part)
}

// splitter fills requests one after the other.
type splitter struct {
	size, used int
	part       *Request
	parts      []*Request // that are full
}

// room gives the request that takes the next entry, whose texts have n bytes.
func (s *splitter) room(n int) *Request {
	n += entrySize
	if s.used > 0 && s.used+n > s.size {
		s.parts = append(s.parts, s.part)
		s.part, s.used = &Request{}, 0
	}
	s.used += n
	return s.part
}

// refuse adds a refused resource of the response with this nonce.
func (r *Request) refuse(nonce uint64, e Rejection) {
	if last := len(r.Nacks) - 1; last < 0 || r.Nacks[last].Nonce != nonce {
		r.Nacks = append(r.Nacks, Nack{Nonce: nonce})
	}
	last := &r.Nacks[len(r.Nacks)-1]
	last.Errors = append(last.Errors, e)
}

func put(table *map[string]string, key, value string) { //nolint:gocritic // the first entry makes the table
	if *table == nil {
		*table = make(map[string]string)
	}
	(*table)[key] = value
}
