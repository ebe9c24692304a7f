package lb

import "time"

// SparePatience bounds the wait for a connection to an endpoint while there is another one to be called, and the user has
// set no bound: as long as it takes until a lost SYN was sent for the third time (RFC 6298 §2, after 1 and 3 s).
const SparePatience = 3500 * time.Millisecond

// Spare reports whether there is an endpoint that the call has not tried and that, for all that is known, can be called:
// waiting long for another one is not worth it then.
func (p *Picker[A]) Spare(info *Info) bool {
	tiers := p.tiers
	if p.weighing == nil && len(tiers) > 0 {
		tiers = tiers[len(tiers)-1:] // it includes the nearer ones
	}
	for i := range tiers {
		for _, e := range tiers[i].candidates {
			if !e.Among(info.Tried) && !e.watch.blocked(time.Now) && !e.Ejected(time.Now) {
				return true
			}
		}
	}
	return false
}
