package lb

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// Options says how a picker chooses.
type Options struct {
	// Group is what the picker's backend shares with others of its name; nil for nothing.
	Group *Group
	// Kind is the algorithm; LBUnset means LeastRequest. It says nothing where Client is valid.
	Kind model.LBKind
	// TableSize is that of a hash table: at least as many places of a ring (0 = 1024), or exactly as many of a Maglev table, a
	// prime number (0 = 65537).
	TableSize uint32
	// BalanceFactor bounds what a hash table sends to an endpoint, in percent of its even part of what is in flight to the Group;
	// 0 = nothing does.
	BalanceFactor uint32
	// WarmUp is how RoundRobin and LeastRequest begin with an endpoint; nil for at once.
	WarmUp *model.WarmUp
	// Utilization is the rule of the kind of that name.
	Utilization *model.BackendUtilization
	// Proximity limits the endpoints to those near Here, or prefers them. Locality, nil for none, has precedence, but not
	// over OnlySameNode.
	Proximity model.Proximity
	Locality  *model.LocalityLB
	Here      Place
	// Panic is the part of the healthy endpoints, in percent, of which fewer are not left by outlier detection; 0 = none. It
	// matters where Locality is set, for then each level has its own; else the Group sees to it.
	Panic uint32
	// Changes are those of the endpoints, nil where they are this picker's alone.
	Changes *Changes
	// Client is the caller's address where all its calls belong to one endpoint. Stay is where they have gone, and go on going:
	// what the picker says that is replaced. Timeout is for how long without a call they do; 0 = always.
	Client  netip.Addr
	Stay    Stay
	Timeout time.Duration
	// Pinned has calls go to the endpoint that their Info.Pin names.
	Pinned bool
}

// Picker chooses among a fixed set of endpoints with one policy.
type Picker[A any] struct {
	o     Options
	tiers []tier[A]
	all   []*Endpoint[A]
	pins  map[Pin]*Endpoint[A] // nil where no call is pinned
	// weighing says which tier a call goes to first; nil where that is always the first.
	weighing *weighing
}

// tier is a part with the policy that chooses among its candidates. Endpoints of another tier are picked where none of this
// one can be: those of the first tier that has one.
type tier[A any] struct {
	part[A]

	policy policy
}

// Info is what a call tells the picker. It is kept with the call: a new one for each pick would be an allocation.
type Info struct {
	// Tried are the addresses to which the call went in vain.
	Tried []netip.AddrPort
	// Left are addresses in whose localities the endpoint is not to be, while there is another one.
	Left []netip.AddrPort
	// Hash says which calls are alike, for policies that send those to one endpoint: see HashOf. 0 is like no other.
	Hash uint64
	// Pin is the endpoint that the call belongs to, if any; Options.Pinned says whether it counts.
	Pin Pin
	// At is about now: when the call came, or the try began. The zero time has the picker ask for it.
	At time.Time
}

func (i *Info) time() time.Time {
	if i.At.IsZero() {
		return time.Now()
	}
	return i.At
}

// Choice is what a picker decided.
type Choice[A any] struct {
	// Endpoint is nil where there is no candidate at all.
	Endpoint *Endpoint[A]
	// Tier counts from 0 how far from the best tier the endpoint was found.
	Tier int
	Why  Reason
}

// Reason says why an endpoint was chosen.
type Reason uint8

// Reasons, the best first.
const (
	// None means that there is no candidate.
	None Reason = iota
	// Usable means that it can be called, for all that is known.
	Usable
	// Untried means that it refused connections of late, as every other one did that was not tried.
	Untried
	// Repeated means that all have been tried.
	Repeated
	// Pinned means that the call belongs to it, see Pin.
	Pinned
)

// String names the reason.
func (r Reason) String() string {
	switch r {
	case None:
		return "no candidate"
	case Usable:
		return "usable"
	case Untried:
		return "refused connections, as did all that were not tried"
	case Repeated:
		return "all were tried"
	case Pinned:
		return "pinned"
	}
	return fmt.Sprintf("reason %d", r)
}

// String is for logs and tests.
func (c Choice[A]) String() string {
	if c.Endpoint == nil {
		return c.Why.String()
	}
	return fmt.Sprintf("%s (tier %d): %s", model.AppendAddr(nil, c.Endpoint.Plan.Addr), c.Tier, c.Why)
}

// NewPicker builds a picker. The slice must not be changed afterwards.
func NewPicker[A any](o Options, all []*Endpoint[A]) *Picker[A] {
	all = counted(&o, watched(o.Group, all))
	p := &Picker[A]{o: o, all: all, pins: pins(&o, all)}
	d := designOf(&o)
	for _, part := range partition(&o, all) {
		if d.order != nil {
			slices.SortFunc(part.candidates, func(a, b *Endpoint[A]) int { return d.order(&a.Host, &b.Host) })
		}
		hosts := make([]*Host, len(part.candidates))
		for i, e := range part.candidates {
			hosts[i] = &e.Host
		}
		part.members = nil
		p.tiers = append(p.tiers, tier[A]{part, d.build(hosts)})
	}
	if o.bySetting() && len(p.tiers) > 0 {
		p.beginWeighing()
	}
	return p
}

// Prepare does what takes long: a table over a thousand endpoints takes 15 ms and more. A call that comes before, or
// meanwhile, waits for it; a picker that nobody has yet is better prepared first, where no lock is held.
func (p *Picker[A]) Prepare() {
	for i := range p.tiers {
		if s, ok := p.tiers[i].policy.(slow); ok {
			s.prepare()
		}
	}
}

// IsSlow reports whether Prepare has something to do.
func (p *Picker[A]) IsSlow() bool {
	for i := range p.tiers {
		if _, ok := p.tiers[i].policy.(slow); ok {
			return true
		}
	}
	return false
}

// Stay says where the calls of Options.Client go, the zero value where nowhere.
func (p *Picker[A]) Stay() Stay {
	if p == nil || !p.o.Client.IsValid() || len(p.tiers) == 0 {
		return Stay{}
	}
	first, _ := p.begin(&Info{})
	tier := &p.tiers[first]
	at, called := 0, int64(0)
	if a, ok := tier.policy.(*affinity); ok {
		at, called = a.now()
	}
	return Stay{At: tier.candidates[at].Plan.Addr, called: called}
}

// All gives every endpoint, whatever its health.
func (p *Picker[A]) All() []*Endpoint[A] { return p.all }

// Here is where the caller was said to be.
func (p *Picker[A]) Here() Place { return p.o.Here }

// tries bounds how often a policy is asked for a call, before the rest are walked.
const tries = 3

// begin gives the tier that a call goes to first, and the shares that say so, nil for none.
func (p *Picker[A]) begin(info *Info) (int, *shares) {
	if p.weighing == nil {
		return 0, nil
	}
	s, hash := p.current(), info.Hash
	if p.o.Client.IsValid() {
		hash = p.weighing.client
	}
	first := s.draw(hash)
	return first, s
}

// turn gives the tier that is asked as the i-th: first, and then the others in their order.
func turn(first, i int) int {
	switch {
	case i == 0:
		return first
	case i <= first:
		return i - 1
	}
	return i
}

// Pick chooses an endpoint, avoiding those that the call has tried, those that are silent and those ejected while there is another: first one
// of another tier, then one that is silent, then one that is ejected.
func (p *Picker[A]) Pick(info *Info) Choice[A] {
	if e := p.pinned(info); e != nil {
		return Choice[A]{e, 0, Pinned}
	}
	if len(p.tiers) == 0 {
		return Choice[A]{}
	}
	first, s := p.begin(info)
	w := undecided
	for {
		if c := p.elsewhere(info, w, first, s); c.Endpoint != nil {
			return c
		}
		for i := range p.tiers {
			i = turn(first, i)
			if e := p.usable(i, info, &w, s.ejections(i)); e != nil {
				return Choice[A]{e, i, Usable}
			}
		}
		if w == anyone || !p.hasSilent() {
			break
		}
		w = anyone
	}
	for i := range p.tiers {
		i = turn(first, i)
		if e := p.tiers[i].untried(info, s.ejections(i)); e != nil {
			return Choice[A]{e, i, Untried}
		}
	}
	for i := range p.tiers {
		i = turn(first, i)
		ejections := s.ejections(i)
		if e := p.tiers[i].walk(info, func(e *Endpoint[A]) bool { return !e.blocked(ejections) }); e != nil {
			return Choice[A]{e, i, Repeated}
		}
	}
	return Choice[A]{}
}

// elsewhere chooses among the endpoints of localities that the call has not left.
func (p *Picker[A]) elsewhere(info *Info, w want, first int, s *shares) Choice[A] {
	if len(info.Left) == 0 {
		return Choice[A]{}
	}
	var left []model.Locality
	for _, e := range p.all {
		if e.Among(info.Left) {
			left = append(left, e.Plan.Locality)
		}
	}
	for i := range p.tiers {
		i = turn(first, i)
		ejections := s.ejections(i)
		if e := p.tiers[i].walk(info, func(e *Endpoint[A]) bool {
			return !e.Among(info.Tried) && !slices.Contains(left, e.Plan.Locality) && w.takes(&e.Host) && e.take(ejections, time.Now)
		}); e != nil {
			return Choice[A]{e, i, Usable}
		}
	}
	return Choice[A]{}
}

// usable gives an endpoint of a tier that can be called, nil where all are ejected, tried or not wanted. It takes the endpoint's trial where it
// is due: an endpoint found usable must be used.
func (p *Picker[A]) usable(tier int, info *Info, w *want, ejections ejections) *Endpoint[A] {
	t := &p.tiers[tier]
	n := len(t.candidates)
	for try := range min(tries, n) {
		e := t.candidates[t.policy.choose(info, try)]
		if *w == undecided && e.Silent() {
			*w = p.decide(info)
		}
		if !e.Among(info.Tried) && w.takes(&e.Host) && e.take(ejections, time.Now) {
			return e
		}
	}
	return t.walk(info, func(e *Endpoint[A]) bool {
		return !e.Among(info.Tried) && w.takes(&e.Host) && e.take(ejections, time.Now)
	})
}

// walk gives the first endpoint that will do, from where the policy says.
func (t *tier[A]) walk(info *Info, will func(*Endpoint[A]) bool) *Endpoint[A] {
	n, start := len(t.candidates), t.policy.rest(info)
	for i := range n {
		if e := t.candidates[(start+i)%n]; will(e) {
			return e
		}
	}
	return nil
}

// untried gives an endpoint that refused connections of late, but was not tried. One that outlier detection has ejected is
// not called at all.
func (t *tier[A]) untried(info *Info, ejections ejections) *Endpoint[A] {
	return t.walk(info, func(e *Endpoint[A]) bool { return !e.Among(info.Tried) && !e.blocked(ejections) })
}
