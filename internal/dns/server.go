package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// DefaultConcurrency is how many questions are in work at once, apart from those that the table answers without
	// waiting. One that is forwarded takes a goroutine and a socket for as long as the upstream thinks.
	DefaultConcurrency = 512
	// receiveBuffer is the room for questions that were not read yet, in bytes of the kernel; it gives no more than
	// net.core.rmem_max. 1 MiB takes a thousand or so, which is what a flood sends while the sidecar waits for a CPU.
	receiveBuffer = 1 << 20
	// maxTCPConns bounds open TCP connections of clients.
	maxTCPConns = 128
	// tcpIdle is how long a client's TCP connection may be silent (RFC 7766 §6.2.3 leaves the value to us).
	tcpIdle = 10 * time.Second
	// errorPause is the wait after an accept or a receive that failed, such as for lack of file descriptors.
	errorPause = 50 * time.Millisecond
	// maxAliases bounds a chain of CNAMEs inside the table.
	maxAliases = 8
)

// Owner says whose a name is.
type Owner uint8

// The owners. The zero value is invalid.
const (
	// Ours: the Answer holds for the name, also where it has no addresses.
	Ours Owner = iota + 1
	// NotOurs: the mesh does not have the name; the question is forwarded.
	NotOurs
	// Unknown: it could not be found out in time; the question is forwarded.
	Unknown
)

// Answer is what a Table says about a name.
type Answer struct {
	// Addrs are given for A and AAAA, each family to its own question.
	Addrs []netip.Addr
	// CNAME, where set, is the name that this one is an alias of; Addrs are then not used.
	CNAME string
	// TTL of the records. 0 means DefaultTTL.
	TTL time.Duration
}

// Table knows the names of the mesh; name is in lower case without a final dot. The methods are called from many
// goroutines. The Answer is not changed.
type Table interface {
	// Known gives the answer where it is the mesh's and there already, and never waits.
	Known(name string) (Answer, bool)
	// Lookup may wait for the control plane until ctx ends.
	Lookup(ctx context.Context, name string) (Answer, Owner)
}

// Options configure a Server.
type Options struct {
	// UDP and TCP are the bound sockets; Run closes them.
	UDP []net.PacketConn
	TCP []net.Listener
	// Table knows the names of the mesh. Required.
	Table Table
	// Upstream answers the rest. Required.
	Upstream *Upstream
	// Concurrency is how many questions may be in work at once. 0 means DefaultConcurrency.
	Concurrency int
	// Logger gets a line for each forward that failed. Required.
	Logger *slog.Logger
}

// Server answers DNS questions.
type Server struct {
	o        Options
	resolver *Resolver
	shares   *shares

	counts [outcomes]atomic.Uint64
}

// New checks the options. Nothing is read before Run.
func New(o Options) (*Server, error) {
	switch {
	case o.Table == nil:
		return nil, errors.New("dns: Options.Table is not set")
	case o.Upstream == nil:
		return nil, errors.New("dns: Options.Upstream is not set")
	case o.Logger == nil:
		return nil, errors.New("dns: Options.Logger is not set")
	case len(o.UDP)+len(o.TCP) == 0:
		return nil, errors.New("dns: Options has neither UDP nor TCP sockets")
	case o.Concurrency < 0:
		return nil, fmt.Errorf("dns: Options.Concurrency %d is negative", o.Concurrency)
	}
	if o.Concurrency == 0 {
		o.Concurrency = DefaultConcurrency
	}
	return &Server{o: o, resolver: NewResolver(o.Upstream), shares: newShares(o.Concurrency)}, nil
}

// Run answers until ctx ends, then closes the sockets, lets go of what is in work, and returns ctx's error. A socket
// that fails ends it as well, with that error.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, s.closeSockets)
	defer stop()
	for _, c := range s.o.UDP {
		wg.Go(func() { cancel(s.serveUDP(ctx, c)) })
	}
	for _, l := range s.o.TCP {
		wg.Go(func() { cancel(s.serveTCP(ctx, l)) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (s *Server) closeSockets() {
	for _, c := range s.o.UDP {
		_ = c.Close() // closed already at worst
	}
	for _, l := range s.o.TCP {
		l.Close()
	}
}

// serveUDP returns when the socket is closed and all of its questions are done.
func (s *Server) serveUDP(ctx context.Context, c net.PacketConn) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	if b, ok := c.(interface{ SetReadBuffer(bytes int) error }); ok {
		_ = b.SetReadBuffer(receiveBuffer) // what the kernel gives by itself will do
	}
	buf := make([]byte, maxUDP)
	for {
		n, from, err := c.ReadFrom(buf)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("dns: UDP %s: %w", c.LocalAddr(), err)
		}
		if err != nil {
			s.o.Logger.WarnContext(ctx, "dns receive failed", slog.Any("error", err))
			if !pause(ctx, errorPause) {
				return ctx.Err()
			}
			continue
		}
		q, answer := s.read("udp", buf[:n])
		if q == nil {
			send(c, from, answer)
			continue
		}
		source, zone := sourceOf(from), q.zone()
		if !s.shares.take(source, zone) {
			send(c, from, s.refuse(q))
			continue
		}
		q.raw = append([]byte(nil), buf[:n]...) // what it held is the next question's
		wg.Go(func() {
			defer s.shares.give(source, zone)
			send(c, from, s.work(ctx, "udp", q))
		})
	}
}

// send answers a client; nil is no answer. One that is gone asks no more.
func send(c net.PacketConn, to net.Addr, answer []byte) {
	if answer != nil {
		_, _ = c.WriteTo(answer, to)
	}
}

// serveTCP returns when the listener is closed and all of its connections are done.
func (s *Server) serveTCP(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	conns := make(chan struct{}, maxTCPConns)
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if c != nil {
				c.Close()
			}
			return ctx.Err()
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("dns: TCP %s: %w", l.Addr(), err)
		}
		if err != nil {
			s.o.Logger.WarnContext(ctx, "dns accept failed", slog.Any("error", err))
			if !pause(ctx, errorPause) {
				return ctx.Err()
			}
			continue
		}
		select {
		case conns <- struct{}{}:
			wg.Go(func() {
				defer func() { <-conns }()
				s.serveConn(ctx, c)
			})
		default:
			s.counts[dropped].Add(1)
			c.Close()
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// serveConn answers one question after the other (RFC 7766 §6.2.1.1 allows a client to send more at once; they wait in
// the socket).
func (s *Server) serveConn(ctx context.Context, c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	for {
		if err := c.SetDeadline(time.Now().Add(tcpIdle)); err != nil {
			return
		}
		message, err := readTCP(c)
		if err != nil {
			return
		}
		answer := s.handle(ctx, "tcp", c.RemoteAddr(), message)
		if answer == nil || writeTCP(c, answer) != nil {
			return
		}
	}
}

// handle gives the answer to one message, nil where there must be none.
func (s *Server) handle(ctx context.Context, network string, from net.Addr, message []byte) []byte {
	q, answer := s.read(network, message)
	if q == nil {
		return answer
	}
	source, zone := sourceOf(from), q.zone()
	if !s.shares.take(source, zone) {
		return s.refuse(q)
	}
	defer s.shares.give(source, zone)
	return s.work(ctx, network, q)
}

// refuse gives the answer SERVFAIL without looking the name up.
func (s *Server) refuse(q *query) []byte {
	s.counts[dropped].Add(1)
	return s.must(q, dnsmessage.RCodeServerFailure, nil)
}

// read takes a message apart, and answers it where nothing has to be waited for: mistakes, and names of the mesh that are
// known. They cost no more than a refusal, so that no flood takes them from others. Where it gives a query, that is work.
func (s *Server) read(network string, message []byte) (work *query, answer []byte) {
	q, err := parseQuery(message)
	if q == nil {
		s.counts[malformed].Add(1)
		return nil, nil
	}
	if network == "tcp" {
		q.limit = maxMessage
	}
	switch {
	case err != nil:
		s.counts[malformed].Add(1)
		return nil, s.must(q, dnsmessage.RCodeFormatError, nil)
	case q.edns && q.version != ednsVersion:
		return nil, s.must(q, badVersion, nil)
	case !q.local():
		return q, nil
	}
	if a, ok := s.o.Table.Known(q.name()); ok && a.CNAME == "" {
		return nil, s.addresses(q, a)
	}
	return q, nil
}

// work gives the answer to a question that may take time, nil where there must be none.
func (s *Server) work(ctx context.Context, network string, q *query) []byte {
	if q.local() {
		return s.answer(ctx, network, q)
	}
	return s.forward(ctx, network, q)
}

// answer looks the name up and forwards what is not ours.
func (s *Server) answer(ctx context.Context, network string, q *query) []byte {
	a, owner := s.o.Table.Lookup(ctx, q.name())
	switch owner {
	case NotOurs, Unknown:
		return s.forward(ctx, network, q)
	case Ours:
	}
	if a.CNAME != "" {
		s.counts[answered].Add(1)
		return s.alias(ctx, q, a)
	}
	return s.addresses(q, a)
}

func (s *Server) addresses(q *query, a Answer) []byte {
	s.counts[answered].Add(1)
	return s.must(q, dnsmessage.RCodeSuccess, q.addressRecords(q.question.Name, a.Addrs, a.ttl()))
}

func (a *Answer) ttl() time.Duration {
	if a.TTL == 0 {
		return DefaultTTL
	}
	return a.TTL
}

// alias answers for an ExternalName: the chain of CNAMEs in the table, then the addresses of its end, from the table or
// from the upstream.
func (s *Server) alias(ctx context.Context, q *query, a Answer) []byte {
	owner := q.question.Name
	var records []record
	for range maxAliases {
		target, err := dnsmessage.NewName(strings.TrimSuffix(a.CNAME, ".") + ".")
		if err != nil {
			s.o.Logger.WarnContext(ctx, "dns alias is not a name", slog.String("name", owner.String()), slog.String("target", a.CNAME))
			return s.must(q, dnsmessage.RCodeServerFailure, nil)
		}
		records = append(records, record{name: owner, ttl: a.ttl(), cname: target})
		owner = target
		if q.question.Type == dnsmessage.TypeCNAME {
			return s.must(q, dnsmessage.RCodeSuccess, records)
		}
		var owner Owner
		a, owner = s.o.Table.Lookup(ctx, strings.ToLower(strings.TrimSuffix(target.String(), ".")))
		if owner != Ours {
			return s.aliasUpstream(ctx, q, target, records)
		}
		if a.CNAME == "" {
			return s.must(q, dnsmessage.RCodeSuccess, append(records, q.addressRecords(target, a.Addrs, a.ttl())...))
		}
	}
	s.o.Logger.WarnContext(ctx, "dns alias is a loop or too long a chain", slog.String("name", q.question.Name.String()))
	return s.must(q, dnsmessage.RCodeServerFailure, nil)
}

// aliasUpstream adds the addresses that the upstream has for target.
func (s *Server) aliasUpstream(ctx context.Context, q *query, target dnsmessage.Name, records []record) []byte {
	if q.question.Type != dnsmessage.TypeA && q.question.Type != dnsmessage.TypeAAAA {
		return s.must(q, dnsmessage.RCodeSuccess, records)
	}
	found, err := s.resolver.query(ctx, target, q.question.Type)
	switch {
	case errors.Is(err, ErrNotFound):
		// RFC 6604 §3: the code is that of the end of the chain.
		return s.must(q, dnsmessage.RCodeNameError, records)
	case err != nil:
		s.fail(ctx, q, err)
		return s.must(q, dnsmessage.RCodeServerFailure, nil)
	}
	return s.must(q, dnsmessage.RCodeSuccess, append(records, q.addressRecords(target, found.Addrs, found.TTL)...))
}

// forward asks the upstream with the bytes that came, over the transport that they came by: a truncated answer makes
// the client come back over TCP by itself.
func (s *Server) forward(ctx context.Context, network string, q *query) []byte {
	answer, err := s.o.Upstream.Exchange(ctx, network, q.raw)
	if err != nil {
		s.fail(ctx, q, err)
		return s.must(q, dnsmessage.RCodeServerFailure, nil)
	}
	s.counts[forwarded].Add(1)
	return answer
}

func (s *Server) fail(ctx context.Context, q *query, err error) {
	s.counts[failed].Add(1)
	if ctx.Err() == nil {
		s.o.Logger.WarnContext(ctx, "dns question not answered",
			slog.String("name", q.question.Name.String()), slog.Any("error", err))
	}
}

// must packs an answer. Packing fails only on names that a parser let through and a builder does not take; such a
// question gets no answer.
func (s *Server) must(q *query, code dnsmessage.RCode, records []record) []byte {
	b, err := q.reply(code, records)
	if err != nil {
		s.counts[malformed].Add(1)
		return nil
	}
	return b
}
