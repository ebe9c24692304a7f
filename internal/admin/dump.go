package admin

import "time"

// Dump is what a sidecar knows and does, as its admin port prints it.
type Dump struct {
	Pod       string         `json:"pod"`
	Namespace string         `json:"namespace"`
	Version   string         `json:"version"`
	Control   ControlDump    `json:"controlPlane"`
	Clusters  []ClusterDump  `json:"clusters"`
	Endpoints []EndpointDump `json:"endpoints"`
	Routes    []RouteDump    `json:"routes"`
	Listeners []ListenerDump `json:"listeners"`
	Secrets   []SecretDump   `json:"secrets"`
	// Telemetry says what is recorded of calls, for each side.
	Telemetry []TelemetryDump `json:"telemetry"`
}

// TelemetryDump is what is recorded of the calls of one side.
type TelemetryDump struct {
	Side string `json:"side"` // CLIENT or SERVER
	// AccessLog is off, text or json; Filter the condition for a line.
	AccessLog string `json:"accessLog"`
	Filter    string `json:"filter,omitempty"`
	// Traces says which requests are traced, and where their spans go.
	Traces string `json:"traces"`
	// Metrics says what is changed in metrics; nothing where they are as they always are.
	Metrics string `json:"metrics,omitempty"`
	// Origins are the objects that say so; none where it is the mesh's default.
	Origins []string `json:"origins"`
}

// ControlDump is the state of the control channel.
type ControlDump struct {
	Connected bool `json:"connected"`
	// Stale is set while the configuration comes from the snapshot file of an earlier run.
	Stale    bool      `json:"stale"`
	LastSync time.Time `json:"lastSync"`
}

// ClusterDump is one backend.
type ClusterDump struct {
	Name            string `json:"name"`
	FQDN            string `json:"fqdn"`
	Port            uint16 `json:"port"`
	Subset          string `json:"subset,omitempty"`
	Direction       string `json:"direction"`
	Type            string `json:"type"`
	DestinationRule string `json:"destinationRule,omitempty"`
	LoadBalancer    string `json:"loadBalancer,omitempty"`
	// HashBalance is the factor that bounds the loads of consistent hashing, in percent; nothing where none does.
	HashBalance uint32 `json:"hashBalanceFactor,omitempty"`
	Proximity   string `json:"proximity,omitempty"`
	Missing     string `json:"missing,omitempty"`
	// Limits are the limits of connectionPool that are set, and ConnectionPool what else it says, by their paths below it.
	Limits         []LimitDump       `json:"limits,omitempty"`
	ConnectionPool map[string]string `json:"connectionPool,omitempty"`
}

// LimitDump is a limit of a cluster.
type LimitDump struct {
	// Setting is its path below connectionPool, such as "tcp.maxConnections".
	Setting string `json:"setting"`
	Limit   uint32 `json:"limit"`
	InUse   int64  `json:"inUse"`
	// Overflows counts what was turned away.
	Overflows uint64 `json:"overflows"`
}

// EndpointDump is one endpoint of one cluster.
type EndpointDump struct {
	Address string `json:"address"`
	// OtherAddress is where the same host is in the other address family; empty where it is not.
	OtherAddress string `json:"otherAddress,omitempty"`
	// Network is where the address means something, empty where it means the same to all; Gateways are how callers of other
	// networks reach it, and Through is what they are asked for where this workload is such a caller.
	Network  string   `json:"network,omitempty"`
	Gateways []string `json:"gateways,omitempty"`
	Through  string   `json:"through,omitempty"`

	Status  string `json:"status"`
	Outlier string `json:"outlierCheck"`
	// OutlierReason says why the check is FAILED, and until when.
	OutlierReason string `json:"outlierReason,omitempty"`
	Cluster       string `json:"cluster"`
	Weight        uint32 `json:"weight"`
	Active        int64  `json:"activeRequests"`
	// WarmUp is the percentage of its weight that a new endpoint has; nothing where it has all of it.
	WarmUp *float64 `json:"warmUpPercent,omitempty"`
	// Reported is the weight that BACKEND_UTILIZATION takes from the endpoint's reports; nothing where they do not count.
	Reported float64 `json:"reportedWeight,omitempty"`
	// Latency is what PEAK_EWMA goes by, such as "12.5ms"; empty where nothing asks for it.
	Latency  string `json:"latency,omitempty"`
	MTLS     bool   `json:"mtls"`
	Identity string `json:"identity,omitempty"`
	Locality string `json:"locality,omitempty"`
	// Level counts from 0, the best, where calls prefer endpoints to others by where they are, or are shared out by it; nothing
	// where distance does not matter, and for endpoints in no level. LevelPercent of all calls go to the level first.
	Level        *int     `json:"level,omitempty"`
	LevelPercent *float64 `json:"levelPercent,omitempty"`
	// Panic is set where the level has so few endpoints left that its ejected ones are called too.
	Panic bool `json:"panic,omitempty"`
	// Unused says why no call goes to the endpoint, where that is for its level.
	Unused string `json:"unused,omitempty"`
	// ClusterID is the name of the Kubernetes cluster, or lab, that the endpoint is in; empty where that is not known.
	ClusterID string `json:"clusterId,omitempty"`
	Node      string `json:"node,omitempty"`
	Workload  string `json:"workload,omitempty"`

	// HealthCheck is FAILED where the checks of a HealthCheckPolicy have taken the endpoint away, and empty otherwise.
	// HealthReason is what the check found, HealthSince when; for the own workload they are what the sidecar itself found.
	HealthCheck  string     `json:"healthCheck,omitempty"`
	HealthPolicy string     `json:"healthPolicy,omitempty"`
	HealthReason string     `json:"healthReason,omitempty"`
	HealthSince  *time.Time `json:"healthSince,omitempty"`
}

// RouteDump is one route of one host.
type RouteDump struct {
	Name    string   `json:"name"` // Istio's route configuration name: the port
	VHost   string   `json:"vhost"`
	Domains []string `json:"domains"`
	Match   string   `json:"match"`
	Origin  string   `json:"virtualService,omitempty"`
	Action  string   `json:"action"`
	// Retries is the policy of a route that calls something: how often, on what beside what is always repeated.
	Retries string `json:"retries,omitempty"`
}

// ListenerDump is one listening socket.
type ListenerDump struct {
	Address     string `json:"address"` // of a socket all its addresses, comma-separated
	Port        uint16 `json:"port"`
	Match       string `json:"match"`
	Destination string `json:"destination"`
}

// SecretDump is one certificate. There are no keys in it.
type SecretDump struct {
	Name        string    `json:"name"`
	Type        string    `json:"type"`
	Status      string    `json:"status"`
	Valid       bool      `json:"valid"`
	Serial      string    `json:"serial"`
	NotBefore   time.Time `json:"notBefore"`
	NotAfter    time.Time `json:"notAfter"`
	TrustDomain string    `json:"trustDomain"`
	Identity    string    `json:"identity,omitempty"`
	// Subject, Source and Problem are set for what comes of a Kubernetes Secret: whose certificate it is, which Secret, and why
	// it has nothing to use.
	Subject string `json:"subject,omitempty"`
	Source  string `json:"source,omitempty"`
	Problem string `json:"problem,omitempty"`
}
