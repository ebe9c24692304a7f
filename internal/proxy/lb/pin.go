package lb

import (
	"net/netip"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Pin names an endpoint that a call belongs to: it goes there as long as that endpoint can be called, whatever the policy
// would choose. The zero value is no pin.
type Pin struct {
	Addr netip.AddrPort
	// Pod is a hash of the pod's name, so that the next pod at an address is another endpoint; 0 where there is none.
	Pod uint64
}

// PinOf gives the pin of an endpoint.
func PinOf(e *plan.Endpoint) Pin {
	p := Pin{Addr: e.Addr}
	if w := &e.Workload; w.Pod != "" {
		p.Pod = HashOf([]byte(w.Namespace + "/" + w.Pod))
	}
	return p
}

// pins finds endpoints by their pins. Draining ones are among them, as those that finish what they have; distance counts
// where it excludes an endpoint, and not where it is a preference.
func pins[A any](o *Options, all []*Endpoint[A]) map[Pin]*Endpoint[A] {
	if !o.Pinned {
		return nil
	}
	out := make(map[Pin]*Endpoint[A], len(all))
	for _, e := range all {
		if e.Plan.Health == plan.Unhealthy || o.Proximity == model.OnlySameNode && !o.Here.onNode(&e.Host) {
			continue
		}
		out[PinOf(&e.Plan)] = e
	}
	return out
}

// Has reports whether a pin names an endpoint of the picker that may be called.
func (p *Picker[A]) Has(pin Pin) bool { return p.pins[pin] != nil }

// pinned gives the endpoint that a call belongs to, nil where it belongs to none, has been there in vain, or the endpoint is
// ejected.
func (p *Picker[A]) pinned(info *Info) *Endpoint[A] {
	if !info.Pin.Addr.IsValid() {
		return nil
	}
	if e := p.pins[info.Pin]; e != nil && !e.Among(info.Tried) && e.take(groupDecides, time.Now) {
		return e
	}
	return nil
}
