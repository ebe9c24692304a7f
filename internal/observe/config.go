package observe

import "time"

// The views of the configuration. Their query is "namespace" alone, except that of an object's.
const (
	// ViewConfig is a Config: what is in force.
	ViewConfig = "config"
	// ViewProblems is a list of admin.Problem: what is wrong at present.
	ViewProblems = "problems"
	// ViewObjects is a list of ObjectName: the objects that the mesh reads and is about.
	ViewObjects = "objects"
)

// Config is what is in force, as a replica of the control plane has compiled it for callers whose namespace has no rules of its
// own. Times are milliseconds since 1970.
type Config struct {
	Services  []Service  `json:"services"`
	Workloads []Workload `json:"workloads"`
}

// Service is a host that can be called.
type Service struct {
	// ID is "namespace/name".
	ID        string        `json:"id"`
	Namespace string        `json:"ns"`
	Name      string        `json:"name"`
	Hosts     []string      `json:"hosts"`
	Ports     []ServicePort `json:"ports"`
	Routes    []Route       `json:"routes"`
	Endpoints []Endpoint    `json:"endpoints"`
	// External means that its endpoints are not of the cluster.
	External bool `json:"external,omitempty"`
}

// ServicePort is one of its ports.
type ServicePort struct {
	Port     uint16 `json:"port"`
	Protocol string `json:"protocol"`
}

// Route is one rule: those of a port are tried in order, the first whose match holds decides.
type Route struct {
	Port uint16 `json:"port"`
	Name string `json:"name,omitempty"`
	// Kind and Object say who wrote it, Field where; Kind is "default" where nobody did.
	Kind   string `json:"kind"`
	Object string `json:"object,omitempty"`
	Field  string `json:"field,omitempty"`
	Match  string `json:"match"`
	// Action is what becomes of the call beside going to a backend: "redirect 301"; empty for nothing.
	Action   string    `json:"action,omitempty"`
	Backends []Backend `json:"backends"`
}

// Backend is where a share of a rule's calls goes.
type Backend struct {
	// Service is "namespace/name", or a host that is no Service.
	Service string  `json:"service"`
	Subset  string  `json:"subset,omitempty"`
	Port    uint16  `json:"port"`
	Weight  uint32  `json:"weight"`
	Share   float64 `json:"share"`
	// Missing says why there is nothing behind it.
	Missing string `json:"missing,omitempty"`
}

// Endpoint is where calls to a Service may go.
type Endpoint struct {
	Address   string `json:"address"`
	Pod       string `json:"pod,omitempty"`
	Namespace string `json:"ns,omitempty"`
	// Workload is "namespace/kind/name", of another cluster "namespace/kind/name@cluster".
	Workload string `json:"workload,omitempty"`
	// Cluster is that of a pod of another cluster, empty for the control plane's own.
	Cluster  string `json:"cluster,omitempty"`
	Node     string `json:"node,omitempty"`
	Locality string `json:"locality,omitempty"`
	Meshed   bool   `json:"meshed"`
	// Health is "healthy", "unhealthy", "draining" or "failing"; Why is what a health check found.
	Health  string   `json:"health"`
	Why     string   `json:"why,omitempty"`
	Subsets []string `json:"subsets,omitempty"`
	// Since is when the pod was made.
	Since int64 `json:"since,omitempty"`
	// Ejected is set where callers leave it alone for what they saw of it. The control plane does not know.
	Ejected *Ejection `json:"ejected,omitempty"`
}

// Ejection is why callers leave an endpoint alone.
type Ejection struct {
	// By are the pods of the callers.
	By  []string `json:"by"`
	Why string   `json:"why"`
}

// Workload is one pod.
type Workload struct {
	// ID is "namespace/pod/name"; Workload the ID of what owns the pod, "namespace/kind/name".
	ID        string `json:"id"`
	Namespace string `json:"ns"`
	Pod       string `json:"pod"`
	Workload  string `json:"workload"`
	// Proxy is "fairlead", "standard" for an Envoy or a gRPC library, or "none".
	Proxy   string `json:"proxy"`
	Version string `json:"version,omitempty"`
	Sync    Sync   `json:"sync"`
	// Certificate is the last one that this replica has signed for the pod; nil where it has signed none.
	Certificate *Certificate `json:"certificate,omitempty"`
}

// SyncNone is the state of a pod whose sidecar, if it has one, is not connected to the replica.
const SyncNone = "NONE"

// Sync is how a sidecar stands with the control plane.
type Sync struct {
	// State is that of admin.Proxy, or SyncNone.
	State   string    `json:"state"`
	At      int64     `json:"at,omitempty"`
	Refused []Refusal `json:"refused,omitempty"`

	// Since is when the connection began.
	Since int64 `json:"since,omitempty"`
}

// Refusal is what a sidecar would not put in force.
type Refusal struct {
	Resource string `json:"resource"`
	Reason   string `json:"reason"`
}

// Certificate is one, without its key.
type Certificate struct {
	ID   string `json:"id"`
	From int64  `json:"from"`
	To   int64  `json:"to"`
}

// Left is the share of its life that a certificate has left.
func (c *Certificate) Left(now time.Time) float64 {
	if c.To <= c.From {
		return 0
	}
	return float64(c.To-now.UnixMilli()) / float64(c.To-c.From)
}

// ObjectName is an object that the mesh reads.
type ObjectName struct {
	Kind      string `json:"kind"`
	Namespace string `json:"ns,omitempty"`
	Name      string `json:"name"`
	// Group, Version and Resource say where an API server has it.
	Group    string `json:"group,omitempty"`
	Version  string `json:"version"`
	Resource string `json:"resource"`
	// Errors and Warnings count what is wrong with it.
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
}
