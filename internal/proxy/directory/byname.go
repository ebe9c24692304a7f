package directory

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// A backend of resolution DYNAMIC_DNS has no endpoints but those of the names that calls give: a wildcard stands for any
// number of hosts. Each name is a backend of its own, with the settings of the wildcard's, resolved and kept as if a
// ServiceEntry of resolution DNS named it, until nothing has called it for a while.

// maxNamed bounds the names that are known of all backends together, as Envoy's DNS cache does (max_hosts); the one that was
// called longest ago makes room.
const maxNamed = 1024

// named is what is known of one name of a backend.
type named struct {
	of   *Backend
	host model.Hostname
	used atomic.Int64 // when it was last called, Unix ns
	gone atomic.Bool  // it is followed no longer
}

// ErrNoName means that nothing in a call says which host it is for.
var ErrNoName = errors.New("resolution DYNAMIC_DNS: the call names no host")

// IsByName reports whether the backend has no endpoints of its own: calls go to the host that they name. See ByName.
func (b *Backend) IsByName() bool { return b.Plan.Resolution == model.ResolveDynamicDNS }

// IsNamed reports whether the backend is that of a host of another one, and still followed.
func (b *Backend) IsNamed(of *Backend, now time.Time) bool {
	if b == nil || b.named == nil || b.named.of != of || b.named.gone.Load() {
		return false
	}
	b.named.used.Store(now.UnixNano())
	return true
}

// ByName gives the backend of a host that a call of b names.
func (t *Directory) ByName(b *Backend, host model.Hostname, now time.Time) *Backend {
	t.mu.Lock()
	defer t.unlock()
	if found := b.children[host]; found.IsNamed(b, now) {
		return found
	}
	if b.newest == nil { // another configuration is in force meanwhile; this call has the old one, and nothing follows it
		return b
	}
	if len(t.stock.named) >= maxNamed {
		t.stock.forgetOldest()
	}
	return t.stock.nameChild(b, host, now.UnixNano())
}

// unlock frees mu and does what is left to be done then.
func (t *Directory) unlock() {
	t.mu.Unlock()
	t.finish()
}

// nameChild begins to follow a name of a backend.
func (s *stock) nameChild(b *Backend, host model.Hostname, used int64) *Backend {
	p := *b.Plan
	p.Name = strings.TrimSuffix(p.Name, string(p.Host)) + string(host)
	p.Resolution, p.DNS = model.ResolveDNS, slices.Clone(p.DNS)
	for i := range p.DNS {
		p.DNS[i].Host = host
	}
	if p.TLS.SNI == "" {
		p.TLS.SNI = string(host)
	}
	child := s.backend(&p, b.pinned, nil)
	child.named = &named{of: b, host: host}
	child.named.used.Store(used)
	if b.children == nil {
		b.children = map[model.Hostname]*Backend{}
	}
	b.children[host] = child
	s.named[child] = true
	return child
}

// inherit has the names of a backend be followed for the one that replaces it.
func (s *stock) inherit(b, before *Backend) {
	if before == nil || !b.IsByName() {
		return
	}
	for host, child := range before.children {
		s.nameChild(b, host, child.named.used.Load())
	}
}

// forget stops following a name.
func (s *stock) forget(child *Backend) {
	child.named.gone.Store(true)
	delete(child.named.of.children, child.named.host)
	delete(s.named, child)
	s.releaseBackend(child)
}

// forgetOldest stops following the name that was called longest ago.
func (s *stock) forgetOldest() {
	var oldest *Backend
	for child := range s.named {
		if oldest == nil || child.named.used.Load() < oldest.named.used.Load() {
			oldest = child
		}
	}
	if oldest != nil {
		s.forget(oldest)
	}
}

// Sweep stops following names that nothing calls any more, until ctx ends.
func (t *Directory) Sweep(ctx context.Context) {
	tick := time.NewTicker(unusedAfter / 5)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			t.forgetUnused(now.Add(-unusedAfter).UnixNano())
		}
	}
}

func (t *Directory) forgetUnused(since int64) {
	t.mu.Lock()
	defer t.unlock()
	for child := range t.stock.named {
		if child.named.used.Load() < since {
			t.stock.forget(child)
		}
	}
}
