package observe

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// Query is what a user taps.
type Query struct {
	// Resource are the pods whose sidecars are asked.
	Resource Target `json:"resource"`
	// To, where not nil, leaves the outbound requests to what it names.
	To     *Target `json:"to,omitempty"`
	Filter Filter  `json:"filter"`
	// MaxRPS bounds the requests per second, of each sidecar and of all sidecars of a replica together.
	MaxRPS uint32 `json:"maxRPS"`
	// Headers asks for the fields of the heads, Secrets for the values that are redacted else.
	Headers bool `json:"headers,omitempty"`
	Secrets bool `json:"secrets,omitempty"`
	// Begins asks for events of requests that go on, after a second, beside those of their ends.
	Begins bool `json:"begins,omitempty"`
}

// Target is one resource, or all of a kind.
type Target struct {
	// Kind is "pod", "deployment", "statefulset", "daemonset", "job", "replicaset", "namespace" or "service"; empty for pods.
	Kind string `json:"kind"`
	// Namespace is empty for all of them; of a namespace, it is the one.
	Namespace string `json:"namespace"`
	// Name is empty for all of the kind.
	Name string `json:"name,omitempty"`
	// Selector leaves the pods that have these labels.
	Selector map[string]string `json:"selector,omitempty"`
}

// String gives "deployment/users-v1 in namespace myapp".
func (t Target) String() string {
	what := cmp.Or(t.Kind, "pod")
	if t.Kind == "namespace" {
		return "namespace/" + t.Namespace
	}
	if t.Name != "" {
		what += "/" + t.Name
	}
	if t.Namespace == "" {
		return what + " of all namespaces"
	}
	return what + " in namespace " + t.Namespace
}

// kinds are the words for the kinds, and what they are called here.
var kinds = map[string]string{
	"pod": "pod", "pods": "pod", "po": "pod",
	"deployment": "deployment", "deployments": "deployment", "deploy": "deployment",
	"statefulset": "statefulset", "statefulsets": "statefulset", "sts": "statefulset",
	"daemonset": "daemonset", "daemonsets": "daemonset", "ds": "daemonset",
	"replicaset": "replicaset", "replicasets": "replicaset", "rs": "replicaset",
	"job": "job", "jobs": "job",
	"namespace": "namespace", "namespaces": "namespace", "ns": "namespace",
	"service": "service", "services": "service", "svc": "service",
}

// ParseTarget reads "deploy/users-v1", "deploy" (all of them), or both in two words. namespace is where it is, empty for
// all namespaces.
func ParseTarget(words []string, namespace string) (Target, error) {
	text := strings.Join(words, "/")
	word, name, _ := strings.Cut(text, "/")
	kind, known := kinds[strings.ToLower(word)]
	switch {
	case len(words) > 2 || strings.Contains(name, "/"):
		return Target{}, fmt.Errorf("%q: one resource is written KIND/NAME, or KIND for all of them", text)
	case !known && name == "":
		return Target{}, fmt.Errorf("%q: a resource is written KIND/NAME, such as deploy/%s or pod/%s", text, text, text)
	case !known:
		return Target{}, fmt.Errorf("resource %q: kind %q is none of pod, deploy, sts, ds, rs, job, ns, svc", text, word)
	}
	t := Target{Kind: kind, Namespace: namespace, Name: name}
	if kind == "namespace" && name != "" {
		t.Namespace, t.Name = name, ""
	}
	return t, nil
}

const (
	// DefaultMaxRPS is how many requests per second a tap shows at most where nobody says.
	DefaultMaxRPS = 100
	// highestMaxRPS bounds what may be asked for.
	highestMaxRPS = 10_000
)

// Check names what is wrong with a query, and readies it.
func (q *Query) Check() error {
	q.MaxRPS = cmp.Or(q.MaxRPS, DefaultMaxRPS)
	switch {
	case q.MaxRPS > highestMaxRPS:
		return fmt.Errorf("--max-rps %d: %d at most", q.MaxRPS, highestMaxRPS)
	case q.Resource.Kind == "service":
		return errors.New("a Service has no sidecar to tap: tap its workload, such as deploy/NAME, or its callers with --to svc/NAME")
	case q.Secrets && !q.Headers:
		return errors.New("--show-secrets needs -o json: headers are shown nowhere else")
	}
	return q.Filter.Check()
}

// Pod is a pod as the control plane knows it.
type Pod struct {
	Key    model.Key
	Meshed bool
	IPs    []netip.Addr
}

// Cluster is what the control plane knows of pods. Its methods are called from many goroutines.
type Cluster interface {
	// Pods are those of a target, in order.
	Pods(t Target) []Pod
	// Hosts are the names of the Services of a target of kind "service".
	Hosts(t Target) []string
	// Labels say what is at an address, as in [Peer]; nil where nothing is known.
	Labels(addr netip.Addr) map[string]string
}
