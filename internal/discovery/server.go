package discovery

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/clientlog"
	"fairlead.dev/fairlead/internal/net/grpcstream"
	"fairlead.dev/fairlead/internal/net/h2server"
	"fairlead.dev/fairlead/internal/net/turns"
	"fairlead.dev/fairlead/internal/plan"
)

// Key is a name as the clients of one namespace see it.
type Key struct{ Namespace, Name string }

// Found is what a key leads to. It is immutable.
type Found struct {
	// Resource is nil where the name does not exist.
	Resource *plan.Encoded
	// Parts belong to the resource and are sent before it.
	Parts []*plan.Encoded
}

// Source is what a Server serves. Its methods are called from many goroutines. A source that has something new calls
// Server.Changed, holding no lock that these methods take.
type Source interface {
	// Watch begins to watch keys and returns when there is an answer for each. Every watch of a key is undone by one
	// Unwatch. After an error nothing is watched. No more than a few hundred keys come at a time.
	Watch(ctx context.Context, keys []Key) error
	Unwatch(keys []Key)
	// Answer is the newest answer for a watched key; false where there is none.
	Answer(key Key) (Found, bool)
}

// ClientIdentity is who is connected, as its token proves.
type ClientIdentity struct{ Namespace, ServiceAccount, Pod, UID string }

// ID is "pod.namespace", the way istioctl names proxies; the service account stands in for an unknown pod.
func (c ClientIdentity) ID() string { return cmp.Or(c.Pod, c.ServiceAccount) + "." + c.Namespace }

// Trace observes a Server. Functions may be nil; they are called from the connections' goroutines and must not block.
type Trace struct {
	Opened   func(ClientIdentity)
	Closed   func(ClientIdentity, error)
	Received func(ClientIdentity, *Request)
	// Denied gets a name that the client may not read (see ServerOptions.MayRead), each time it is asked for.
	Denied func(client ClientIdentity, name string)
	// Sent gets each message once the client's side of the connection has it: its size, and how long writing it took. The
	// message is good until it returns.
	Sent func(client ClientIdentity, r *Response, bytes int, took time.Duration)
	// Departed gets how the drain of a client's pod ended, and how long it took.
	Departed func(client ClientIdentity, how Ending, took time.Duration)
	// Converged gets the time from a change (see Server.Changed) to a client's word that it is in force.
	Converged func(time.Duration)
}

// ServerOptions configure NewServer.
type ServerOptions struct {
	// Source has the resources. Required.
	Source Source
	// Authenticate says who holds a bearer token. Its error is shown to the caller: as UNAVAILABLE where it has a method
	// Temporary() bool that gives true, such as when the judge of tokens could not be asked, else as UNAUTHENTICATED.
	// Required.
	Authenticate func(ctx context.Context, token string) (ClientIdentity, error)
	// MayRead says whether a client may read what a name leads to. A name that it may not read does not exist for it: the
	// source is not asked. Required.
	MayRead func(client ClientIdentity, name string) bool
	// Sign issues a certificate for the client, and says whom it is to trust; nil answers UNIMPLEMENTED. Its error is shown to the
	// caller.
	Sign func(ctx context.Context, client ClientIdentity, csrDER []byte) (chainPEM []byte, trust *plan.TrustBundle, err error)
	// Departing says how the resources stand to the client's own pod; nil answers Holders with UNIMPLEMENTED.
	Departing func(ctx context.Context, client ClientIdentity) (Departing, error)
	// Replicas lists where other replicas of the control plane can be asked, "host:port"; nil where there are none.
	Replicas func() []string
	// WriteTimeout is how long a client may take to accept a message before it is disconnected; 0 means 10 s.
	WriteTimeout time.Duration
	// MaxAge ends streams in order after this time, give or take a tenth, so that clients spread over replicas and show
	// fresh tokens; 0 means never.
	MaxAge time.Duration
	// Health, where not nil, gets what clients say of their own workloads, and the end of streams on which they did. It is
	// called from the streams' goroutines, in the order of each stream, and must not block.
	Health func(ClientHealth)
	// Holders, where not nil, is told that others hold a destination that is followed (see Follow) than before. It is called
	// from the streams' goroutines, and must not block.
	Holders func()
	// Observe asks a client what it sees, over the link, until that or ctx ends; nil answers UNIMPLEMENTED. It is called from
	// the links' goroutines.
	Observe func(ctx context.Context, client ClientIdentity, link *Link) error
	Trace   Trace
	// Logger gets a line when a client refuses a resource, asks for what it may not read, or is disconnected for cause;
	// see package clientlog for how many. Required.
	Logger *slog.Logger
}

// Server answers the calls of api/fairlead/v1/discovery.proto. Its methods are safe for concurrent use.
type Server struct {
	o        ServerOptions // fixed after NewServer, as the next three
	log      *clientlog.Log[ClientIdentity]
	accounts *accounts
	calls    *calls

	mu       sync.RWMutex
	streams  map[*stream]struct{}         // guarded by mu, as everything below
	opened   uint64                       // counts streams
	watchers map[Key]map[*stream]struct{} // who is told about a key
	closed   bool

	departures departures
	following  following
	rounds     sync.Pool // of *round
	writers    turns.Crew
	links      links
}

// NewServer checks the options.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Source == nil || o.Authenticate == nil || o.MayRead == nil || o.Logger == nil {
		return nil, errors.New("discovery server: Source, Authenticate, MayRead and Logger are required")
	}
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 10*time.Second)
	return &Server{
		o:        o,
		log:      clientlog.New(o.Logger, ClientIdentity.ID),
		accounts: &accounts{pods: make(map[ClientIdentity]*account)},
		calls:    &calls{tokens: make(map[[sha256.Size]byte]*bucket)},
		streams:  make(map[*stream]struct{}),
		watchers: make(map[Key]map[*stream]struct{}),

		departures: departures{pods: make(map[ClientIdentity]*departure)},
		following:  following{streams: make(map[string]map[*stream]int), changed: o.Holders},
		links:      links{open: make(map[*Link]context.CancelCauseFunc)},
	}, nil
}

// HTTP gives a server for the handler that speaks HTTP/2 over TLS and notices a dead client after two keepalives
// (0 means DefaultKeepalive). The caller serves a listener with it.
func (s *Server) HTTP(config *tls.Config, keepalive time.Duration) *h2server.Server {
	return &h2server.Server{
		Handler: s, TLSConfig: config, Logger: s.o.Logger, Keepalive: cmp.Or(keepalive, DefaultKeepalive),
		HandshakeTimeout: helloTimeout, MaxConcurrentStreams: 16, MaxHeaderBytes: 64 << 10,
	}
}

// Changed says that the answers of keys are new since the given moment. Streams send what differs from what they
// sent last; however often a key changes meanwhile, only the newest answer goes out.
func (s *Server) Changed(keys []Key, since time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, key := range keys {
		for st := range s.watchers[key] {
			st.markDirty(key.Name, since)
		}
	}
}

// Close ends all streams in order; clients look for another replica at once. New calls are refused.
func (s *Server) Close() {
	s.links.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for st := range s.streams {
		st.cancel(errOver)
	}
}

// errOver ends a stream with status OK.
var errOver = errors.New("the stream is over")

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !grpcstream.CheckCall(w, r) {
		return
	}
	w.Header().Set("Content-Type", grpcstream.ContentType)
	client, err := s.caller(r)
	if err == nil {
		err = grpcstream.RefuseCompressed(w, r)
	}
	switch {
	case err != nil:
	case r.URL.Path == pathStream:
		if err = s.serveStream(w, r, client); err == nil {
			return // the conversation goes on, and says itself how it ends
		}
	default:
		err = s.serveInTime(w, r, client)
	}
	grpcstream.SetStatus(w, statusOf(err))
}

// caller says who calls.
func (s *Server) caller(r *http.Request) (ClientIdentity, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ClientIdentity{}, &StatusError{Code: CodeUnauthenticated, Message: "the call carries no bearer token"}
	}
	if !s.calls.allow(token, time.Now()) {
		return ClientIdentity{}, &StatusError{Code: CodeResourceExhausted, Message: fmt.Sprintf("more than %d calls with one token; from now on %d per second", callBurst, callRate)}
	}
	client, err := s.o.Authenticate(r.Context(), token)
	if err != nil {
		return ClientIdentity{}, notAuthenticated(err)
	}
	return client, nil
}

// serveInTime answers a call within the time that its client gives it.
func (s *Server) serveInTime(w http.ResponseWriter, r *http.Request, client ClientIdentity) error {
	r, cancel, err := grpcstream.Deadline(r)
	if err != nil {
		return err
	}
	defer cancel()
	return s.serve(w, r, client)
}

// serve answers the calls that have a goroutine while they last.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, client ClientIdentity) error {
	switch r.URL.Path {
	case pathSign:
		return s.serveSign(w, r, client)
	case pathHolders:
		return s.serveHolders(w, r, client)
	case pathObserve:
		return s.serveObserve(w, r, client)
	}
	return &StatusError{Code: CodeUnimplemented, Message: "no method " + r.URL.Path}
}

// notAuthenticated tells a token that is refused from one that was not judged.
func notAuthenticated(err error) *StatusError {
	type temporary interface {
		error
		Temporary() bool
	}
	if t, ok := errors.AsType[temporary](err); ok && t.Temporary() {
		return &StatusError{Code: CodeUnavailable, Message: err.Error()}
	}
	return &StatusError{Code: CodeUnauthenticated, Message: err.Error()}
}

func (s *Server) serveSign(w http.ResponseWriter, r *http.Request, client ClientIdentity) error {
	if s.o.Sign == nil {
		return &StatusError{Code: CodeUnimplemented, Message: "this control plane issues no certificates"}
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	message, err := readFrame(r.Body, maxSignRequest)
	if err != nil {
		return &StatusError{Code: CodeInvalidArgument, Message: "SignRequest: " + err.Error()}
	}
	var csr []byte
	if err := parseBlobs(message, &csr); err != nil {
		return &StatusError{Code: CodeInvalidArgument, Message: "SignRequest: " + err.Error()}
	}
	chain, trust, err := s.o.Sign(r.Context(), client, csr)
	if err != nil {
		return cmp.Or(asStatus(err), &StatusError{Code: CodeInvalidArgument, Message: err.Error()})
	}
	whole, err := Encode(trust)
	if err != nil {
		return err
	}
	answer, err := seal(append(make([]byte, headerSize), appendBlobs(chain, []byte(strings.Join(trust.Roots, "\n")), whole)...))
	if err != nil {
		return err
	}
	_, err = io.Copy(w, bytes.NewReader(answer))
	return err
}

// maxSignRequest bounds a certificate request, in bytes; one with an ECDSA key has about 300.
const maxSignRequest = 64 << 10

func asStatus(err error) *StatusError {
	status, _ := errors.AsType[*StatusError](err)
	return status
}

// trace calls a hook that may be nil.
func trace[T any](hook func(T), v T) {
	if hook != nil {
		hook(v)
	}
}

func (s *Server) add(st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return &StatusError{Code: CodeUnavailable, Message: "the control plane is shutting down"}
	}
	s.opened++
	st.number = s.opened
	s.streams[st] = struct{}{}
	st.account = s.accounts.open(st, time.Now())
	return nil
}

// remove forgets a stream and all it watched.
func (s *Server) remove(st *stream) {
	names := st.watched()
	s.mu.Lock()
	delete(s.streams, st)
	s.mu.Unlock()
	s.unwatch(st, names)
	s.following.drop(st)
	st.account.close(st)
	if st.reports {
		st.healthReported(nil)
	}
}

// slice is how many names are worked on at a time, so that nothing else waits long for a client that has thousands.
const slice = 256

// watch has st told about names and asks the source for them. After an error nothing is watched.
func (s *Server) watch(ctx context.Context, st *stream, names []string) error {
	keys := st.keys(names)
	s.mu.Lock()
	for _, key := range keys {
		if s.watchers[key] == nil {
			s.watchers[key] = make(map[*stream]struct{})
		}
		s.watchers[key][st] = struct{}{}
	}
	s.mu.Unlock()
	if err := s.o.Source.Watch(ctx, keys); err != nil {
		s.forget(st, keys)
		return fmt.Errorf("resolving %d names: %w", len(names), err)
	}
	return nil
}

func (s *Server) unwatch(st *stream, names []string) {
	for part := range slices.Chunk(names, slice) {
		keys := st.keys(part)
		s.forget(st, keys)
		s.o.Source.Unwatch(keys)
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
