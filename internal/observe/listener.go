package observe

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

const (
	// maxListeners bounds the taps of one replica at a time.
	maxListeners = 32
	// waitingEvents bounds the events of a tap that wait for the command to read, waitingBytes what they hold together.
	waitingEvents, waitingBytes = 4096, 8 << 20
	// lookEvery is how often it is looked whether other pods are meant, sayEvery how often something is said in any case.
	lookEvery, sayEvery = time.Second, 5 * time.Second
	// maxShownPods bounds the names in Began.
	maxShownPods = 100
)

// Frame is one thing that a replica says to the command that taps. One with nothing in it says that the replica is there.
type Frame struct {
	// Began is in the first one, and again where something in it has changed.
	Began  *Began  `json:"began,omitempty"`
	Event  *Event  `json:"event,omitempty"`
	Missed *Missed `json:"missed,omitempty"`
}

// Began is whom a replica asks.
type Began struct {
	// Pods counts those that are meant, Asked those of them that are connected to this replica.
	Pods  int `json:"pods"`
	Asked int `json:"asked"`
	// Unmeshed are those that have no sidecar, a hundred at most.
	Unmeshed []string `json:"unmeshed,omitempty"`
	// Destinations counts the pods and Services that To means; absent where there is no To.
	Destinations *int `json:"destinations,omitempty"`
	// Asking names those that are asked, a hundred at most.
	Asking []string `json:"asking,omitempty"`
}

// listener is a tap of this replica: what a command asked for, and what came for it.
type listener struct {
	hub   *Hub
	id    uint64
	query Query
	look  chan struct{} // one slot: other sidecars may be meant
	some  chan struct{} // one slot: something came

	mu     sync.Mutex
	came   []arrival // guarded by mu, as everything below
	bytes  int
	missed Missed
}

// arrival is one event as it came.
type arrival struct {
	pod   model.Key
	event []byte
}

// busyError is the refusal of one tap too many.
type busyError struct{}

// Error implements error.
func (busyError) Error() string {
	return fmt.Sprintf("%d taps are open on this replica, which is the most at a time: end one", maxListeners)
}

// Tap asks the sidecars that a query means, and hands to say what they answer, until ctx ends or say fails. The query must
// have been checked.
func (h *Hub) Tap(ctx context.Context, q *Query, say func(Frame) error) error {
	l := &listener{hub: h, query: *q, look: make(chan struct{}, 1), some: make(chan struct{}, 1)}
	if err := h.open(l); err != nil {
		return err
	}
	defer h.close(l)
	return l.run(ctx, say)
}

func (h *Hub) open(l *listener) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.taps) >= maxListeners {
		return busyError{}
	}
	h.lastTap++
	l.id = h.lastTap
	h.taps[l.id] = l
	return nil
}

func (h *Hub) close(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.taps, l.id)
	for _, s := range h.sidecars {
		s.want(l.id, nil)
	}
}

// take keeps what came, as far as there is room.
func (l *listener) take(pod model.Key, t *tapped) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.missed.add(t.missed)
	for _, e := range t.each {
		if len(l.came) >= waitingEvents || l.bytes+len(e) > waitingBytes {
			l.missed.Overrun++
			continue
		}
		l.came = append(l.came, arrival{pod, e})
		l.bytes += len(e)
	}
	poke(l.some)
}

// given is what came since it was last asked for.
func (l *listener) given() ([]arrival, Missed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	came, missed := l.came, l.missed
	l.came, l.bytes, l.missed = nil, 0, Missed{}
	return came, missed
}

func (l *listener) run(ctx context.Context, say func(Frame) error) error {
	looking := time.NewTicker(lookEvery)
	defer looking.Stop()
	saying := time.NewTicker(sayEvery)
	defer saying.Stop()
	var plan assignment
	rate := allowance{most: float64(l.query.MaxRPS), left: float64(l.query.MaxRPS)}
	if err := say(Frame{Began: l.assign(&plan)}); err != nil {
		return err
	}
	for {
		var frame Frame
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.some:
			if err := l.pass(&rate, say); err != nil {
				return err
			}
			continue
		case <-looking.C:
			frame.Began = l.assign(&plan)
		case <-l.look:
			frame.Began = l.assign(&plan)
		case <-saying.C:
			if err := say(Frame{}); err != nil {
				return err
			}
			continue
		}
		if frame.Began != nil {
			if err := say(frame); err != nil {
				return err
			}
		}
	}
}

// pass hands on what came.
func (l *listener) pass(rate *allowance, say func(Frame) error) error {
	came, missed := l.given()
	for _, a := range came {
		e, err := parseEvent(a.event)
		if err != nil {
			missed.Overrun++
			continue
		}
		if !rate.take(time.Now()) {
			if !e.Begun { // what becomes of it is told, or counted, at its end
				missed.Beyond++
			}
			continue
		}
		e.Pod = a.pod.Name + "." + a.pod.Namespace
		e.Source.Labels = l.hub.o.Cluster.Labels(e.Source.Addr.Addr())
		e.Destination.Labels = l.hub.o.Cluster.Labels(e.Destination.Addr.Addr())
		if err := say(Frame{Event: &e}); err != nil {
			return err
		}
	}
	if missed != (Missed{}) {
		return say(Frame{Missed: &missed})
	}
	return nil
}

// allowance is a number of events per second, of which a second's worth waits for a burst.
type allowance struct {
	most, left float64
	at         time.Time
}

func (a *allowance) take(now time.Time) bool {
	if !a.at.IsZero() {
		a.left = min(a.most, a.left+a.most*max(0, now.Sub(a.at).Seconds()))
	}
	a.at = now
	if a.left < 1 {
		return false
	}
	a.left--
	return true
}

// assignment is whom a tap asks, and for what.
type assignment struct {
	asked map[model.Key]*sidecar
	order *order
	said  *Began
}

// assign has the sidecars asked that are meant by now, and gives what the command should hear of it; nil for nothing new.
func (l *listener) assign(a *assignment) *Began {
	pods := l.hub.o.Cluster.Pods(l.query.Resource)
	began := &Began{Pods: len(pods)}
	next := l.order(began)
	changed := a.order == nil || !sameOrder(a.order, next)
	if changed {
		a.order = next
	}
	asked := make(map[model.Key]*sidecar, len(pods))
	l.hub.mu.Lock()
	for i := range pods {
		key := pods[i].Key
		if !pods[i].Meshed {
			if len(began.Unmeshed) < maxShownPods {
				began.Unmeshed = append(began.Unmeshed, key.Name+"."+key.Namespace)
			}
			continue
		}
		if s := l.hub.sidecars[key]; s != nil {
			asked[key] = s
			if len(began.Asking) < maxShownPods {
				began.Asking = append(began.Asking, key.Name+"."+key.Namespace)
			}
		}
	}
	l.hub.mu.Unlock()
	began.Asked = len(asked)
	for key, s := range a.asked {
		if asked[key] != s {
			s.want(l.id, nil)
		}
	}
	for key, s := range asked {
		if changed || a.asked[key] != s {
			s.want(l.id, a.order)
		}
	}
	a.asked = asked
	if a.said != nil && a.said.same(began) {
		return nil
	}
	a.said = began
	return began
}

func (b *Began) same(o *Began) bool {
	destinations := func(b *Began) int {
		if b.Destinations == nil {
			return -1
		}
		return *b.Destinations
	}
	return b.Pods == o.Pods && b.Asked == o.Asked && slices.Equal(b.Unmeshed, o.Unmeshed) && slices.Equal(b.Asking, o.Asking) &&
		destinations(b) == destinations(o)
}

// order is what the sidecars are told, with the destinations of now.
func (l *listener) order(began *Began) *order {
	o := &order{id: l.id, filter: l.query.Filter, perSecond: min(l.query.MaxRPS, math.MaxInt32), headers: l.query.Headers, secrets: l.query.Secrets, begins: l.query.Begins}
	if l.query.To == nil {
		return o
	}
	o.filter.Direction = Outbound
	if l.query.To.Kind == "service" {
		hosts := l.hub.o.Cluster.Hosts(*l.query.To)
		o.filter.ToHosts = hosts[:min(len(hosts), maxTo)]
	} else {
		for _, p := range l.hub.o.Cluster.Pods(*l.query.To) {
			o.filter.To = append(o.filter.To, p.IPs...)
		}
		o.filter.To = o.filter.To[:min(len(o.filter.To), maxTo)]
	}
	n := len(o.filter.To) + len(o.filter.ToHosts)
	o.filter.Nowhere = n == 0
	began.Destinations = &n
	return o
}

func sameOrder(a, b *order) bool {
	return slices.Equal(a.filter.To, b.filter.To) && slices.Equal(a.filter.ToHosts, b.filter.ToHosts)
}
