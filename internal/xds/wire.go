package xds

import (
	"strconv"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
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

// protocol is one of the two, on a stream.
type protocol interface {
	recv() (*request, error)
	send(*response) error
}

// states is the state of the world.
type states struct {
	grpc.BidiStreamingServer[discovery.DiscoveryRequest, discovery.DiscoveryResponse]
}

func (s states) recv() (*request, error) {
	r, err := s.Recv()
	if err != nil {
		return nil, err
	}
	req := &request{
		node: r.GetNode(), url: r.GetTypeUrl(), nonce: r.GetResponseNonce(), version: r.GetVersionInfo(),
		names: r.GetResourceNames(), size: proto.Size(r),
	}
	if e := r.GetErrorDetail(); e != nil {
		req.refused = new(cut(e.GetMessage()))
	}
	return req, nil
}

func (s states) send(r *response) error {
	list := make([]*anypb.Any, len(r.resources))
	for i := range r.resources {
		list[i] = wrap(r.typ, &r.resources[i])
	}
	return s.Send(&discovery.DiscoveryResponse{VersionInfo: r.version, Resources: list, TypeUrl: r.typ.URL(), Nonce: r.nonce})
}

// deltas is the protocol of differences.
type deltas struct {
	grpc.BidiStreamingServer[discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse]
}

func (s deltas) recv() (*request, error) {
	r, err := s.Recv()
	if err != nil {
		return nil, err
	}
	req := &request{
		node: r.GetNode(), url: r.GetTypeUrl(), nonce: r.GetResponseNonce(), names: r.GetResourceNamesSubscribe(),
		less: r.GetResourceNamesUnsubscribe(), has: r.GetInitialResourceVersions(), size: proto.Size(r),
	}
	if e := r.GetErrorDetail(); e != nil {
		req.refused = new(cut(e.GetMessage()))
	}
	return req, nil
}

func (s deltas) send(r *response) error {
	list := make([]*discovery.Resource, len(r.resources))
	for i := range r.resources {
		list[i] = &discovery.Resource{Name: r.resources[i].Name, Version: r.resources[i].Version, Resource: wrap(r.typ, &r.resources[i])}
	}
	return s.Send(&discovery.DeltaDiscoveryResponse{
		SystemVersionInfo: r.version, Resources: list, RemovedResources: r.removed, TypeUrl: r.typ.URL(), Nonce: r.nonce,
	})
}

func wrap(t Type, r *Resource) *anypb.Any { return &anypb.Any{TypeUrl: t.URL(), Value: r.Body} }

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
