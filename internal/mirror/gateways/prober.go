package gateways

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// Linkerd's: a period is up to this much longer, so that not all ask at once.
const jitter = 0.1

// mostAddresses bounds what a name leads to.
const mostAddresses = 16

// Target is one gateway of a cluster: an address or a name.
type Target struct {
	Cluster, Address string
	Port             uint16
	Probe            model.LinkProbe
}

// Options configure a Prober.
type Options struct {
	// Ask asks a URL and says how it failed; nil for HTTP. Resolve finds the addresses of a name; nil for the machine's way.
	Ask     func(ctx context.Context, url string) error
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)
	// Changed is called when Alive gives something else than before. It must not block.
	Changed func()
	// Probed is told of every probe.
	Probed func(cluster string, took time.Duration, err error)
	Logger *slog.Logger
}

// State is how it stands with a gateway.
type State struct {
	Cluster, Address string
	Alive            bool
	// Latency is how long the last answer took, 0 before the first. Cause says why the last probe failed, empty where it did not.
	Latency time.Duration
	Cause   string
}

// Prober asks gateways.
type Prober struct {
	o       Options
	working sync.WaitGroup

	mu    sync.Mutex
	ctx   context.Context //nolint:containedctx // of Run: gateways come and go while it lasts
	known map[Target]*gateway
}

// gateway is what is known of one. Its prober's lock guards it.
type gateway struct {
	Target
	stop      context.CancelFunc
	addresses []netip.Addr
	dead      bool
	failures  int
	latency   time.Duration
	cause     string
}

// New gives a Prober that asks nobody. It does no I/O.
func New(o Options) *Prober {
	if o.Ask == nil {
		o.Ask = asker()
	}
	if o.Resolve == nil {
		o.Resolve = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	return &Prober{o: o, known: map[Target]*gateway{}}
}

// asker asks by HTTP: on a connection of its own each time, so that what answers is what a new call would get.
func asker() func(ctx context.Context, url string) error {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context, url string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, _ = io.CopyN(io.Discard, resp.Body, 4096)
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("it answered %s", resp.Status)
		}
		return nil
	}
}

// Run asks until ctx ends, and returns when all that it started has ended.
func (p *Prober) Run(ctx context.Context) {
	p.mu.Lock()
	p.ctx = ctx
	for _, g := range p.known {
		p.start(g)
	}
	p.mu.Unlock()
	<-ctx.Done()
	p.working.Wait()
}

// Want says which gateways there are, in place of those of before.
func (p *Prober) Want(targets []Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := make(map[Target]bool, len(targets))
	changed := false
	for _, t := range targets {
		wanted[t] = true
		if p.known[t] != nil {
			continue
		}
		g := &gateway{Target: t}
		if at, err := netip.ParseAddr(t.Address); err == nil {
			g.addresses = []netip.Addr{at.Unmap()}
		}
		p.known[t] = g
		p.start(g)
		changed = true
	}
	for t, g := range p.known {
		if !wanted[t] {
			if g.stop != nil {
				g.stop()
			}
			delete(p.known, t)
			changed = true
		}
	}
	if changed {
		p.o.Changed()
	}
}

// start begins to ask a gateway, with the lock held.
func (p *Prober) start(g *gateway) {
	if p.ctx == nil || p.ctx.Err() != nil || g.stop != nil {
		return
	}
	var ctx context.Context
	ctx, g.stop = context.WithCancel(p.ctx)
	p.working.Go(func() { p.follow(ctx, g) })
}

// follow asks a gateway again and again.
func (p *Prober) follow(ctx context.Context, g *gateway) {
	period := g.Probe.Period
	if period <= 0 {
		period = 3 * time.Second
	}
	for {
		p.probe(ctx, g)
		timer := time.NewTimer(period + time.Duration(rand.Float64()*jitter*float64(period))) //nolint:gosec // spreads load
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// probe asks once, all addresses of the gateway, of which one has to answer.
func (p *Prober) probe(ctx context.Context, g *gateway) {
	limit := g.Probe.Timeout
	if limit <= 0 {
		limit = 30 * time.Second
	}
	began := time.Now()
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	addresses, err := p.resolve(within, g)
	if err == nil && g.Probe.Port != 0 {
		err = p.ask(within, g, addresses)
	}
	if ctx.Err() != nil {
		return
	}
	if p.o.Probed != nil && g.Probe.Port != 0 {
		p.o.Probed(g.Cluster, time.Since(began), err)
	}
	p.note(ctx, g, addresses, time.Since(began), err)
}

func (p *Prober) resolve(ctx context.Context, g *gateway) ([]netip.Addr, error) {
	if at, err := netip.ParseAddr(g.Address); err == nil {
		return []netip.Addr{at.Unmap()}, nil
	}
	found, err := p.o.Resolve(ctx, g.Address)
	if err == nil && len(found) == 0 {
		err = errors.New("the name has no address")
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	slices.SortFunc(found, netip.Addr.Compare)
	found = slices.Compact(found)
	return found[:min(len(found), mostAddresses)], err
}

func (p *Prober) ask(ctx context.Context, g *gateway, addresses []netip.Addr) error {
	var errs []error
	for _, a := range addresses {
		err := p.o.Ask(ctx, "http://"+netip.AddrPortFrom(a, g.Probe.Port).String()+g.Probe.Path)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// note takes what a probe has found.
func (p *Prober) note(ctx context.Context, g *gateway, addresses []netip.Addr, took time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, before := g.dead, g.addresses
	if len(addresses) > 0 {
		g.addresses = addresses
	}
	if g.cause = ""; err == nil {
		g.failures, g.dead, g.latency = 0, false, took
	} else {
		g.failures++
		g.cause = err.Error()
		g.dead = g.dead || g.failures >= max(1, g.Probe.Failures)
	}
	if g.dead != was {
		attrs := []slog.Attr{slog.String("cluster", g.Cluster), slog.String("gateway", g.Address), slog.String("cause", g.cause)}
		if g.dead {
			p.o.Logger.LogAttrs(ctx, slog.LevelWarn, "gateway is dead: mirrors do without it", attrs...)
		} else {
			p.o.Logger.LogAttrs(ctx, slog.LevelInfo, "gateway is alive again", attrs...)
		}
	}
	if g.dead != was || !slices.Equal(before, g.addresses) {
		p.o.Changed()
	}
}

// Alive gives the addresses that are alive, by cluster. A cluster with gateways has an entry, be they all dead.
func (p *Prober) Alive() map[string][]netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string][]netip.AddrPort{}
	for _, g := range p.known {
		list := out[g.Cluster]
		if !g.dead {
			for _, a := range g.addresses {
				list = append(list, netip.AddrPortFrom(a, g.Port))
			}
		}
		slices.SortFunc(list, netip.AddrPort.Compare)
		out[g.Cluster] = slices.Compact(list)
	}
	return out
}

// States lists the gateways by cluster and address.
func (p *Prober) States() []State {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]State, 0, len(p.known))
	for _, g := range p.known {
		out = append(out, State{Cluster: g.Cluster, Address: g.Address, Alive: !g.dead, Latency: g.latency, Cause: g.cause})
	}
	slices.SortFunc(out, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Address, b.Address))
	})
	return out
}
