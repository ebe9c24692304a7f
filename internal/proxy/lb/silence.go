package lb

import (
	"slices"
	"time"
)

// want says what the silence of endpoints means to a pick.
type want uint8

const (
	// undecided has silent endpoints left out until the policy has named one.
	undecided want = iota
	// heard has them left out.
	heard
	// anyone has them called like others.
	anyone
)

func (w want) takes(h *Host) bool { return w == anyone || !h.Silent() }

// decide says whether a call has an endpoint to go to that is not silent. It is asked before the policy names another one: that of some is the
// next in turn, and endpoints that are all silent are to be called in turn.
func (p *Picker[A]) decide(info *Info) want {
	for i := range p.tiers {
		for _, e := range p.tiers[i].candidates {
			if !e.Silent() && !e.Among(info.Tried) && !e.Ejected(time.Now) && !e.blocked(groupDecides) {
				return heard
			}
		}
	}
	return anyone
}

// hasSilent reports whether an endpoint is silent.
func (p *Picker[A]) hasSilent() bool {
	return slices.ContainsFunc(p.all, func(e *Endpoint[A]) bool { return e.Silent() })
}

// NoteSilence says that who is reached has fallen silent, or that it has not, or not any more.
func (h *Host) NoteSilence(silent bool) { //nolint:revive // says what there is, not what to do
	if h.silent.Swap(silent) != silent {
		h.changes.Load().note()
	}
}

// Silent reports whether others are called first, for nothing comes from the endpoint.
func (h *Host) Silent() bool { return h.silent.Load() }
