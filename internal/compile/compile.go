package compile

import (
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// Global is what is the same for the whole mesh.
type Global struct {
	// TrustDomain is the host part of SPIFFE IDs.
	TrustDomain string
	// ClusterDomain is the suffix of Service names, "cluster.local".
	ClusterDomain string
	// ClusterID labels metrics, "Kubernetes".
	ClusterID string
	// RootNamespace holds the DestinationRules that apply where no other does, and the PeerAuthentications of the whole
	// mesh; empty means DefaultRootNamespace.
	RootNamespace string
	// RefuseUnknown is outboundTrafficPolicy REGISTRY_ONLY.
	RefuseUnknown bool
	AccessLog     plan.AccessLogFormat
	// LogFormat is how lines of access logs are written. LogProviders are what they may go to besides standard output, LogDefault
	// the names of those that get them where no object says so.
	LogFormat    model.LogFormat
	LogProviders []model.LogProvider
	LogDefault   []string
	// NoInboundRetries keeps called sidecars from retrying.
	NoInboundRetries bool
	// NativeHistograms has sidecars count in native histograms, too.
	NativeHistograms bool
	// Limits are those of the sidecars.
	Limits plan.Limits
	// Paths is pathNormalization.
	Paths plan.PathNormalization
	// Locality is the mesh's localityLbSetting, nil for none.
	Locality *model.LocalityLB
	// Tracing is what the mesh says of traces.
	Tracing model.MeshTracing
	// Network is the control plane's own, that of pods of which nothing says theirs; empty for the label of the root namespace.
	Network string
	// Networks is the mesh's meshNetworks: what is said of networks besides labels.
	Networks model.MeshNetworks
}

// DefaultRootNamespace is where the control plane runs.
const DefaultRootNamespace = "fairlead-system"

// Resolve gives the canonical name of the resource behind an alias ("ip/<ip>:<port>", "host/<host>:<port>",
// "dns/<name>", "ip/<ip>") as c sees it. A canonical name is its own alias. ok is false where the name is not
// ours: the proxy passes the call or the question through.
func Resolve(r *store.Reader, g Global, c Client, name string) (canonical string, ok bool) {
	canonical, ok = resolver{view{snapshot: snapshot{r, g}, ns: c.Namespace}}.resolve(name)
	if !ok {
		return "", false
	}
	return canonical, true
}

// Compile gives the resource of a canonical name, or nil where it does not exist (any more). A resource has the name
// it was asked for by, so other spellings of a name give nil. The trust bundle and
// seals are not compiled: who has the CA makes them.
func Compile(r *store.Reader, g Global, canonical string) plan.Resource { //nolint:ireturn // the name says which of the plan's types it is
	out := compileName(view{snapshot: snapshot{r, g}}, canonical)
	if out == nil || out.ResourceName() != canonical {
		return nil
	}
	return out
}

// compileName dispatches on the kind of a name.
func compileName(v view, name string) plan.Resource { //nolint:ireturn // as Compile
	n, ok := plan.ParseName(name)
	if !ok {
		return nil
	}
	switch n.Kind {
	case plan.NameDestination:
		return resource(destinations{v}.destination(n))
	case plan.NamePod:
		return resource(dialled{v}.pod(n))
	case plan.NameShard:
		return resource(endpointShards{v}.shard(n))
	case plan.NameWorkload:
		return resource(workloads{v}.workload(n))
	case plan.NameInbound:
		return resource(inboundPolicies{v.snapshot}.inbound(n))
	case plan.NameDNS:
		return resource(dnsNames{v}.dnsName(n.Host))
	case plan.NameCredential, plan.NameRoots:
		return resource(credentials{v.snapshot}.credential(n))
	case plan.NameMesh:
		return &plan.MeshGlobal{
			RefuseUnknown: v.g.RefuseUnknown, AccessLog: v.g.AccessLog, LogFormat: v.g.LogFormat, Paths: v.g.Paths,
			NamedPorts: namedPorts(v.r, v.g), Limits: v.g.Limits, NoInboundRetries: v.g.NoInboundRetries, NativeHistograms: v.g.NativeHistograms,
		}
	case plan.NamePassage:
		return resource(networks{v.snapshot}.passage(n))
	case plan.NameAddress, plan.NameHost, plan.NameTrust, plan.NameSeal, plan.NameUnknown:
	}
	return nil
}

// resource makes a nil pointer a nil interface.
func resource[T any, P pointer[T]](p P) plan.Resource { //nolint:ireturn // what Compile returns
	if p == nil {
		return nil
	}
	return p
}

// pointer is a *T that is a resource.
type pointer[T any] interface {
	*T
	plan.Resource
}
