package model

import "time"

// HealthCheckPolicy says how the endpoints of services are checked while Kubernetes calls them ready. A check can take an
// endpoint away, and give back what it took; it never makes one ready.
type HealthCheckPolicy struct {
	Ref       Ref
	CreatedAt time.Time
	Targets   []PolicyTarget
	Check     HealthCheck
}

// Reference names the object that the policy was read from.
func (p *HealthCheckPolicy) Reference() Ref { return p.Ref }

// PolicyTarget is an object that a policy is attached to: a Service or a ServiceEntry of the policy's namespace. Field is
// the path of the reference in the policy.
type PolicyTarget struct {
	Ref   Ref
	Field string
}

// HealthCheck is one check. Exactly one of HTTP, TCP and GRPC is set.
type HealthCheck struct {
	// Port is that of the endpoint; 0 = the one that calls to the service's first port go to.
	Port uint16
	HTTP *HTTPCheck
	TCP  *TCPCheck
	GRPC *GRPCCheck
	// Interval is the time between two checks, Timeout that of one; both are above 0, and Timeout is at most Interval.
	Interval, Timeout time.Duration
	// UnhealthyThreshold is how many checks in a row have to fail before the endpoint counts as failing, HealthyThreshold
	// how many have to pass before it does not any more; at least 1 each.
	UnhealthyThreshold, HealthyThreshold uint32
}

// HTTPCheck asks for a page by HTTP/1.1, without TLS.
type HTTPCheck struct {
	Path string
	// Host is the authority; empty = the endpoint's address.
	Host    string
	Headers []HeaderValue
	// Statuses are those that pass; none = 200 to 399, redirects to other pages of the app followed, as with the kubelet.
	Statuses []int
}

// TCPCheck opens a connection, writes Send where there is something to, and reads until it has met Receive where that is
// not empty.
type TCPCheck struct{ Send, Receive string }

// GRPCCheck asks grpc.health.v1.Health for a service; an empty one means the whole server.
type GRPCCheck struct{ Service string }

// Kind names the form of the check: "http", "tcp" or "grpc".
func (c *HealthCheck) Kind() string {
	switch {
	case c.HTTP != nil:
		return "http"
	case c.TCP != nil:
		return "tcp"
	case c.GRPC != nil:
		return "grpc"
	}
	return "none"
}

// PodHealth is what the checks of one pod have found.
type PodHealth struct {
	Pod     ClusterKey
	Results []CheckResult
}

// Result gives what the check of a policy has found; ok is false where it has found nothing.
func (h *PodHealth) Result(policy string) (result CheckResult, ok bool) {
	if h == nil {
		return CheckResult{}, false
	}
	for _, r := range h.Results {
		if r.Policy == policy {
			return r, true
		}
	}
	return CheckResult{}, false
}

// HealthCondition begins the type of the condition of a pod that says what a check has found; the name of the policy
// follows. A pod may name one among its readinessGates, and is then not ready while the check fails.
const HealthCondition = "health.fairlead.dev/"

// CheckResult is what the check of one policy has found.
type CheckResult struct {
	// Policy is the name of the HealthCheckPolicy, which is in the namespace of what it checks.
	Policy string
	// Failing means that the endpoint is not to be called while there is another one. Why is the error of the check that
	// decided so, Since when that was.
	Failing bool
	Why     string
	Since   time.Time
}
