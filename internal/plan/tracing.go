package plan

import "fairlead.dev/fairlead/internal/model"

// Tracing is what a sidecar does about traces in the requests of one side: those of its app (spans of kind CLIENT), or those
// to it (SERVER).
type Tracing struct {
	// Origin names what says so: "mesh", or the objects in force ("Telemetry myapp/default").
	Origin string
	// Provider is where spans go. Where it is nil, trace contexts pass as they are.
	Provider *model.TraceProvider
	// Service is what spans call the workload, NodeID what Istio's call its sidecar, MeshID what they call the mesh.
	Service, NodeID, MeshID string
	// Sampling is the part of the requests, in percent, that are traced among those that come without a decision.
	Sampling float64
	// SampleAtRandom has each request without a decision sampled for itself. Otherwise those with the same x-request-id are sampled
	// alike, by every sidecar.
	SampleAtRandom bool
	// Tags are added to the spans of all requests, in this order.
	Tags []model.TraceTag
	// NoReport takes the spans away; contexts and decisions go on.
	NoReport bool
	// NoPropagation leaves the heads of requests as they are: Istio's disableContextPropagation.
	NoPropagation bool
	// NoIstioTags leaves out istio.canonical_service and the like; OTelNames adds OpenTelemetry's attributes to Envoy's.
	NoIstioTags, OTelNames bool
	// MaxTagLength bounds the value of a tag in bytes.
	MaxTagLength uint32
}
