package traffic

import (
	"cmp"
	"slices"
	"time"
)

// Answer is what a replica of the control plane knows of the traffic in a window of time that ends now.
type Answer struct {
	// At is the replica's time, Since from when on it has data.
	At    time.Time `json:"at"`
	Since time.Time `json:"since"`
	// Cluster is that of the replica, where the mesh has several; empty else.
	Cluster string `json:"cluster,omitempty"`
	// WindowSeconds is what was asked for.
	WindowSeconds float64 `json:"windowSeconds"`
	Flows         []Flow  `json:"flows"`
	// Pods are those of the mesh's own cluster, whether they report or not.
	Pods []Pod `json:"pods"`
	// Gone are pods at the ends of the flows that are no more, by what was known of them: without labels and addresses, which
	// others may have by now.
	Gone []Pod `json:"gonePods,omitempty"`
	// Remote are pods of other clusters at the ends of the flows.
	Remote []Pod `json:"remotePods,omitempty"`
	// Services are those of the mesh's own cluster, called or not; nil where the question does not ask for them, or is not understood.
	Services []Service `json:"services,omitzero"`
	// Cut is how many edges are counted together with others, by the sidecars or by the replica.
	Cut uint64 `json:"cut,omitempty"`
}

// Flow is what one sidecar reported of one edge in the window.
type Flow struct {
	// Pod is the reporter, "name.namespace".
	Namespace string    `json:"namespace"`
	Pod       string    `json:"pod"`
	Direction string    `json:"direction"`
	Edge      Edge      `json:"edge"`
	Total     Total     `json:"total"`
	Latency   []Latency `json:"latency,omitempty"`
	// Seconds is for how long the sidecar counted: rates are counts divided by it.
	Seconds float64 `json:"seconds"`
}

// Total is a Sample as JSON has it.
type Total struct {
	// Responses are by the class of the status, "2xx"; "none" where there was no answer.
	Responses map[string]uint64 `json:"responses,omitempty"`
	Failures  uint64            `json:"failures,omitempty"`
	Retries   uint64            `json:"retries,omitempty"`
	Timeouts  uint64            `json:"timeouts,omitempty"`
	Opened    uint64            `json:"opened,omitempty"`
	Open      uint64            `json:"open,omitempty"`
	Received  uint64            `json:"receivedBytes,omitempty"`
	Sent      uint64            `json:"sentBytes,omitempty"`
}

// Latency is one bucket of a Histogram: how many requests took up to so many microseconds, and longer than the bucket
// before. The last one has no bound.
type Latency struct {
	UpTo  uint64 `json:"upToMicros,omitempty"`
	Count uint64 `json:"count"`
}

// Service is a Service of Kubernetes.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// Pod is one pod, as the control plane knows it.
type Pod struct {
	// Cluster is there for pods of other clusters only.
	Cluster   string            `json:"cluster,omitempty"`
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Kind      string            `json:"kind"` // of its workload: "Deployment", "Pod" where it has none
	Workload  string            `json:"workload"`
	Identity  string            `json:"identity,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	IPs       []string          `json:"ips,omitempty"`
	Meshed    bool              `json:"meshed,omitempty"`
	// Terminating pods were told to end.
	Terminating bool `json:"terminating,omitempty"`
}

var classes = [Classes]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"} //nolint:gochecknoglobals // a table that never changes

// TotalOf is the sample for JSON, and its latencies.
func TotalOf(s *Sample) (Total, []Latency) {
	t := Total{
		Failures: s.Failures, Retries: s.Retries, Timeouts: s.Timeouts, Opened: s.Opened, Open: s.Open, Received: s.Received, Sent: s.Sent,
	}
	for i, n := range s.Responses {
		if n > 0 {
			if t.Responses == nil {
				t.Responses = map[string]uint64{}
			}
			t.Responses[classes[i]] = n
		}
	}
	var latency []Latency
	for i, n := range s.Latency {
		switch {
		case n == 0:
		case i == len(bounds):
			latency = append(latency, Latency{Count: n})
		default:
			latency = append(latency, Latency{bounds[i], n})
		}
	}
	return t, latency
}

// Sample is the flow's sample again. Classes and bounds that this program does not know are left out.
func (f *Flow) Sample() Sample {
	s := Sample{
		Failures: f.Total.Failures, Retries: f.Total.Retries, Timeouts: f.Total.Timeouts, Opened: f.Total.Opened, Open: f.Total.Open,
		Received: f.Total.Received, Sent: f.Total.Sent,
	}
	for class, n := range f.Total.Responses {
		if i := slices.Index(classes[:], class); i >= 0 {
			s.Responses[i] = n
		}
	}
	for _, l := range f.Latency {
		if l.UpTo == 0 {
			s.Latency[Buckets-1] += l.Count
		} else if i, known := slices.BinarySearch(bounds[:], l.UpTo); known {
			s.Latency[i] += l.Count
		}
	}
	return s
}

// servicesOf are the Services that any of the answers tells of; nil where none tells of them.
func servicesOf(answers []Answer) []Service {
	var all []Service
	for i := range answers {
		if answers[i].Services != nil && all == nil {
			all = []Service{} // there are none, which is not the same as not to know
		}
		all = append(all, answers[i].Services...)
	}
	slices.SortFunc(all, func(a, b Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(all)
}

// Merge puts the answers of all replicas together. Since is then from when on every one has data.
func Merge(answers []Answer) Answer {
	var out Answer
	counted := map[[2]string]float64{} // seconds, of every reporter
	pods, gone := map[[3]string]bool{}, map[[2]string]bool{}
	for i := range answers {
		a := &answers[i]
		if a.Since.After(out.Since) {
			out.Since = a.Since
		}
		if a.At.After(out.At) {
			out.At = a.At
		}
		out.WindowSeconds = max(out.WindowSeconds, a.WindowSeconds)
		out.Cut += a.Cut
		out.Cluster = cmp.Or(out.Cluster, a.Cluster)
		out.Flows = append(out.Flows, a.Flows...)
		here := map[[2]string]float64{}
		for j := range a.Flows {
			here[[2]string{a.Flows[j].Namespace, a.Flows[j].Pod}] = a.Flows[j].Seconds
		}
		for reporter, seconds := range here {
			counted[reporter] += seconds
		}
		for _, p := range a.Pods {
			if key := [3]string{"", p.Namespace, p.Name}; !pods[key] {
				pods[key] = true
				out.Pods = append(out.Pods, p)
			}
		}
		for _, p := range a.Gone { // one replica may not have heard yet what another one has
			if key := [2]string{p.Namespace, p.Name}; !gone[key] {
				gone[key] = true
				out.Gone = append(out.Gone, p)
			}
		}
		for _, p := range a.Remote {
			if key := [3]string{p.Cluster, p.Namespace, p.Name}; !pods[key] {
				pods[key] = true
				out.Remote = append(out.Remote, p)
			}
		}
	}
	for i := range out.Flows { // a sidecar that went to another replica has counted for the sum of both times
		out.Flows[i].Seconds = counted[[2]string{out.Flows[i].Namespace, out.Flows[i].Pod}]
	}
	out.Services = servicesOf(answers)
	slices.SortFunc(out.Pods, func(a, b Pod) int { return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name)) })
	return out
}
