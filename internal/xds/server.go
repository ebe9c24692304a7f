package xds

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.dev/fairlead/internal/clientlog"
	"fairlead.dev/fairlead/internal/net/grpcstream"
	"fairlead.dev/fairlead/internal/net/turns"
)

// Prefix is that of the paths that a Server answers.
const Prefix = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"

// Peer is who is connected, as far as it is proven: by a token, a certificate, or the address that it calls from.
type Peer struct{ Namespace, ServiceAccount, Pod string }

// String is "pod.namespace", the way istioctl names proxies; the service account stands in for an unknown pod. Who has proven nothing
// is "unproven".
func (p Peer) String() string {
	if p == (Peer{}) {
		return "unproven"
	}
	return cmp.Or(p.Pod, p.ServiceAccount) + "." + p.Namespace
}

// Options configure New.
type Options struct {
	// Source has the resources. Required.
	Source Source
	// Authenticate says who calls. Its error is a gRPC status, and shown to the caller. Required.
	Authenticate func(*http.Request) (Peer, error)
	// View says what a client sees. Its error is a gRPC status, and shown to the client. Required.
	View func(ctx context.Context, peer Peer, node Node) (View, error)
	// Sights says which clients share what; nil for those of one view.
	Sights Sights
	// MaxAge ends streams in order after this time, give or take a tenth, so that clients spread over replicas; 0 means
	// never.
	MaxAge time.Duration
	// WriteTimeout is how long a client may take to accept a message before its stream ends; 0 means 10 s.
	WriteTimeout time.Duration
	// Hold is for how long listeners and routes wait for a client to ask for the endpoints of new clusters; 0 means 2 s.
	Hold time.Duration
	// Beginning is how many streams may be in their beginning at once: until a client has confirmed all that it was sent at first, or for
	// BeginningTime. The others wait for their turn, in the order in which they came. 0 means 16 for each processor, and 2 s.
	Beginning     int
	BeginningTime time.Duration
	// Sent, where not nil, is told of each message: how many resources of the type and how many bytes of them it had, and how
	// long writing it took. It is called from the streams' goroutines.
	Sent func(t Type, resources, bytes int, took time.Duration)
	// Refused, where not nil, is told of each refusal of a client.
	Refused func(Type)
	// Logger gets a line when a client refuses something, asks for what there is not, or is disconnected for cause; see
	// package clientlog for how many. Required.
	Logger *slog.Logger
}

// Server answers the calls of envoy.service.discovery.v3.AggregatedDiscoveryService.
type Server struct {
	o        Options // fixed after New, as the next four
	log      *clientlog.Log[Peer]
	places   *grpcstream.Places
	accounts accounts
	callers  callers
	writers  turns.Crew
	buffers  sync.Pool      // of *buffer
	calls    sync.WaitGroup // that have a stream; added to while not closed

	mu       sync.RWMutex
	streams  map[*stream]struct{}         // guarded by mu, as everything below
	watchers map[Key]map[*stream]struct{} // who is told about a key
	closed   bool
}

// maxRequest bounds one message of a client, in bytes.
const maxRequest = 4 << 20

// When a replica has ended its clients come to the others all at once, and each wants all that it is to have. They are served some at a
// time: those have what they need soon, where a thousand at once would wait for the last, and be held in memory all together.
const (
	// beginnersOfOne is how many a processor serves meanwhile: each waits for its client most of the time.
	beginnersOfOne = 16
	// maxWaiting bounds those who wait, and maxWait for how long: a client that is told to come again loses its place in the line.
	maxWaiting = 8 << 10
	maxWait    = time.Minute
)

// New checks the options.
func New(o Options) (*Server, error) {
	if o.Source == nil || o.Authenticate == nil || o.View == nil || o.Logger == nil {
		return nil, errors.New("xDS server: Source, Authenticate, View and Logger are required")
	}
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 10*time.Second)
	o.Hold = cmp.Or(o.Hold, 2*time.Second)
	o.BeginningTime = cmp.Or(o.BeginningTime, 2*time.Second)
	o.Beginning = cmp.Or(o.Beginning, beginnersOfOne*runtime.GOMAXPROCS(0))
	if o.Sights == nil {
		o.Sights = plainly{}
	}
	return &Server{
		o: o, log: clientlog.New(o.Logger, Peer.String),
		places:   grpcstream.NewPlaces(grpcstream.PlacesOptions{Room: o.Beginning, Line: maxWaiting, Stay: o.BeginningTime, Wait: maxWait}),
		accounts: accounts{clients: make(map[Peer]*account)},
		callers:  callers{addresses: make(map[netip.Addr]*purse)},
		streams:  make(map[*stream]struct{}),
		watchers: make(map[Key]map[*stream]struct{}),
	}, nil
}

// The methods, behind Prefix.
const (
	methodStates = Prefix + "StreamAggregatedResources"
	methodDeltas = Prefix + "DeltaAggregatedResources"
)

// ServeHTTP implements http.Handler. The connection is for this call alone: the client hears at once that it is to make
// another one for its next stream, which then goes wherever a load balancer sends it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !grpcstream.CheckCall(w, r) {
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Connection", "close")
	w.Header().Set(grpcstream.HeaderAcceptEncoding, grpcstream.Encodings)
	verdict := status.Convert(s.inTime(w, r))
	grpcstream.SetStatus(w, &grpcstream.StatusError{Code: grpcstream.Code(verdict.Code()), Message: verdict.Message()})
}

// inTime serves for as long as the client gives its call. A client that takes nothing when its time is over has WriteTimeout left for
// what is being written.
func (s *Server) inTime(w http.ResponseWriter, r *http.Request) error {
	r, cancel, err := grpcstream.Deadline(r)
	defer cancel()
	if err != nil {
		return asStatus(err)
	}
	return s.serve(w, r)
}

// asStatus gives an error of package grpcstream as gRPC's own, any other as it is.
func asStatus(err error) error {
	if e, ok := errors.AsType[*grpcstream.StatusError](err); ok {
		return status.Error(codes.Code(e.Code), e.Message)
	}
	return err
}

// errOver ends a stream with status OK.
var errOver = errors.New("the stream is over")

// errClosing ends a stream, or refuses one, because the replica goes. Clients look for another one at once.
var errClosing = status.Error(codes.Unavailable, "the control plane is shutting down")

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	var p *protocol
	switch r.URL.Path {
	case methodStates:
		p = &states
	case methodDeltas:
		p = &deltas
	default:
		return status.Errorf(codes.Unimplemented, "no method %s", r.URL.Path)
	}
	ctx := r.Context()
	peer, account, err := s.admit(r)
	if err != nil {
		s.turnAway(ctx, peer, r.RemoteAddr, err)
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	on, err := newWire(s, p, w, r)
	if err != nil {
		account.close(0)
		return asStatus(err)
	}
	st := newStream(ctx, s, caller{peer, account}, on)
	st.delta, st.cancel = p == &deltas, cancel
	defer func() { account.close(st.reserved) }()
	if err := s.add(st); err != nil {
		return err
	}
	defer s.remove(st)
	place, err := s.places.Take(ctx)
	if err != nil {
		return s.ended(ctx, peer, asStatus(err))
	}
	defer place.Leave()
	st.place = place
	return s.ended(ctx, peer, asStatus(st.converse(ctx, on.rc, r.Body)))
}

// converse serves a stream to its end, and says why that has come.
func (st *stream) converse(ctx context.Context, rc *http.ResponseController, body io.Closer) error {
	if err := rc.Flush(); err != nil { // a client that has everything hears nothing else for a while
		return err
	}
	if age := st.s.age(); age > 0 {
		end := time.AfterFunc(age, func() { st.cancel(errOver) })
		defer end.Stop()
	}
	freed := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(freed)
		st.turn.end()
		body.Close() // frees the reader below
	})
	st.cancel(st.run(ctx))
	<-freed
	err := st.turn.join()
	st.held.Stop()
	if err == nil { // what stopped first has made the rest stop
		err = context.Cause(ctx)
	}
	return err
}

// admit says who calls and opens an account for the stream. With an error comes who it is as far as that was found out.
func (s *Server) admit(r *http.Request) (Peer, *account, error) {
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && !s.callers.allow(addr.Addr().Unmap(), time.Now()) {
		return Peer{}, nil, status.Errorf(codes.ResourceExhausted, "more than %d calls from one address; from now on %d per second", callBurst, callRate)
	}
	peer, err := s.o.Authenticate(r)
	if err != nil {
		return Peer{}, nil, err
	}
	account, err := s.accounts.open(peer, time.Now())
	return peer, account, err
}

// turnAway writes a line about a caller that is not served, once for its address and the kind of reason. All those of whom nothing
// is proven share one budget of lines, for they can be as many as they like.
func (s *Server) turnAway(ctx context.Context, peer Peer, from string, why error) {
	addr, _, err := net.SplitHostPort(from)
	if err != nil {
		addr = from
	}
	code := status.Code(why)
	if code == codes.Canceled || !s.log.Due(ctx, peer, "turned away "+addr+" "+code.String()) {
		return
	}
	s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "xds client turned away", slog.String("client", peer.String()), slog.String("address", addr), slog.Any("reason", why))
}

// ended says what a client is told about the end of its stream.
func (s *Server) ended(ctx context.Context, peer Peer, cause error) error {
	if errors.Is(cause, errOver) || errors.Is(cause, io.EOF) {
		return nil
	}
	verdict, ok := status.FromError(cause)
	if ok && verdict.Code() != codes.Canceled && verdict.Code() != codes.DeadlineExceeded && !errors.Is(cause, errClosing) && s.log.Due(ctx, peer, "disconnected "+verdict.Message()) {
		s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "xds client disconnected", slog.String("client", peer.String()), slog.Any("reason", cause))
	}
	return cause
}

// age is how long a stream may last; 0 means for ever.
func (s *Server) age() time.Duration {
	if s.o.MaxAge == 0 {
		return 0
	}
	return s.o.MaxAge*9/10 + rand.N(s.o.MaxAge/5+1) //nolint:gosec // jitter is no secret
}

// Changed says that the answers of keys are new. Streams send what differs from what they sent last; however often a key
// changes meanwhile, only the newest answer goes out.
func (s *Server) Changed(keys []Key) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	touched := make(map[*stream][]ref)
	for _, key := range keys {
		for st := range s.watchers[key] {
			touched[st] = append(touched[st], ref{key.Type, key.Name})
		}
	}
	for st, refs := range touched {
		st.mark(refs...) // all at once: a stream may be at work for another reason, and what belongs together goes together
		st.turn.poke()
	}
}

// SightsChanged says that Sights has another generation.
func (s *Server) SightsChanged() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for st := range s.streams {
		st.turn.poke()
	}
}

// Close ends all streams; clients look for another replica at once. New calls are refused.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for st := range s.streams {
		st.cancel(errClosing)
	}
}

// Wait returns when all streams have ended. It is called after Close, and after the HTTP servers have been shut down.
func (s *Server) Wait() { s.calls.Wait() }

func (s *Server) add(st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosing
	}
	s.streams[st] = struct{}{}
	s.calls.Add(1)
	return nil
}

// remove forgets a stream and all it watched.
func (s *Server) remove(st *stream) {
	defer s.calls.Done()
	s.mu.Lock()
	delete(s.streams, st)
	s.mu.Unlock()
	for _, b := range st.books {
		if b != nil {
			s.unwatch(st, st.sight.keys(b.typ, b.names()))
		}
	}
}

// slice is how many names are worked on at a time, so that nothing else waits long for a client that has thousands.
const slice = 256

// watch has st told about keys and asks the source for them. After an error none of them is watched.
func (s *Server) watch(ctx context.Context, st *stream, keys []Key) error {
	for at := 0; at < len(keys); at += slice {
		part := keys[at:min(at+slice, len(keys))]
		s.note(st, part)
		if err := s.o.Source.Watch(ctx, part); err != nil {
			s.forget(st, part)
			s.unwatch(st, keys[:at])
			return err
		}
	}
	return nil
}

func (s *Server) note(st *stream, keys []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if s.watchers[key] == nil {
			s.watchers[key] = make(map[*stream]struct{})
		}
		s.watchers[key][st] = struct{}{}
	}
}

func (s *Server) unwatch(st *stream, keys []Key) {
	for len(keys) > 0 {
		part := keys[:min(len(keys), slice)]
		keys = keys[len(part):]
		s.forget(st, part)
		s.o.Source.Unwatch(part)
	}
}

func (s *Server) forget(st *stream, keys []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		delete(s.watchers[key], st)
		if len(s.watchers[key]) == 0 {
			delete(s.watchers, key)
		}
	}
}
