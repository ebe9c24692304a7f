package directory

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/dns"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Endpoints that are given by name (ServiceEntry, resolution DNS) are resolved here, as long as a destination that
// has them is known. The pickers follow; the last good answer stays in force while the name cannot be resolved.

// Resolver finds the addresses of a host. dns.Resolver is one.
type Resolver interface {
	Resolve(ctx context.Context, host string) (dns.Resolved, error)
}

// Bounds of the time between two questions for the same name.
const (
	minResolve   = time.Second
	maxResolve   = 5 * time.Minute
	retryResolve = 5 * time.Second // after a failure
)

// maxAddresses bounds the addresses of a name and a family that are called, whatever a server answers.
const maxAddresses = 256

// hostWatch is a name that is being resolved for some backends. The directory's mu guards it, but for what is atomic.
type hostWatch struct {
	users map[*Backend]bool
	addrs []pair
	stop  func()
	// heeded are the addresses in force, IPv4 first and in order; of the goroutine that asks.
	heeded []netip.Addr
	// first is closed once there was an answer, good or bad.
	first chan struct{}
	err   atomic.Pointer[error] // of the last question
}

// hosts are the names that endpoints are given by, while backends have them. The directory's mu guards byName.
type hosts struct {
	byName   map[string]*hostWatch
	resolver Resolver
	run      func(func(context.Context))
	log      *slog.Logger
	// answered puts an answer in force. mu is free.
	answered func(*hostWatch, []pair)
}

// watch begins to resolve the names of a backend, or joins those who do. mu is held.
func (h *hosts) watch(b *Backend) {
	if b.IsByName() {
		return // its DNS says at which port the hosts are that calls name
	}
	for i := range b.Plan.DNS {
		host := string(b.Plan.DNS[i].Host)
		w := h.byName[host]
		if w == nil {
			w = &hostWatch{users: map[*Backend]bool{}, first: make(chan struct{})}
			h.byName[host] = w
			h.startResolving(host, w)
		}
		w.users[b] = true
		b.names = append(b.names, w)
	}
}

// startResolving answers at once for an address and starts a goroutine for a name.
func (h *hosts) startResolving(host string, w *hostWatch) {
	if a, err := netip.ParseAddr(host); err == nil {
		w.addrs, w.stop = []pair{{addr: a.Unmap()}}, func() {}
		close(w.first)
		return
	}
	stopped := make(chan struct{})
	w.stop = func() { close(stopped) }
	h.run(func(ctx context.Context) { h.keepResolving(ctx, host, w, stopped) })
}

// unwatch is the counterpart of watch. mu is held.
func (h *hosts) unwatch(b *Backend) {
	for i := range b.Plan.DNS {
		host := string(b.Plan.DNS[i].Host)
		if w := h.byName[host]; w != nil && w.users[b] {
			delete(w.users, b)
			if len(w.users) == 0 {
				w.stop()
				delete(h.byName, host)
			}
		}
	}
}

// keepResolving asks for a name until ctx ends or it is stopped, again shortly before each answer expires.
func (h *hosts) keepResolving(ctx context.Context, host string, w *hostWatch, stopped <-chan struct{}) {
	again := time.NewTimer(0)
	defer again.Stop()
	for first := true; ; first = false {
		select {
		case <-again.C:
		case <-stopped:
			return
		case <-ctx.Done():
			return
		}
		found, err := h.resolver.Resolve(ctx, host)
		if ctx.Err() != nil {
			return
		}
		wait := retryResolve
		if err == nil {
			w.err.Store(nil)
			ttl := min(max(found.TTL, minResolve), maxResolve)
			wait = max(ttl-ttl/10, minResolve)
			h.heed(ctx, host, w, found.Addrs)
		} else {
			w.err.Store(&err)
			h.log.WarnContext(ctx, "endpoint name not resolved, the last answer stays in force",
				slog.String("host", host), slog.Any("error", err))
		}
		if first {
			close(w.first)
		}
		again.Reset(wait)
	}
}

// heed puts an answer in force, as far as it goes, where it says something new: servers answer in another order each time, and
// may want to be asked every second.
func (h *hosts) heed(ctx context.Context, host string, w *hostWatch, answer []netip.Addr) {
	addrs := make([]netip.Addr, 0, len(answer))
	for _, a := range answer {
		addrs = append(addrs, a.Unmap())
	}
	slices.SortFunc(addrs, netip.Addr.Compare) // IPv4 first
	addrs = slices.Compact(addrs)
	if v4, v6 := byFamily(addrs); max(len(v4), len(v6)) > maxAddresses {
		h.log.WarnContext(ctx, "endpoint name has too many addresses, the lowest ones are called",
			slog.String("host", host), slog.Int("addresses", len(addrs)), slog.Int("of_a_family", maxAddresses))
		addrs = slices.Concat(v4[:min(len(v4), maxAddresses)], v6[:min(len(v6), maxAddresses)])
	}
	if !slices.Equal(addrs, w.heeded) {
		w.heeded = addrs
		h.answered(w, paired(addrs))
	}
}

// byFamily parts addresses that are in order.
func byFamily(addrs []netip.Addr) (v4, v6 []netip.Addr) {
	n := slices.IndexFunc(addrs, func(a netip.Addr) bool { return !a.Is4() })
	if n < 0 {
		n = len(addrs)
	}
	return addrs[:n], addrs[n:]
}

// resolved puts an answer in force.
func (t *Directory) resolved(w *hostWatch, addrs []pair) {
	t.mu.Lock()
	w.addrs = addrs
	for b := range w.users {
		t.stock.pick(b)
	}
	t.mu.Unlock()
	t.finish()
}

// endpoints are the endpoints of a backend that come from names. mu is held.
func (h *hosts) endpoints(b *plan.Backend) []plan.Endpoint {
	var out []plan.Endpoint
	for i := range b.DNS {
		d := &b.DNS[i]
		w := h.byName[string(d.Host)]
		if w == nil {
			continue
		}
		for _, a := range w.addrs {
			out = append(out, plan.Endpoint{
				Addr: netip.AddrPortFrom(a.addr, d.Port), Other: a.other, Weight: max(d.Weight, 1), Health: plan.Healthy,
				Locality: d.Locality, Labels: d.Labels, Meshed: d.Meshed, Mutual: d.Mutual, Identity: d.Identity,
			})
		}
	}
	return out
}

// pair is an address of a name, and one of the other family to go with it.
type pair struct{ addr, other netip.Addr }

// paired makes endpoints of the addresses of a name, which are in order. Nothing says which addresses are one host, but any of
// the name will do, so that each has one of the other family beside it, in case its own leads nowhere: always the same one,
// however the rest change.
func paired(addrs []netip.Addr) []pair {
	more, fewer := byFamily(addrs)
	if len(more) < len(fewer) {
		more, fewer = fewer, more
	}
	out := make([]pair, len(more))
	for i, a := range more {
		out[i].addr = a
		var best uint64
		for _, b := range fewer {
			if rank := likingOf(a, b); rank > best || !out[i].other.IsValid() {
				out[i].other, best = b, rank
			}
		}
	}
	return out
}

// likingOf ranks the candidates for a pair (rendezvous hashing).
func likingOf(a, b netip.Addr) uint64 {
	h := fnv.New64a()
	a16, b16 := a.As16(), b.As16()
	_, _ = h.Write(a16[:]) // a hash never fails
	_, _ = h.Write(b16[:])
	return h.Sum64()
}

// AwaitNames waits until every name of the backend was asked for once, at most for FirstUse. It reports whether there
// was anything to wait for.
func (b *Backend) AwaitNames(ctx context.Context) bool {
	if len(b.names) == 0 {
		return false
	}
	waited := false
	ctx, cancel := context.WithTimeout(ctx, FirstUse)
	defer cancel()
	for _, w := range b.names {
		select {
		case <-w.first:
			continue
		default:
		}
		select {
		case <-w.first:
			waited = true
		case <-ctx.Done():
			return waited
		}
	}
	return waited
}

// errUnanswered means that a name was asked for, and that calls have waited for an answer long enough.
var errUnanswered = errors.New("no DNS server has answered yet")

// Unresolved gives the first name of the backend's endpoints that could not be resolved when it was last asked for, and
// why; nil where that is not the reason for having none.
func (b *Backend) Unresolved() (host model.Hostname, err error) {
	for i, w := range b.names {
		select {
		case <-w.first:
		default:
			return b.Plan.DNS[i].Host, errUnanswered
		}
		if err := w.err.Load(); err != nil {
			return b.Plan.DNS[i].Host, *err
		}
	}
	return "", nil
}
