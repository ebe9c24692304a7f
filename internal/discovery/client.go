package discovery

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// Handler receives what the control plane says.
type Handler interface {
	// Apply puts updates in force, in their order, and returns those that cannot be: their previous good versions stay
	// in force, in the handler as well as here. It is called from one goroutine, one call at a time, and may call
	// Subscribe and Use.
	Apply(updates []Update) []Rejection
}

// Update is one thing that the control plane said about one name.
type Update struct {
	// Name is canonical where Resource or Dropped is set. Otherwise it is the name that was subscribed.
	Name string
	// Aliases are the subscribed names that lead here.
	Aliases []string
	// Resource is nil where Name does not exist: a negative answer, which a later update may turn around.
	Resource plan.Resource
	Version  string
	// LeftOut says what of Resource is not known to this program, empty where all is.
	LeftOut string
	// Dropped means that the resource of this name is not watched any more: forget what is known of it. It says nothing
	// about whether it exists.
	Dropped bool
	// Expired means that the lease of the subscribed name Name has run out. To refuse it is to say that the name is in
	// use: its lease begins anew. Otherwise forget where the name leads; a resource of that name is dropped on its own.
	Expired bool
}

// ClientOptions configure NewClient.
type ClientOptions struct {
	// Addrs are the control planes, "host:port"; one at random is tried first. Required.
	Addrs []string
	// Dial opens connections; nil means a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLSConfig is asked before every connection, so roots may change. ServerName is filled in from the address where
	// it is empty. Required.
	TLSConfig func() (*tls.Config, error)
	// Token gives the workload's token, asked before every call. Required.
	Token func() (string, error)
	// Node describes this client.
	Node Node
	// Snapshot is the file that keeps the last good state across restarts; empty means none.
	Snapshot string
	// Lease is how long a name stays subscribed after its last use; 0 means DefaultLease.
	Lease time.Duration
	// Keepalive is the silence after which the connection is probed with a ping, and again how long the answer may
	// take; 0 means DefaultKeepalive.
	Keepalive time.Duration
	// Logger gets a line when the control plane is reached, lost, or refuses, and for snapshot trouble. Required.
	Logger *slog.Logger
}

const (
	// DefaultLease keeps what was used within the last five minutes.
	DefaultLease = 5 * time.Minute
	// DefaultKeepalive makes both sides notice a dead peer within ten seconds.
	DefaultKeepalive = 5 * time.Second
)

// Client keeps a proxy in step with the control plane. All methods are safe for concurrent use; Run is called once.
type Client struct {
	remote
	handler Handler // fixed when Run begins

	deliveries chan delivery
	nudged     chan struct{} // one slot: leases are to be looked at
	changed    chan struct{} // one slot: the snapshot is out of date

	mu        sync.Mutex
	ledger             // guarded by mu, as everything below
	crowded   bool     // names were refused for want of room
	session   *session // the present conversation, or nil
	connected bool
	health    *HealthReport // the newest, nil where there is none
	older     older
	stale     bool // the state comes from the snapshot and was not confirmed yet
	lastSync  time.Time
}

// older is set once it was said that the control plane is newer.
type older bool

// remote makes calls of the control planes.
type remote struct {
	o ClientOptions // fixed after NewClient
}

// ledger is what the proxy asked for and has.
type ledger struct {
	leases
	resources map[string]held // what the server knows that we have, by canonical name
}

// name is one subscribed name.
type name struct {
	name      string
	id        uint64 // tells subscriptions of the same name apart
	canonical string // what it leads to, "" where it does not exist
	answered  bool
	done      chan struct{} // closed at the first answer, good or refused
	closed    bool
	err       error // why the newest answer was refused
	lease
}

// held is a resource in force.
type held struct {
	version  string
	resource plan.Resource
	left     string // what of it is not known here, empty where all is
}

// delivery is a response on its way to the goroutine that applies it.
type delivery struct {
	session  *session
	response *Response
	done     chan struct{}
}

// NewClient checks the options. Nothing happens before Run, but names may be subscribed.
func NewClient(o ClientOptions) (*Client, error) {
	switch {
	case len(o.Addrs) == 0:
		return nil, errors.New("discovery client: no control plane address")
	case o.TLSConfig == nil || o.Token == nil || o.Logger == nil:
		return nil, errors.New("discovery client: TLSConfig, Token and Logger are required")
	}
	o.Lease = cmp.Or(o.Lease, DefaultLease)
	o.Keepalive = cmp.Or(o.Keepalive, DefaultKeepalive)
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	return &Client{
		remote:     remote{o},
		deliveries: make(chan delivery),
		nudged:     make(chan struct{}, 1),
		changed:    make(chan struct{}, 1),
		ledger:     ledger{leases: leases{names: make(map[string]*name)}, resources: make(map[string]held)},
	}, nil
}

// Run loads the snapshot, then keeps a conversation with the control plane going until ctx ends, and hands to h what it
// says; losing it is never an error. It returns nil after the last snapshot was written.
func (c *Client) Run(ctx context.Context, h Handler) error {
	c.handler = h
	kept := snapshots{c}
	kept.loadSnapshot(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.connect(ctx) })
	wg.Go(func() { kept.saveSnapshots(ctx) })
	c.apply(ctx)
	wg.Wait()
	return nil
}

// Await is Use, and returns when the name was answered, positively or negatively, and the answer applied. The error
// says why there is none: ctx has ended, there is no room for another name, or the answer was refused and no earlier
// one is in force.
func (c *Client) Await(ctx context.Context, n string) error {
	c.mu.Lock()
	st := c.use(n)
	done := st.done
	c.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s: %w", n, context.Cause(ctx))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.answered || st.err == nil {
		return nil
	}
	return fmt.Errorf("waiting for %s: %w", n, st.err)
}

func newName(n string) *name {
	return &name{name: n, done: make(chan struct{}), lease: lease{used: time.Now()}}
}

// Addrs are the control planes that the client knows, "host:port".
func (r *remote) Addrs() []string { return slices.Clone(r.o.Addrs) }

// Connected reports whether a conversation with a control plane is open.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connected
}

// LastSync is when the control plane last said that this client is up to date; zero before the first time.
func (c *Client) LastSync() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastSync
}

// Stale reports whether the state in force comes from the snapshot and no control plane has confirmed it yet.
func (c *Client) Stale() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stale
}

// Versions lists the resources in force with their versions, by canonical name.
func (c *Client) Versions() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	versions := make(map[string]string, len(c.resources))
	for n, h := range c.resources {
		versions[n] = h.version
	}
	return versions
}

// poke fills a one-slot channel: the receiver looks at the newest state, however often it was poked.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (n *name) answer(canonical string) {
	n.canonical, n.answered, n.err = canonical, true, nil
	n.settle()
}

func (n *name) refuse(err error) {
	n.err = err
	n.settle()
}

// reopen waits for another answer.
func (n *name) reopen() {
	n.canonical, n.answered, n.done, n.closed = "", false, make(chan struct{}), false
}

func (n *name) settle() {
	if !n.closed {
		n.closed = true
		close(n.done)
	}
}

// announce has the present conversation tell the server about a name. mu is held.
func (c *Client) announce(n string) {
	if c.session != nil {
		c.session.markDirty(n)
	}
}

// apply is the one goroutine that calls the handler.
func (c *Client) apply(ctx context.Context) {
	expiry := time.NewTimer(0)
	defer expiry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-c.deliveries:
			c.applyResponse(ctx, d)
			close(d.done)
		case <-c.nudged:
			expiry.Reset(c.expire())
		case <-expiry.C:
			expiry.Reset(c.expire())
		}
	}
}

// applyResponse puts one response in force and acknowledges it.
func (c *Client) applyResponse(ctx context.Context, d delivery) {
	updates, rejections := c.updates(d.response)
	if len(updates) > 0 {
		rejections = append(rejections, c.handler.Apply(updates)...)
	}
	for _, r := range rejections {
		c.o.Logger.LogAttrs(ctx, slog.LevelWarn, "configuration refused, the previous one stays in force",
			slog.String("resource", r.Name), slog.String("reason", r.Reason))
	}
	refused := make(map[string]string, len(rejections))
	for _, r := range rejections {
		refused[r.Name] = r.Reason
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range d.response.Resources {
		a := &d.response.Resources[i]
		if reason, bad := refused[a.Name]; bad {
			c.refuse(a, reason)
		}
		if a.Refused != "" {
			c.giveUp(a, d.session)
		}
	}
	var partial []Rejection
	for i := range updates {
		u := &updates[i]
		if _, bad := refused[u.Name]; bad {
			continue
		}
		c.adopt(u)
		if u.LeftOut != "" {
			partial = append(partial, Rejection{Name: u.Name, Reason: u.LeftOut})
		}
	}
	if d.response.Synced {
		c.lastSync, c.stale = time.Now(), false
	}
	d.session.acknowledge(d.response.Nonce, rejections, partial)
	if len(updates) > 0 {
		poke(c.changed)
	}
}

// updates turns a response into updates, and into rejections where it cannot be read.
func (c *Client) updates(r *Response) (updates []Update, rejections []Rejection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	updates = make([]Update, 0, len(r.Resources)+len(r.Removed))
	for i := range r.Resources {
		a := &r.Resources[i]
		if a.Refused != "" {
			if st := c.names[a.Name]; st != nil && st.answered {
				updates = append(updates, Update{Name: a.Name, Dropped: true})
			}
			continue
		}
		if _, wanted := c.names[a.Name]; a.Version == "" && !wanted {
			continue // given up while the answer was on its way: the server would not keep it up to date
		}
		u, err := c.update(a)
		if err != nil {
			rejections = append(rejections, Rejection{Name: a.Name, Reason: err.Error()})
			continue
		}
		updates = append(updates, u)
	}
	for _, n := range r.Removed {
		updates = append(updates, Update{Name: n, Dropped: true})
	}
	return updates, rejections
}

// update reads one answer. mu is held.
func (c *Client) update(a *Answer) (Update, error) {
	u := Update{Name: a.Name, Version: a.Version}
	for _, alias := range a.Aliases {
		if _, ok := c.names[alias]; ok && alias != a.Name {
			u.Aliases = append(u.Aliases, alias)
		}
	}
	switch {
	case a.Version == "":
	case len(a.Patch) > 0:
		shard, left, err := c.patched(a)
		if err != nil {
			return Update{}, err
		}
		u.Resource, u.LeftOut = shard, c.older.note(c.o.Logger, a.Name, left)
	case len(a.Body) == 0:
		h, ok := c.resources[a.Name]
		if !ok || h.version != a.Version {
			return Update{}, fmt.Errorf("version %s was never received in full", a.Version)
		}
		u.Resource, u.LeftOut = h.resource, h.left
	default:
		resource, left, err := decode(a.Body)
		if err != nil {
			return Update{}, err
		}
		if resource.ResourceName() != a.Name {
			return Update{}, fmt.Errorf("the body is of %s", resource.ResourceName())
		}
		u.Resource, u.LeftOut = resource, c.older.note(c.o.Logger, a.Name, left)
	}
	return u, nil
}

// note gives what is said of a resource that is not known here in full, and says so once in the log.
func (o *older) note(log *slog.Logger, name string, left leftOut) string {
	what := left.String()
	if what != "" && !*o {
		*o = true
		log.Warn("the control plane is newer than this sidecar: what is not known here is left out, see proxy-status",
			slog.String("first", name), slog.String("left_out", what))
	}
	return what
}

// adopt notes an update that is in force. mu is held.
func (l *ledger) adopt(u *Update) {
	switch {
	case u.Dropped:
		delete(l.resources, u.Name)
		if st, ok := l.names[u.Name]; ok && st.canonical == u.Name {
			st.reopen() // asked for again while the server let it go: its answer is on the way
			l.list(st)
		}
		return
	case u.Resource == nil:
		if st, ok := l.names[u.Name]; ok {
			st.answer("")
			l.list(st)
		}
		return
	}
	l.resources[u.Name] = held{version: u.Version, resource: u.Resource, left: u.LeftOut}
	for _, n := range append([]string{u.Name}, u.Aliases...) {
		if st, ok := l.names[n]; ok {
			st.answer(u.Name)
			l.unlist(st)
			l.stay(st)
		}
	}
}

// refuse tells those who wait for an answer that it was refused. mu is held.
func (l *ledger) refuse(a *Answer, reason string) {
	for _, n := range append([]string{a.Name}, a.Aliases...) {
		if st, ok := l.names[n]; ok {
			st.refuse(errors.New(reason))
		}
	}
}

// giveUp forgets a name that the server does not follow. It may be asked for again, as new; names that are kept for good
// are asked for with the next conversation. mu is held.
func (l *ledger) giveUp(a *Answer, s *session) {
	st, ok := l.names[a.Name]
	if !ok {
		return
	}
	st.refuse(fmt.Errorf("refused by the control plane: %s", a.Refused))
	delete(s.announced, a.Name)
	l.unlist(st)
	if !st.kept {
		delete(l.names, a.Name)
	}
}

// resume describes the client's state for the first request of a conversation: what leads somewhere first, then the
// rest by their last use, so that a server that does not take all of them refuses the right ones. mu is held.
func (l *ledger) resume(node Node) (request *Request, announced map[string]uint64) {
	node.Patches = true
	request = &Request{Node: &node, InitialVersions: make(map[string]string, len(l.resources)), InitialNames: make(map[string]string)}
	announced = make(map[string]uint64, len(l.names))
	for n, st := range l.names {
		if st.missing == nil {
			request.Subscribe = append(request.Subscribe, n)
		}
	}
	slices.Sort(request.Subscribe)
	for e := l.missing.Back(); e != nil; e = e.Prev() {
		if st, ok := e.Value.(*name); ok {
			request.Subscribe = append(request.Subscribe, st.name)
		}
	}
	request.Subscribe = request.Subscribe[:min(len(request.Subscribe), MaxNames)] // the rest when there is room
	for _, n := range request.Subscribe {
		st := l.names[n]
		announced[n] = st.id
		if st.answered {
			request.InitialNames[n] = st.canonical
		}
	}
	for n, h := range l.resources {
		request.InitialVersions[n] = h.version
		if h.left != "" {
			request.Partial = append(request.Partial, Rejection{Name: n, Reason: h.left})
		}
	}
	return request, announced
}
