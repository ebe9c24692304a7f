package lb

// leastRequest is the power of two choices (Mitzenmacher): of two distinct candidates, the one with fewer requests in
// flight per unit of weight.
type leastRequest struct {
	random
	loads []load
}

// load is what is compared of a candidate, close together: of many endpoints, those drawn are in no cache.
type load struct {
	*seen
	weight int64
}

func newLeastRequest(candidates []*Host) policy {
	l := &leastRequest{random: drawOf(candidates)}
	for _, h := range candidates {
		l.loads = append(l.loads, load{h.seen, int64(h.Plan.Weight)})
	}
	return l
}

func (l *leastRequest) choose(info *Info, try int) int {
	return l.lighter(l.two(info, try))
}

// lighter compares active/weight without dividing. Weights already skew the draw; the comparison counts one more
// request, the one about to be made, so that idle endpoints differ by weight too.
func (l *leastRequest) lighter(i, j int) int {
	a, b := l.loads[i], l.loads[j]
	if (a.active.Load()+1)*b.weight <= (b.active.Load()+1)*a.weight {
		return i
	}
	return j
}
