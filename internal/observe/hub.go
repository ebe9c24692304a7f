package observe

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"fairlead.dev/fairlead/internal/model"
)

// Summaries takes what sidecars send unasked.
type Summaries interface {
	// Summary takes the summary of the pod that the link's token names. It is called from the links' goroutines, in the order
	// of each link; raw is the callee's. An error is logged once for each link.
	Summary(pod model.Key, raw []byte) error
}

// HubOptions configure NewHub.
type HubOptions struct {
	// Cluster says which pods are meant. Required.
	Cluster Cluster
	// Summaries may be nil.
	Summaries Summaries
	// Logger is required.
	Logger *slog.Logger
}

// Hub is the control plane's end of the channel: the sidecars that are connected to this replica.
type Hub struct {
	o HubOptions // fixed after NewHub

	mu       sync.Mutex
	sidecars map[model.Key]*sidecar // guarded by mu, as everything below
	taps     map[uint64]*listener
	lastTap  uint64
}

// sidecar is one that is connected.
type sidecar struct {
	pod  model.Key
	link Link
	wake chan struct{} // one slot: wanted has changed

	mu     sync.Mutex
	wanted map[uint64]*order // guarded by mu
}

// NewHub checks the options.
func NewHub(o HubOptions) (*Hub, error) {
	if o.Cluster == nil || o.Logger == nil {
		return nil, errors.New("observation: Cluster and Logger are required")
	}
	return &Hub{o: o, sidecars: make(map[model.Key]*sidecar), taps: make(map[uint64]*listener)}, nil
}

// Serve speaks with the sidecar of a pod until the link is over; it must end with ctx. A pod has one link:
// the newest.
func (h *Hub) Serve(ctx context.Context, pod model.Key, link Link) error {
	ctx, cancel := context.WithCancel(ctx)
	s := &sidecar{pod: pod, link: link, wake: make(chan struct{}, 1), wanted: make(map[uint64]*order)}
	h.attach(s)
	var sending sync.WaitGroup
	sending.Go(func() { s.send(ctx) })
	err := h.receive(ctx, s)
	h.detach(s)
	cancel()
	link.Close()
	sending.Wait()
	return err
}

// attach makes a sidecar known, in place of the one that its pod had.
func (h *Hub) attach(s *sidecar) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.sidecars[s.pod]; old != nil {
		old.link.Close()
	}
	h.sidecars[s.pod] = s
	for _, l := range h.taps {
		poke(l.look) // it may be one that it asks
	}
}

func (h *Hub) detach(s *sidecar) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sidecars[s.pod] != s {
		return
	}
	delete(h.sidecars, s.pod)
	for _, l := range h.taps {
		poke(l.look)
	}
}

// Connected lists the pods whose sidecars are connected to this replica, in order.
func (h *Hub) Connected() []model.Key {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Keys(h.sidecars), func(a, b model.Key) int { return strings.Compare(a.String(), b.String()) })
}

// receive hands on what a sidecar says.
func (h *Hub) receive(ctx context.Context, s *sidecar) error {
	complained := false
	for {
		message, err := s.link.Receive()
		if err != nil {
			return err
		}
		words, err := parseSaid(message)
		if err == nil && len(words.summary) > 0 && h.o.Summaries != nil {
			err = h.o.Summaries.Summary(s.pod, words.summary)
		}
		if err != nil && !complained {
			complained = true
			h.o.Logger.LogAttrs(ctx, slog.LevelWarn, "observation: what a sidecar says was not understood",
				slog.String("proxy", s.pod.Name+"."+s.pod.Namespace), slog.Any("error", err))
		}
		for i := range words.tapped {
			h.deliver(s, &words.tapped[i])
		}
	}
}

// deliver gives events to the tap that they are for, where that asks this sidecar. Others are nobody's.
func (h *Hub) deliver(s *sidecar, t *tapped) {
	h.mu.Lock()
	l := h.taps[t.id]
	h.mu.Unlock()
	if l == nil || !s.wants(t.id) {
		return
	}
	l.take(s.pod, t)
}

// want has a sidecar carry out an order, which ends where it is nil.
func (s *sidecar) want(id uint64, o *order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o == nil {
		delete(s.wanted, id)
	} else {
		s.wanted[id] = o
	}
	poke(s.wake)
}

func (s *sidecar) wants(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted[id] != nil
}

// changes gives what a sidecar that has carried out some orders must be told, and what it has then.
func (s *sidecar) changes(told map[uint64]*order) (news []ask, now map[uint64]*order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range told {
		if s.wanted[id] == nil {
			news = append(news, ask{untap: id})
		}
	}
	for id, o := range s.wanted {
		if told[id] != o {
			news = append(news, ask{tap: o})
		}
	}
	return news, maps.Clone(s.wanted)
}

// send tells a sidecar what is wanted of it, as that changes, until ctx ends.
func (s *sidecar) send(ctx context.Context) {
	var told map[uint64]*order
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		var news []ask
		news, told = s.changes(told)
		for i := range news {
			if err := s.link.Send(news[i].append(nil)); err != nil {
				s.link.Close()
				return
			}
		}
	}
}
