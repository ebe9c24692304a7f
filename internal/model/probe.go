package model

import (
	"net/netip"
	"time"
)

// ProbeTarget is an endpoint without a sidecar as a policy has it checked: by sidecars that call it.
type ProbeTarget struct {
	// Policy is the HealthCheckPolicy.
	Policy Key
	// Addr is where the check goes.
	Addr netip.AddrPort
}

// String gives "policy address", as keys and pages have it.
func (t ProbeTarget) String() string { return t.Policy.String() + " " + t.Addr.String() }

// Compare orders targets.
func (t ProbeTarget) Compare(u ProbeTarget) int {
	if c := t.Policy.Compare(u.Policy); c != 0 {
		return c
	}
	return t.Addr.Compare(u.Addr)
}

// Probe is a check of such an endpoint.
type Probe struct {
	Target ProbeTarget
	// How says what is done; its port is that of the target.
	How HealthCheck
}

// ProbedEndpoint is an endpoint without a sidecar that a policy has checked.
type ProbedEndpoint struct {
	Probe

	// Destinations are those that it belongs to, as plan.Name.Destination names them: who holds one of them calls it.
	Destinations []string
}

// PodProbes are the checks of other endpoints that the sidecar of a pod is to make.
type PodProbes struct {
	Pod    ClusterKey
	Probes []Probe
}

// ProbeResult is what one sidecar has found of an endpoint.
type ProbeResult struct {
	Target  ProbeTarget
	Failing bool
	Why     string
	Since   time.Time
	// Age is the time since the newest check, as of the report.
	Age time.Duration
}

// EndpointHealth is what the sidecars that check an endpoint have found together.
type EndpointHealth struct {
	Target  ProbeTarget
	Failing bool
	Why     string
	Since   time.Time
}
