package xds

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"fairlead.dev/fairlead/internal/net/grpcstream"
)

// request is a message of a client, of either protocol.
type request struct {
	node    *core.Node // only in the first one of a stream
	url     string
	nonce   string
	version string  // of the state of the world: what the client has
	refused *string // why it does not put the response with this nonce in force
	names   []string
	less    []string          // of a delta: names that it does not want any more
	has     map[string]string // of a delta: what it has from a previous stream
	size    int               // in bytes
}

// response is a message to a client, of either protocol.
type response struct {
	typ            Type
	nonce, version string
	resources      []Resource
	removed        []string // of a delta
}

// conversation is the two directions of a stream.
type conversation interface {
	// recv waits for a request. It belongs to the goroutine that reads.
	recv() (*request, error)
	// send belongs to who has the turn, and keeps nothing of what it is given.
	send(*response) error
}

// protocol is how the messages of one of the two protocols look.
type protocol struct {
	read   func([]byte) (*request, error)
	append func([]byte, *response) []byte
}

// wire is a conversation by HTTP/2.
type wire struct {
	p        *protocol
	buffers  *sync.Pool // of *buffer, the server's
	in       *grpcstream.Frames
	w        http.ResponseWriter
	rc       *http.ResponseController
	patience *grpcstream.Patience
	timeout  time.Duration
}

func newWire(s *Server, p *protocol, w http.ResponseWriter, r *http.Request) (*wire, error) {
	in := grpcstream.NewFrames(r.Body, maxRequest)
	if err := in.Decompress(r.Header.Get(grpcstream.HeaderEncoding)); err != nil {
		return nil, err
	}
	rc := http.NewResponseController(w)
	return &wire{
		p: p, buffers: &s.buffers, in: in, w: w, rc: rc, patience: grpcstream.NewPatience(rc), timeout: s.o.WriteTimeout,
	}, nil
}

func (c *wire) recv() (*request, error) {
	b, err := c.in.Next()
	if err != nil {
		return nil, asStatus(err)
	}
	r, err := c.p.read(b)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "reading a request: %v", err)
	}
	r.size = c.in.Cost()
	return r, nil
}

// buffer is memory for a message.
type buffer struct{ b []byte }

// keepBuffer is the size up to which memory for messages is used again.
const keepBuffer = 256 << 10

// send writes a message in one piece. Memory is held for as long as the client takes.
func (c *wire) send(r *response) error {
	buf, ok := c.buffers.Get().(*buffer)
	if !ok {
		buf = &buffer{}
	}
	buf.b = grpcstream.Seal(c.p.append(append(buf.b[:0], make([]byte, grpcstream.HeaderSize)...), r))
	began := time.Now()
	c.patience.Begin(began, c.timeout)
	_, err := c.w.Write(buf.b)
	if err == nil {
		err = c.rc.Flush()
	}
	c.patience.End()
	if cap(buf.b) <= keepBuffer {
		c.buffers.Put(buf)
	}
	if err != nil && time.Since(began) >= c.timeout {
		return status.Errorf(codes.Unavailable, "the client does not accept its configuration within %s", c.timeout)
	}
	return err
}

// states is the state of the world.
var states = protocol{read: readState, append: appendState} //nolint:gochecknoglobals // a table that never changes

func readState(b []byte) (*request, error) {
	r := &discovery.DiscoveryRequest{}
	if err := proto.Unmarshal(b, r); err != nil {
		return nil, err
	}
	req := &request{
		node: r.GetNode(), url: r.GetTypeUrl(), nonce: r.GetResponseNonce(), version: r.GetVersionInfo(), names: r.GetResourceNames(),
	}
	if e := r.GetErrorDetail(); e != nil {
		req.refused = new(cut(e.GetMessage()))
	}
	return req, nil
}

// deltas is the protocol of differences.
var deltas = protocol{read: readDelta, append: appendDelta} //nolint:gochecknoglobals // a table that never changes

func readDelta(b []byte) (*request, error) {
	r := &discovery.DeltaDiscoveryRequest{}
	if err := proto.Unmarshal(b, r); err != nil {
		return nil, err
	}
	req := &request{
		node: r.GetNode(), url: r.GetTypeUrl(), nonce: r.GetResponseNonce(), names: r.GetResourceNamesSubscribe(),
		less: r.GetResourceNamesUnsubscribe(), has: r.GetInitialResourceVersions(),
	}
	if e := r.GetErrorDetail(); e != nil {
		req.refused = new(cut(e.GetMessage()))
	}
	return req, nil
}

// maxReason bounds what is kept of a client's words, in bytes.
const maxReason = 1024

// cut shortens a client's words.
func cut(s string) string {
	if len(s) > maxReason {
		return s[:maxReason] + "…"
	}
	return s
}

// Node is what a client says of itself. Nothing of it is proven.
type Node struct {
	// ID is its name: of Envoy and of gRPC with Istio's bootstrap "sidecar~<ip>~<pod>.<namespace>~<domain>".
	ID string
	// Agent is the program and its version, such as "envoy 1.40.0" or "gRPC C-core linux Python".
	Agent string
	// Generator is the metadata GENERATOR, "grpc" for clients that are a gRPC library.
	Generator string
	// Captures means that it says that it is a sidecar: metadata INTERCEPTION_MODE REDIRECT.
	Captures bool
}

func nodeOf(n *core.Node) Node {
	agent := n.GetUserAgentName()
	version := n.GetUserAgentVersion()
	if v := n.GetUserAgentBuildVersion().GetVersion(); v != nil {
		version = strconv.Itoa(int(v.GetMajorNumber())) + "." + strconv.Itoa(int(v.GetMinorNumber())) + "." + strconv.Itoa(int(v.GetPatch()))
	}
	if version != "" {
		agent += " " + version
	}
	said := n.GetMetadata().GetFields()
	return Node{
		ID: cut(n.GetId()), Agent: cut(agent), Generator: cut(said["GENERATOR"].GetStringValue()),
		Captures: said["INTERCEPTION_MODE"].GetStringValue() == "REDIRECT",
	}
}
