package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// linkTo is what a lab is told of one that it is to be linked to.
type linkTo struct {
	Lab, Cluster string
	PodNetwork   podNetwork
	Prefixes     []netip.Prefix
	// Outward is the address that what leaves for the other lab has, where the two are on separate networks; invalid where pods
	// are called by their own. Node is the one that what this lab's node itself sends there has, in place of its own, which is that of
	// the other lab's node too: answers would end there. Invalid where the lab has no IPv4.
	Outward, Node netip.Addr
}

// links are a lab's links to others. Its methods are called from any goroutine.
type links struct {
	state  state
	logger *slog.Logger

	mu      sync.Mutex
	ctx     context.Context   //nolint:containedctx // of run: links last as long
	open    map[string]*lease // by the name of the other lab; guarded by mu, as ctx
	working sync.WaitGroup
}

// lease is a link as one of the two labs holds it: a connection to the other one that ends with either.
type lease struct {
	to   linkTo
	held *os.File
	end  context.CancelFunc
	done chan struct{}
}

func newLinks(s state, logger *slog.Logger) *links {
	return &links{state: s, logger: logger, open: map[string]*lease{}}
}

// run keeps links until ctx ends.
func (l *links) run(ctx context.Context) error {
	l.mu.Lock()
	l.ctx = ctx
	l.mu.Unlock()
	<-ctx.Done()
	l.working.Wait()
	return nil
}

// begin makes this lab's half of a link. Of the two labs the first one, which is given one file, the connection to the other lab,
// gives its half away; the second is given that too, and carries the frames.
func (l *links) begin(to linkTo, files []*os.File) (*os.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ctx == nil || l.ctx.Err() != nil:
		return nil, errors.New("the lab is not running yet, or no longer")
	case l.open[to.Lab] != nil:
		return nil, fmt.Errorf("linked to lab %q already; end that first: fairlead lab unlink %s %s", to.Lab, l.state.name(), to.Lab)
	case len(files) != 1 && len(files) != 2:
		return nil, fmt.Errorf("a link takes one or two files, not %d", len(files))
	}
	held, err := pollable(files[0])
	if err != nil {
		return nil, err
	}
	socket, err := newWire(to.PodNetwork, to.Prefixes)
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	if err := to.standIns(); err != nil {
		return nil, errors.Join(err, socket.Close(), held.Close(), removeWire(to.PodNetwork))
	}
	ctx, cancel := context.WithCancel(l.ctx)
	s := &lease{to: to, held: held, end: cancel, done: make(chan struct{})}
	l.open[to.Lab] = s
	var wire func() error
	if len(files) == 2 {
		other, err := pollable(files[1])
		if err != nil {
			cancel()
			delete(l.open, to.Lab)
			return nil, errors.Join(err, socket.Close(), held.Close(), removeWire(to.PodNetwork))
		}
		mine := socket
		socket, wire = nil, func() error { return carry(ctx, mine, other) }
	}
	l.working.Go(func() { l.keep(ctx, s, wire) })
	l.logger.Info("linked", "lab", to.Lab, "pods", to.Prefixes)
	return socket, nil
}

// standIns has what leaves for the other lab have the addresses that it is to have there.
func (t *linkTo) standIns() error {
	switch {
	case t.Outward.IsValid():
		return standIn(wireName(t.PodNetwork), t.Outward)
	case t.Node.IsValid():
		return standIn(wireName(t.PodNetwork), t.Node, ofNode()...)
	}
	return nil
}

// keep holds a link until either lab ends it.
func (l *links) keep(ctx context.Context, s *lease, wire func() error) {
	defer close(s.done)
	defer s.end()
	stop := context.AfterFunc(ctx, func() { _ = s.held.Close() })
	var wg sync.WaitGroup
	if wire != nil {
		wg.Go(func() {
			defer s.end()
			if err := wire(); err != nil && ctx.Err() == nil {
				l.logger.WarnContext(ctx, "the link broke", "lab", s.to.Lab, "reason", err)
			}
		})
	}
	_, _ = s.held.Read(make([]byte, 1)) // nothing is ever sent: this ends with the other lab
	s.end()
	if stop() {
		_ = s.held.Close()
	}
	wg.Wait()
	if err := errors.Join(forgetPeer(l.state, s.to), removeWire(s.to.PodNetwork)); err != nil {
		l.logger.WarnContext(ctx, "a link has left something", "lab", s.to.Lab, "reason", err)
	}
	l.mu.Lock()
	delete(l.open, s.to.Lab)
	l.mu.Unlock()
	l.logger.InfoContext(ctx, "no longer linked", "lab", s.to.Lab)
}

// finish ends a link and waits until it is gone.
func (l *links) finish(ctx context.Context, lab string) error {
	l.mu.Lock()
	s := l.open[lab]
	l.mu.Unlock()
	if s == nil {
		return fmt.Errorf("not linked to lab %q", lab)
	}
	s.end()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pollable gives a copy of a file that can be closed while it is read, however it came here.
func pollable(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		closeFD(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// forgetPeer takes away what the control plane was told of another lab.
func forgetPeer(s state, to linkTo) error {
	return errors.Join(os.RemoveAll(s.path("clusters", to.Cluster)), os.RemoveAll(s.path("roots", to.Cluster+".pem")))
}

// What is beside the sources of another lab, and says how it is linked: the former is for the control plane, the latter for links to come.
const (
	mirrorsOnlyMark = ".mirrors-only"
	byGatewaysMark  = ".by-gateways"
)

// linkedTo lists the clusters that a lab is linked to: those whose pods it calls at their addresses, and those that it calls by gateways.
func (s state) linkedTo() (direct, byGateways []string, err error) {
	entries, err := os.ReadDir(s.path("clusters"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // what tellPeer has not finished
		}
		if _, err := os.Stat(s.path("clusters", e.Name(), byGatewaysMark)); err == nil {
			byGateways = append(byGateways, e.Name())
		} else {
			direct = append(direct, e.Name())
		}
	}
	return direct, byGateways, nil
}

// tellPeer tells a lab's control plane of another lab: whom to trust, then what runs there.
func tellPeer(s, peer state, cfg *config) error {
	root, err := os.ReadFile(peer.rootCert())
	if err != nil {
		return fmt.Errorf("the root certificate of lab %q: %w", cfg.Name, err)
	}
	name := cfg.clusterName()
	if err := writeAtomic(s.path("roots", name+".pem"), root); err != nil {
		return err
	}
	making := s.path("clusters", "."+name)
	if err := errors.Join(os.RemoveAll(making), os.Mkdir(making, 0o700)); err != nil {
		return err
	}
	for i, path := range append(slices.Clone(cfg.Paths), peer.applied(), peer.generated()) {
		if err := os.Symlink(path, filepath.Join(making, fmt.Sprintf("%03d", i))); err != nil {
			return err
		}
	}
	for name, said := range map[string]bool{mirrorsOnlyMark: cfg.mirrorsOnly, byGatewaysMark: cfg.byGateways} {
		if !said {
			continue
		}
		if err := writeAtomic(filepath.Join(making, name), nil); err != nil {
			return err
		}
	}
	return os.Rename(making, s.path("clusters", name))
}

// Link makes one mesh of two labs: their pods call each other directly, each control plane reads what the other lab runs, and
// trusts certificates of the other's CA. It lasts until [Unlink], or until one of the two ends.
func Link(ctx context.Context, a, b *Client) error {
	return linkDirectly(ctx, a, b, func(*config, *linkTo) {})
}

// LinkForMirrors is Link for labs whose Services stay two: of the other lab that can be called which Links mirror, and nothing else.
func LinkForMirrors(ctx context.Context, a, b *Client) error {
	return linkDirectly(ctx, a, b, func(own *config, _ *linkTo) { own.mirrorsOnly = true })
}

// linkDirectly links two labs whose pods call each other at their addresses. A gateway that an earlier link has left goes: while a network
// has one, its pods are called by nothing else.
func linkDirectly(ctx context.Context, a, b *Client, adapt func(own *config, to *linkTo)) error {
	if _, _, err := a.linkable(b); err != nil {
		return err
	}
	for _, c := range []*Client{a, b} {
		_, byGateways, err := c.state.linkedTo()
		if err == nil && len(byGateways) > 0 {
			err = fmt.Errorf("lab %q is linked to cluster %q by gateways, and is called by nothing else: end that link first, fairlead lab unlink, or use --separate-networks",
				c.state.name(), byGateways[0])
		}
		if err != nil {
			return err
		}
	}
	if err := errors.Join(removeGateway(a), removeGateway(b)); err != nil {
		return err
	}
	return link(ctx, a, b, adapt)
}

// link makes one mesh of two labs; adapt changes what each of them, whose configuration it is given, is told of the other.
func link(ctx context.Context, a, b *Client, adapt func(own *config, to *linkTo)) error {
	cfgA, cfgB, err := a.linkable(b)
	if err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	endA, endB := os.NewFile(uintptr(pair[0]), "link"), os.NewFile(uintptr(pair[1]), "link")
	defer closeAll([]*os.File{endA, endB})
	toA, toB := cfgA.toLink(), cfgB.toLink()
	toA.Node, toB.Node = cfgB.nodeAbroad(), cfgA.nodeAbroad()
	adapt(cfgA, &toB)
	adapt(cfgB, &toA)
	_, socket, err := a.roundTrip(ctx, request{Op: "link", Link: toB}, nil, endA)
	if err != nil {
		return fmt.Errorf("lab %q: %w", cfgA.Name, err)
	}
	if socket == nil {
		return fmt.Errorf("lab %q gave no end of the link", cfgA.Name)
	}
	defer socket.Close()
	if _, _, err := b.roundTrip(ctx, request{Op: "link", Link: toA}, nil, endB, socket); err != nil {
		return fmt.Errorf("lab %q: %w", cfgB.Name, err) // the other half ends with the connection
	}
	if err := errors.Join(tellPeer(a.state, b.state, cfgB), tellPeer(b.state, a.state, cfgA)); err != nil {
		return errors.Join(err, Unlink(ctx, a, b))
	}
	return nil
}

// toLink is what another lab is told of this one.
func (c *config) toLink() linkTo {
	n := c.podNetwork()
	return linkTo{Lab: c.Name, Cluster: c.clusterName(), PodNetwork: n, Prefixes: n.prefixes(c.IPFamily)}
}

// nodeAbroad is the address that the lab's node has for pods of labs that it is linked to: one of its pods' network that no pod gets.
func (c *config) nodeAbroad() netip.Addr {
	if !c.IPFamily.has(corev1.IPv4Protocol) {
		return netip.Addr{}
	}
	first := c.podNetwork().v4().Addr().As4()
	return netip.AddrFrom4([4]byte{first[0], first[1], 255, 254})
}

// linkable says what keeps two labs from being linked.
func (c *Client) linkable(other *Client) (cfg, otherCfg *config, err error) {
	own, err := c.state.readConfig()
	if err != nil {
		return nil, nil, err
	}
	theirs, err := other.state.readConfig()
	if err != nil {
		return nil, nil, err
	}
	families := slices.ContainsFunc(own.IPFamily.list(), theirs.IPFamily.has)
	switch {
	case c.state == other.state:
		err = fmt.Errorf("lab %q cannot be linked to itself", own.Name)
	case own.Plain || theirs.Plain:
		err = errors.New("a lab that was started with --plain has no control plane and cannot be linked")
	case own.clusterName() == theirs.clusterName():
		err = fmt.Errorf("both clusters are called %q: start one of them with --set mesh.clusterID=NAME", own.clusterName())
	case own.podNetwork() == theirs.podNetwork():
		err = fmt.Errorf("the pods of both labs have addresses of %s: start one of them with --pod-network", own.podNetwork().v4())
	case !families:
		err = fmt.Errorf("lab %q has only addresses of %s and lab %q only those of %s: start both with the same --ip-family",
			own.Name, own.IPFamily, theirs.Name, theirs.IPFamily)
	}
	return &own, &theirs, err
}

// Unlink ends the link of two labs. What the control planes know of each other's endpoints goes first.
func Unlink(ctx context.Context, a, b *Client) error {
	cfgA, err := a.state.readConfig()
	if err != nil {
		return err
	}
	cfgB, err := b.state.readConfig()
	if err != nil {
		return err
	}
	err = errors.Join(forgetPeer(a.state, cfgB.toLink()), forgetPeer(b.state, cfgA.toLink()))
	_, _, endErr := a.roundTrip(ctx, request{Op: "unlink", Link: cfgB.toLink()}, nil)
	return errors.Join(err, endErr)
}
