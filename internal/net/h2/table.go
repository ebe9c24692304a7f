package h2

// table finds streams by ID: a hash table with chains through the streams themselves. IDs are consecutive odd
// numbers, so that nearly every chain has one link.
type table struct {
	buckets []*stream
	n       int
}

func (t *table) slot(id uint32) **stream {
	return &t.buckets[int(id>>1)&(len(t.buckets)-1)]
}

func (t *table) get(id uint32) *stream {
	if t.n == 0 {
		return nil
	}
	s := *t.slot(id)
	for s != nil && s.id != id {
		s = s.chain
	}
	return s
}

func (t *table) put(s *stream) {
	if t.n >= len(t.buckets) {
		t.grow()
	}
	at := t.slot(s.id)
	s.chain, *at = *at, s
	t.n++
}

func (t *table) grow() {
	old := t.buckets
	t.buckets = make([]*stream, max(8, 2*len(old)))
	for _, s := range old {
		for s != nil {
			next := s.chain
			at := t.slot(s.id)
			s.chain, *at = *at, s
			s = next
		}
	}
}

// del removes s if it is there.
func (t *table) del(s *stream) {
	if t.n == 0 || s.id == 0 {
		return
	}
	for at := t.slot(s.id); *at != nil; at = &(*at).chain {
		if *at == s {
			*at, s.chain = s.chain, nil
			t.n--
			return
		}
	}
}

// each calls f for every stream; f may remove the stream it is given.
func (t *table) each(f func(*stream)) {
	for _, s := range t.buckets {
		for s != nil {
			next := s.chain
			f(s)
			s = next
		}
	}
}
