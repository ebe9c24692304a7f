package model

import "time"

// RouteSet is one user object that routes calls: a VirtualService, a TrafficSplit, or a route of the Gateway API
// whose parent is a Service.
type RouteSet struct {
	Ref       Ref
	CreatedAt time.Time
	// Hosts are what the rules apply to, resolved to full names; wildcards allowed for VirtualServices.
	// For a Gateway API route they are the hosts of its parent Services.
	Hosts []Hostname
	// Parents narrows Hosts to ports where the object does so (Gateway API parentRef.port). Port 0 = every port.
	Parents []RouteParent
	// Gateways are parents of a Gateway API route that are served by no sidecar.
	Gateways []GatewayParent
	// Hostnames narrow by request authority (HTTPRoute spec.hostnames); empty = any.
	Hostnames []Hostname
	// ExportTo is Istio's list of the namespaces whose callers it is for ("." own namespace, "*" all); empty = all.
	ExportTo []string
	HTTP     []HTTPRule
	TCP      []TCPRule
	TLS      []TCPRule
}

// Reference names the object that the route set was read from.
func (r *RouteSet) Reference() Ref { return r.Ref }

// RouteParent is one parentRef of a Gateway API route, resolved. Where the Service is in another namespace than the
// route, the route is a consumer's: for callers of its own namespace only (GEP-1426).
type RouteParent struct {
	// Field is its path in the object ("spec.parentRefs[0]").
	Field   string
	Service Key
	Host    Hostname
	Port    uint16
	// PortName narrows to the Service's port of that name (sectionName); empty = any.
	PortName string
}

// GatewayParent is one parentRef of a Gateway API route that means a Gateway.
type GatewayParent struct {
	// Field is its path in the object ("spec.parentRefs[0]").
	Field string
	Key   Key
	// Assumed is set where neither group nor kind is written: then a Gateway is meant, whatever the user had in mind.
	Assumed bool
}

// MatchKind says how a StringMatch compares.
type MatchKind uint8

// The kinds. The zero value is invalid.
const (
	Exact MatchKind = iota + 1
	Prefix
	// PathPrefix matches whole path segments (Gateway API): /a matches /a and /a/b, not /ab.
	PathPrefix
	// Regex is RE2, matched against the whole value.
	Regex
	// Present matches any value, the empty one too.
	Present
)

// String gives the word for the comparison.
func (k MatchKind) String() string {
	switch k {
	case Exact:
		return "exact"
	case Prefix:
		return "prefix"
	case PathPrefix:
		return "path prefix"
	case Regex:
		return "regex"
	case Present:
		return "present"
	}
	return "invalid"
}

// StringMatch compares one string.
type StringMatch struct {
	Kind       MatchKind
	Value      string
	IgnoreCase bool
}

// NamedMatch compares the value of a header or a query parameter. Invert is Istio's withoutHeaders.
type NamedMatch struct {
	Name   string
	Match  StringMatch
	Invert bool
}

// HTTPMatch holds when all its parts hold; nil and empty parts hold always.
type HTTPMatch struct {
	Name                           string
	URI, Scheme, Method, Authority *StringMatch
	Headers                        []NamedMatch
	Query                          []NamedMatch
	Port                           uint16
	SourceLabels                   map[string]string
	SourceNamespace                string
	// StatPrefix is what the requests are counted under, "" for nothing. In a plan it stands in Route.Stats.
	StatPrefix string
}

// HTTPRule is one rule of a RouteSet, in the user's order. Field is its path in the object ("spec.http[0]").
// At most one of Redirect and Direct is set; otherwise Backends are called.
type HTTPRule struct {
	Name, Field string
	Matches     []HTTPMatch
	Backends    []WeightedBackend
	Redirect    *Redirect
	Direct      *DirectResponse
	Rewrite     *Rewrite
	Headers     HeaderOps
	Timeout     time.Duration // 0 = none
	// BackendTimeout bounds each try (Gateway API timeouts.backendRequest); 0 = none.
	BackendTimeout time.Duration
	// ResponseTimeout bounds each try, and none follows one that it ends (Linkerd's timeout.linkerd.io/response); 0 = none.
	ResponseTimeout time.Duration
	// IdleTimeout is how long no byte of a request or its answer may move; 0 = as the mesh says.
	IdleTimeout time.Duration
	// Timed says that the annotations of the route, which are for all of its rules, say how long requests may take: those of
	// the Service say nothing then.
	Timed   bool
	Retry   *Retry
	Fault   *Fault
	Mirrors []Mirror
	CORS    *CORS
	// Delegate is the VirtualService whose rules stand in the place of this one, nil for none.
	Delegate *Key
	// Groups narrow the rule to requests that one of them describes; empty for all. Matches are empty then.
	Groups []RouteGroupRef
	// Session keeps the calls of a client together; nil where the rule says nothing of it.
	Session *SessionPersistence
	// Unsupported says what in the rule cannot be served; its requests are answered 500, as Gateway API demands.
	Unsupported string
}

// WeightedBackend is one place a rule sends calls to. Weights are relative; all zero means "none".
type WeightedBackend struct {
	Field   string
	Host    Hostname
	Port    uint16 // 0 = the port that was called, or the only one
	Subset  string
	Weight  uint32
	Headers HeaderOps
	Rewrite *Rewrite
	// Invalid says why the reference can never resolve (unknown kind), Unsupported what of the backend cannot be
	// served (a filter); such a backend answers 500 as Gateway API demands.
	Invalid, Unsupported string
}

// HeaderOps changes headers of the request and of the response.
type HeaderOps struct{ Request, Response HeaderChange }

// HeaderChange is applied remove, set, add: what is both removed and set is there afterwards, as in Envoy.
type HeaderChange struct {
	Set, Add []HeaderValue
	Remove   []string
}

// Empty reports whether nothing is changed.
func (o *HeaderOps) Empty() bool { return o.Request.empty() && o.Response.empty() }

func (c *HeaderChange) empty() bool { return len(c.Set)+len(c.Add)+len(c.Remove) == 0 }

// HeaderValue is one header.
type HeaderValue struct {
	Name, Value string
	// Template makes the value of every message, see ParseTemplate; Value is empty then.
	Template string
}

// Redirect answers with a Location. Empty parts keep the request's.
type Redirect struct {
	Scheme, Authority string
	// Path replaces the whole path, or only the matched prefix where ReplacePrefix is set.
	Path          string
	ReplacePrefix bool
	HasPath       bool
	Port          uint16
	// PortMode says what an unset Port means.
	PortMode PortMode
	Code     int
}

// PortMode says which port a redirect names where none was written.
type PortMode uint8

// The modes; the zero value keeps the request's port.
const (
	PortKeep PortMode = iota
	PortFromProtocolDefault
	// PortFromRequest names the port that was called, unless it is the scheme's standard one (Gateway API).
	PortFromRequest
	// PortFromRequestAlways names it, be it the standard one (Istio's FROM_REQUEST_PORT).
	PortFromRequestAlways
)

// String gives the rule in two or three words.
func (m PortMode) String() string {
	switch m {
	case PortKeep:
		return "keep"
	case PortFromProtocolDefault:
		return "protocol default"
	case PortFromRequest:
		return "from request"
	case PortFromRequestAlways:
		return "from request always"
	}
	return "invalid"
}

// DirectResponse answers without calling an endpoint.
type DirectResponse struct {
	Status int
	Body   []byte
}

// Rewrite changes what is sent on. At most one of Path and Regex is set.
type Rewrite struct {
	Authority string
	// Path replaces the matched prefix (ReplacePrefix) or the whole path.
	Path          string
	HasPath       bool
	ReplacePrefix bool
	// Regex and Substitution are Istio's uriRegexRewrite (RE2, \1 for groups).
	Regex, Substitution string
}

// Retry says how often and on what. Attempts counts the tries after the first; 0 switches retries off. Without On and
// Codes the default conditions apply.
type Retry struct {
	Attempts      int
	PerTryTimeout time.Duration
	// On holds Envoy's conditions ("5xx", "connect-failure", …), and RetryOnTryTimeout; Codes the status codes among them.
	On      []string
	Codes   []int
	Backoff time.Duration // the base of the pauses; 0 = 25 ms
	// RemoteLocalities has every second retry leave the localities that were tried before.
	RemoteLocalities bool
	// SameHosts allows endpoints that were tried before, also while there are others.
	SameHosts bool
}

// RetryOnTryTimeout is the condition of Retry.On that PerTryTimeout was over, whatever the method. Envoy has none of its own
// for it; a user asks for it by Linkerd's retry.linkerd.io/timeout.
const RetryOnTryTimeout = "per-try-timeout"

// Fault injects failures into a share of the requests (percentages 0 to 100).
type Fault struct {
	Delay        time.Duration
	DelayPercent float64
	AbortStatus  int
	// AbortGRPC is the status that gRPC's requests get, a number; empty for that which suits AbortStatus.
	AbortGRPC    string
	AbortPercent float64
}

// PerMillion is a share in percent as Istio hands it to Envoy: in millionths, of which there are no parts.
func PerMillion(percent float64) uint32 {
	if !(percent > 0) { // NaN is nothing either
		return 0
	}
	return uint32(min(percent, 100) * 10_000)
}

// Mirror sends a copy of a share of the requests elsewhere and ignores the answer.
type Mirror struct {
	Backend WeightedBackend
	Percent float64
}

// TCPRule routes connections.
type TCPRule struct {
	Field    string
	Matches  []TCPMatch
	Backends []WeightedBackend
}

// TCPMatch holds when all its parts hold.
type TCPMatch struct {
	DestinationSubnets []string
	SourceSubnet       string // empty for any
	Port               uint16
	SNI                []string
	SourceLabels       map[string]string
	SourceNamespace    string
}
