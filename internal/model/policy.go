package model

import (
	"strconv"
	"time"
)

// DestinationPolicy is a DestinationRule: how to call a host, and its named subsets.
type DestinationPolicy struct {
	Ref       Ref
	CreatedAt time.Time
	Host      Hostname
	ExportTo  []string
	// Selector has the rule be for the calls of those workloads of its namespace that have these labels, an empty one for all
	// of them; nil is the calls of every workload that sees the rule.
	Selector map[string]string
	Default  TrafficPolicy
	PerPort  map[uint16]TrafficPolicy
	Subsets  []Subset
}

// Reference names the object that the policy was read from.
func (p *DestinationPolicy) Reference() Ref { return p.Ref }

// Subset is the endpoints of a host whose labels match, with a policy of their own where fields are set.
type Subset struct {
	Name, Field string
	Labels      map[string]string
	Policy      TrafficPolicy
	PerPort     map[uint16]TrafficPolicy
}

// LBKind is a load-balancing algorithm.
type LBKind uint8

// The algorithms. The zero value means "not said".
const (
	LBUnset LBKind = iota
	LeastRequest
	RoundRobin
	Random
	Passthrough
	// RingHash and Maglev send calls that are alike to one endpoint. HashPolicy says which calls are.
	RingHash
	Maglev
	// PeakEWMA goes by latencies. Istio has no such algorithm: it is asked for by LoadBalancerAnnotation.
	PeakEWMA
	// Utilization goes by the load that endpoints report: see BackendUtilization.
	Utilization
)

// LoadBalancerAnnotation of a Service, or of a DestinationRule, names the algorithm where no DestinationRule says one in its
// spec: see AnnotatedLB.
const LoadBalancerAnnotation = "fairlead.dev/load-balancer"

// AnnotatedLB reads the value of a LoadBalancerAnnotation; the empty one says nothing.
func AnnotatedLB(value string) (_ LBKind, known bool) {
	if value == "" {
		return LBUnset, true
	}
	for _, k := range []LBKind{LeastRequest, RoundRobin, Random, PeakEWMA} {
		if value == k.String() {
			return k, true
		}
	}
	return LBUnset, false
}

// HashBalanceAnnotation of a Service, or of a DestinationRule, is the HashPolicy.BalanceFactor of those who call by consistent
// hash.
const HashBalanceAnnotation = "fairlead.dev/hash-balance-factor"

// AnnotatedBalance reads the value of a HashBalanceAnnotation; the empty one says nothing, as does 0.
func AnnotatedBalance(value string) (_ uint32, ok bool) {
	if value == "" {
		return 0, true
	}
	n, err := strconv.ParseUint(value, 10, 32)
	return uint32(n), err == nil && (n == 0 || n >= 100)
}

// Hashes reports whether the algorithm sends calls that are alike to one endpoint.
func (k LBKind) Hashes() bool { return k == RingHash || k == Maglev }

// String gives Istio's spelling.
func (k LBKind) String() string {
	switch k {
	case LBUnset:
		return "UNSPECIFIED"
	case LeastRequest:
		return "LEAST_REQUEST"
	case RoundRobin:
		return "ROUND_ROBIN"
	case Random:
		return "RANDOM"
	case Passthrough:
		return "PASSTHROUGH"
	case RingHash:
		return "RING_HASH"
	case Maglev:
		return "MAGLEV"
	case PeakEWMA:
		return "PEAK_EWMA"
	case Utilization:
		return "BACKEND_UTILIZATION"
	}
	return "invalid"
}

// HashBy is what makes calls alike.
type HashBy uint8

// What calls may have in common. The zero value means "nothing": they are spread.
const (
	HashByNothing HashBy = iota
	HashByHeader
	HashByCookie
	HashBySource
	HashByQuery
)

// String names it.
func (b HashBy) String() string {
	switch b {
	case HashByNothing:
		return "NOTHING"
	case HashByHeader:
		return "HEADER"
	case HashByCookie:
		return "COOKIE"
	case HashBySource:
		return "SOURCE"
	case HashByQuery:
		return "QUERY"
	}
	return "invalid"
}

// HashPolicy says which calls go to one endpoint. Opaque connections have a source and nothing else in common.
type HashPolicy struct {
	By HashBy
	// Name is that of the header, in lower case, of the cookie, or of the query parameter.
	Name string
	// TableSize is the least size of a ring (0 = 1024), or the size of a Maglev table (0 = 65537).
	TableSize uint32
	// BalanceFactor is how much more than its even part of what is in flight an endpoint gets at the most, in percent; 0 = no
	// bound. It is Envoy's hash_balance_factor.
	BalanceFactor uint32

	// Issue has clients without the cookie given one, which they keep for TTL (0 = until the browser is closed) and send
	// to Path, with more Attributes if any.
	Issue      bool
	TTL        time.Duration
	Path       string
	Attributes []HeaderValue
}

// WarmsUp reports whether the algorithm obeys a WarmUp.
func (k LBKind) WarmsUp() bool { return k == LBUnset || k == LeastRequest || k == RoundRobin }

// WarmUp says how calls come to an endpoint that has just become ready: for Duration it has max(MinimumPercent/100,
// (time/Duration)^(1/Aggression)) of its share.
type WarmUp struct {
	Duration                   time.Duration
	MinimumPercent, Aggression float64
}

// BackendUtilization says how the load that endpoints report, as Open Request Cost Aggregation has it, makes their weights.
type BackendUtilization struct {
	// Stabilization is how long an endpoint has to report before that counts, Expiration how long it counts after the last
	// report, Update the time between two computations of the weights.
	Stabilization, Expiration, Update time.Duration
	// ErrorPenalty is how much an error for each request adds to the utilization.
	ErrorPenalty float64
	// Metrics are the names of those of which the largest is the utilization; without them it is the app's own figure.
	Metrics []string
}

// OutlierDetection says which endpoints callers eject, and for how long.
type OutlierDetection struct {
	// How many failures in a row eject an endpoint; 0 = none do. Gateway errors are 502, 503 and 504, local ones those that
	// the caller's side finds out: they count as errors unless SplitLocal is set, and alone as local ones where it is.
	Consecutive5xx, ConsecutiveGateway, ConsecutiveLocal uint32
	SplitLocal                                           bool
	// FailurePercent ejects an endpoint of whose calls in an Interval that many percent or more failed, where enough endpoints had
	// enough calls to tell; 0 = it does not count. Where local failures are split, each kind is counted by its own.
	FailurePercent uint32
	// Codes are the statuses that count as errors, instead of 500 and above.
	Codes []int
	// An endpoint is ejected for BaseEjectionTime times the number of its ejections, and returns with the next Interval.
	Interval, BaseEjectionTime time.Duration
	// MaxEjectionPercent bounds how many may be ejected; where fewer than MinHealthPercent are left, no ejection counts.
	MaxEjectionPercent, MinHealthPercent uint32
	// Accrual has all of this done as Linkerd does it, where it is set: Consecutive5xx failures of any origin eject, and a
	// call that succeeds ends the ejection. No other field counts then.
	Accrual *FailureAccrual
}

// FailureAccrual says how long an endpoint is left alone that failed: MinPenalty at first, twice as long after each call in
// vain, up to MaxPenalty, and longer by a random share of up to Jitter, within MaxPenalty.
type FailureAccrual struct {
	MinPenalty, MaxPenalty time.Duration
	Jitter                 float64
}

// TLSMode is how a client secures the call.
type TLSMode uint8

// The modes. The zero value means "not said": mesh mTLS where the endpoint is meshed.
const (
	TLSUnset TLSMode = iota
	TLSDisable
	TLSSimple
	TLSMutual
	TLSIstioMutual
)

// String gives Istio's word.
func (m TLSMode) String() string {
	switch m {
	case TLSUnset:
		return "UNSET"
	case TLSDisable:
		return "DISABLE"
	case TLSSimple:
		return "SIMPLE"
	case TLSMutual:
		return "MUTUAL"
	case TLSIstioMutual:
		return "ISTIO_MUTUAL"
	}
	return "invalid"
}

// TrafficPolicy is how to call. Zero fields mean "not said" and inherit.
type TrafficPolicy struct {
	LB      LBKind
	Hash    HashPolicy // of RingHash and Maglev
	WarmUp  *WarmUp    // of LeastRequest and RoundRobin
	Load    *BackendUtilization
	Outlier *OutlierDetection
	// Locality stands in the same block as LB and Hash.
	Locality *LocalityLB
	TLS      TLSSettings
	// RetryBudget is nil for the default.
	RetryBudget *RetryBudget
	// Tunnel is nil for none; it is for connections, not for requests.
	Tunnel *Tunnel
	// ProxyProtocol is the version of the header that connections begin with, 0 for none.
	ProxyProtocol uint32

	ConnectionPool
	// PoolSaid is set where the block is there, also where it says no more than the defaults.
	PoolSaid bool
}

// Tunnel has connections go through a forward proxy: each is asked for by a request to it.
type Tunnel struct {
	// Post has the request be a POST, whose bodies are what the connection carries; otherwise it is CONNECT.
	Post bool
	// Target is where the proxy is to lead to, "host:port".
	Target string
}

// RetryBudget bounds the retries that are under way at a time (DestinationRule retryBudget, Envoy's semantics).
type RetryBudget struct {
	// Percent is a share of the requests that are under way, MinConcurrency what is allowed at least.
	Percent        float64
	MinConcurrency uint32
	// Interval has the requests that began in it count as well; 0 = none.
	Interval time.Duration
}

// ConnectionPool is a DestinationRule's connectionPool block. 0 is the default of a time, and no limit of anything else.
type ConnectionPool struct {
	ConnectTimeout           time.Duration // 10 s
	TCPIdleTimeout           time.Duration // of opaque connections
	HTTPIdleTimeout          time.Duration // of connections that wait for the next request
	MaxConnectionDuration    time.Duration
	KeepAlive                TCPKeepAlive
	MaxConnections           uint32
	MaxPendingRequests       uint32
	MaxRequests              uint32
	MaxRequestsPerConnection uint32
	MaxRetries               uint32
	MaxConcurrentStreams     uint32 // on one HTTP/2 connection
	Ping                     HTTP2KeepAlive
	// Upgrade has requests of HTTP/1.1 sent on as HTTP/2.
	Upgrade bool
}

// TCPKeepAlive says how the kernel finds out that a silent peer is gone. What is 0 has this mesh's default.
type TCPKeepAlive struct {
	Probes         uint32
	Time, Interval time.Duration
}

// HTTP2KeepAlive says how often a connection is pinged, and how long the answer may take; the zero value is for never.
type HTTP2KeepAlive struct{ Interval, Timeout time.Duration }

// TLSSettings is a DestinationRule's tls block.
type TLSSettings struct {
	Mode                    TLSMode
	SNI                     string
	SubjectAltNames         []string
	ClientCert, Key, CACert string
	CRL                     string // lists of revoked certificates
	// CredentialName is the Secret that the files' contents are in instead, CACredentialName one for CACert and CRL alone.
	CredentialName, CACredentialName string
	InsecureSkipVerify               bool
}

// MTLSMode says which connections a workload takes.
type MTLSMode uint8

// The modes. The zero value means "not said": whatever the next wider policy says.
const (
	MTLSUnset MTLSMode = iota
	// MTLSPermissive takes connections of the mesh and plain ones.
	MTLSPermissive
	// MTLSStrict takes connections of the mesh only.
	MTLSStrict
	// MTLSDisable makes callers come plainly.
	MTLSDisable
)

// String gives Istio's word.
func (m MTLSMode) String() string {
	switch m {
	case MTLSUnset:
		return "UNSET"
	case MTLSPermissive:
		return "PERMISSIVE"
	case MTLSStrict:
		return "STRICT"
	case MTLSDisable:
		return "DISABLE"
	}
	return "invalid"
}

// PeerAuthentication says which connections workloads take.
type PeerAuthentication struct {
	Ref       Ref
	CreatedAt time.Time
	// Selector picks workloads of the object's namespace by label. Without one all of them are meant, or the whole mesh
	// where the namespace is the root one.
	Selector map[string]string
	Mode     MTLSMode
	// PerPort has precedence over Mode; its keys are ports of the workload.
	PerPort map[uint16]MTLSMode
}

// Reference names the object that the policy was read from.
func (p *PeerAuthentication) Reference() Ref { return p.Ref }
