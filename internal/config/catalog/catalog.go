package catalog

import "slices"

// Kind is a kind of a mesh API that Fairlead does not obey.
type Kind struct {
	// Group, Name and Resource are as in "policy.linkerd.io", "Server", "servers".
	Group, Name, Resource string
	// Loss says what does not happen, after a colon.
	Loss string
	// Instead says what to do about it, or is empty.
	Instead string
	// Guards is set for kinds that say which calls are denied: not obeyed, they let in what they were written to keep out.
	Guards bool
	// Protects is set for these and for all others without which calls get through that were to be stopped.
	Protects bool
	// Served is set for kinds that a controller beside the mesh serves, such as an Ingress: they are no loss in a cluster
	// that has one.
	Served bool
}

// The groups.
const (
	istioNetworking = "networking.istio.io"
	istioSecurity   = "security.istio.io"
	istioTelemetry  = "telemetry.istio.io"
	istioExtensions = "extensions.istio.io"
	gatewayAPI      = "gateway.networking.k8s.io"
	gatewayTrials   = "gateway.networking.x-k8s.io"
	linkerdPolicy   = "policy.linkerd.io"
	linkerdProfiles = "linkerd.io"
	linkerdLinks    = "multicluster.linkerd.io"
	linkerdExternal = "workload.linkerd.io"
	smiSpecs        = "specs.smi-spec.io"
	smiAccess       = "access.smi-spec.io"
	smiSplit        = "split.smi-spec.io"
	multiCluster    = "multicluster.x-k8s.io"
	kubeNetworking  = "networking.k8s.io"
	ownAPI          = "fairlead.dev"
)

// Groups lists the API groups of meshes: every kind in them means something to one. The validating webhook is asked
// about all of them (deploy/chart/templates/webhooks.yaml).
func Groups() []string {
	return []string{
		istioNetworking, istioSecurity, istioTelemetry, istioExtensions,
		gatewayAPI, gatewayTrials,
		linkerdPolicy, linkerdProfiles, linkerdLinks, linkerdExternal,
		smiSpecs, smiAccess, smiSplit,
		multiCluster, ownAPI,
	}
}

// What several kinds lose.
const (
	lostGateway = "it opens no port, for Fairlead routes calls inside the mesh only"
	lostPolicy  = "the calls that it denies are let through"
	restrict    = "restrict the calls with a NetworkPolicy, or in the app"
)

// Kinds lists the kinds that are not obeyed.
func Kinds() []Kind {
	return []Kind{
		{Group: istioNetworking, Name: "Gateway", Resource: "gateways", Loss: lostGateway},
		{
			Group: istioNetworking, Name: "Sidecar", Resource: "sidecars",
			Loss: "it narrows nothing down; a sidecar is sent what its app calls",
		},
		{Group: istioNetworking, Name: "EnvoyFilter", Resource: "envoyfilters", Loss: "the sidecar is no Envoy"},
		{Group: istioNetworking, Name: "WorkloadGroup", Resource: "workloadgroups", Loss: "no workload joins by it", Instead: "write a WorkloadEntry for each workload"},
		{
			Group: istioNetworking, Name: "ProxyConfig", Resource: "proxyconfigs",
			Loss: "sidecars keep their settings", Instead: "annotate the pods: docs/reference/injection.md",
		},
		{
			Group: istioSecurity, Name: "AuthorizationPolicy", Resource: "authorizationpolicies",
			Loss: lostPolicy, Instead: restrict, Guards: true, Protects: true,
		},
		{
			Group: istioSecurity, Name: "RequestAuthentication", Resource: "requestauthentications",
			Loss: "tokens are not checked, requests with invalid ones are let through", Instead: "check them in the app", Protects: true,
		},
		{Group: istioExtensions, Name: "WasmPlugin", Resource: "wasmplugins", Loss: "the plugin does not run"},
		{Group: istioExtensions, Name: "TrafficExtension", Resource: "trafficextensions", Loss: "the extension does not run"},

		{Group: gatewayAPI, Name: "Gateway", Resource: "gateways", Loss: lostGateway, Served: true},
		{Group: gatewayAPI, Name: "UDPRoute", Resource: "udproutes", Loss: "UDP is not carried"},
		{
			Group: gatewayAPI, Name: "BackendTLSPolicy", Resource: "backendtlspolicies",
			Loss: "no call is made with TLS because of it", Instead: "set trafficPolicy.tls of a DestinationRule",
		},
		{Group: gatewayAPI, Name: "BackendLBPolicy", Resource: "backendlbpolicies", Loss: "calls are balanced as without it"},
		{Group: gatewayAPI, Name: "ListenerSet", Resource: "listenersets", Loss: lostGateway, Served: true},
		{Group: gatewayTrials, Name: "XListenerSet", Resource: "xlistenersets", Loss: lostGateway, Served: true},
		{Group: gatewayTrials, Name: "XMesh", Resource: "xmeshes", Loss: "nothing is set by it"},
		{
			Group: gatewayTrials, Name: "XBackendTrafficPolicy", Resource: "xbackendtrafficpolicies",
			Loss: "calls are balanced and retried as without it",
		},

		{
			Group: linkerdPolicy, Name: "AuthorizationPolicy", Resource: "authorizationpolicies",
			Loss: lostPolicy, Instead: restrict, Guards: true, Protects: true,
		},
		{
			Group: linkerdPolicy, Name: "Server", Resource: "servers",
			Loss: "its port takes calls from every client", Instead: restrict, Protects: true,
		},
		{
			Group: linkerdPolicy, Name: "ServerAuthorization", Resource: "serverauthorizations",
			Loss: lostPolicy, Instead: restrict, Protects: true,
		},
		{Group: linkerdPolicy, Name: "MeshTLSAuthentication", Resource: "meshtlsauthentications", Loss: "nothing is allowed or denied by it"},
		{Group: linkerdPolicy, Name: "NetworkAuthentication", Resource: "networkauthentications", Loss: "nothing is allowed or denied by it"},
		{
			Group: linkerdPolicy, Name: "HTTPRoute", Resource: "httproutes",
			Loss: "requests are not routed by it", Instead: "write the HTTPRoute of `gateway.networking.k8s.io/v1`",
		},
		{Group: linkerdPolicy, Name: "HTTPLocalRateLimitPolicy", Resource: "httplocalratelimitpolicies", Loss: "requests are not limited"},
		{
			Group: linkerdPolicy, Name: "EgressNetwork", Resource: "egressnetworks",
			Loss: "calls that leave the cluster are let through", Instead: restrict, Protects: true,
		},
		{
			Group: linkerdProfiles, Name: "ServiceProfile", Resource: "serviceprofiles",
			Loss: "its routes, retries and timeouts do not exist", Instead: "write an HTTPRoute",
		},
		{
			Group: linkerdExternal, Name: "ExternalWorkload", Resource: "externalworkloads",
			Loss: "the workload is not called", Instead: "list its address under endpoints of a ServiceEntry",
		},

		{Group: smiSpecs, Name: "TCPRoute", Resource: "tcproutes", Loss: "nothing refers to it"},
		{Group: smiSpecs, Name: "UDPRoute", Resource: "udproutes", Loss: "nothing refers to it"},
		{
			Group: smiAccess, Name: "TrafficTarget", Resource: "traffictargets",
			Loss: lostPolicy, Instead: restrict, Protects: true,
		},

		{
			Group: kubeNetworking, Name: "Ingress", Resource: "ingresses",
			Loss: "it takes a controller of its own; Fairlead routes calls inside the mesh only", Served: true,
		},
	}
}

// Find gives what is known of a kind that is not obeyed.
func Find(group, name string) (Kind, bool) {
	all := Kinds()
	i := slices.IndexFunc(all, func(k Kind) bool { return k.Group == group && k.Name == name })
	if i < 0 {
		return Kind{}, false
	}
	return all[i], true
}

// Strange gives words for a kind of a mesh's group that is not in any list, such as one that is younger than this
// program.
func Strange(group, name string) Kind {
	return Kind{Group: group, Name: name, Loss: "it has no effect"}
}

// Bystander reports whether a kind is known and means nothing to a mesh: those of Kubernetes itself, and the kinds of
// the mesh APIs that change nothing here.
func Bystander(group, name string) bool {
	switch {
	case group == gatewayAPI:
		return name == "GatewayClass" || name == "ReferenceGrant"
	case slices.Contains(Groups(), group):
		return false
	}
	return slices.Contains(kubernetesKinds(), name)
}
