package telemetry

import (
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// Dump is what a sidecar knows and does, as the admin port prints it and the CLI reads it.
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
	Proximity       string `json:"proximity,omitempty"`
	Missing         string `json:"missing,omitempty"`
}

// EndpointDump is one endpoint of one cluster.
type EndpointDump struct {
	Address  string `json:"address"`
	Status   string `json:"status"`
	Outlier  string `json:"outlierCheck"`
	Cluster  string `json:"cluster"`
	Weight   uint32 `json:"weight"`
	Active   int64  `json:"activeRequests"`
	MTLS     bool   `json:"mtls"`
	Identity string `json:"identity,omitempty"`
	Locality string `json:"locality,omitempty"`
	Node     string `json:"node,omitempty"`
	Workload string `json:"workload,omitempty"`
}

// RouteDump is one route of one host.
type RouteDump struct {
	Name    string   `json:"name"` // Istio's route configuration name: the port
	VHost   string   `json:"vhost"`
	Domains []string `json:"domains"`
	Match   string   `json:"match"`
	Origin  string   `json:"virtualService,omitempty"`
	Action  string   `json:"action"`
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
}

// Pages serves what a sidecar says of itself.
type Pages struct {
	Registry *Registry
	// Dump and Ready are asked per request. Ready gives "" or what is missing.
	Dump  func() Dump
	Ready func() string
	// Quit ends the sidecar gracefully (POST /quitquitquit, as Istio's agent).
	Quit func()
	// Probes answers what begins with ProbesPath.
	Probes http.Handler
	// App writes the app's own page of metrics, for a request, behind that of the sidecar; nil where the app has none.
	App func(*http.Request, io.Writer) error
}

// ProbesPath is where the kubelet asks for the probes of the app.
const ProbesPath = "/app-health/"

// Admin is the handler of the loopback port 15000.
func (p Pages) Admin() http.Handler {
	mux := p.mux(p.metrics)
	mux.HandleFunc("GET /config_dump", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.Encode(p.Dump()) //nolint:errcheck,errchkjson // the client went away
	})
	mux.HandleFunc("POST /quitquitquit", func(w http.ResponseWriter, _ *http.Request) {
		p.Quit()
		w.Write([]byte("OK\n"))
	})
	return mux
}

// Agent is the handler of 15020: the public pages, and the app's probes and metrics.
func (p Pages) Agent() http.Handler {
	stats := p.metrics
	if p.App != nil {
		stats = p.merged
	}
	mux := p.mux(stats)
	mux.Handle(ProbesPath, p.Probes)
	return mux
}

// mergedTime bounds the sending of the app's page, which is read as fast as it is sent: its place among few must not be
// held by who asks and does not read.
const mergedTime = 15 * time.Second

// merged is the sidecar's page with the app's behind it.
func (p Pages) merged(w http.ResponseWriter, r *http.Request) {
	p.metrics(w, r)
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(mergedTime)) // a writer without deadlines is a test's
	if err := p.App(r, w); err == nil {
		_ = c.SetWriteDeadline(time.Time{})
	}
}

// Anybody may ask for metrics, also of a workload that takes mutual TLS only. So few are answered at once, and one that
// does not read is cut off soon.
const (
	maxReaders = 64
	readerTime = 15 * time.Second
)

func (p Pages) metrics(w http.ResponseWriter, _ *http.Request) {
	if p.Registry.readers.Add(1) > maxReaders {
		p.Registry.readers.Add(-1)
		http.Error(w, "too many readers of metrics at once", http.StatusServiceUnavailable)
		return
	}
	defer p.Registry.readers.Add(-1)
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(readerTime)) // a writer without deadlines is a test's
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	if p.Registry.WriteMetrics(w) == nil && c.Flush() == nil {
		_ = c.SetWriteDeadline(time.Time{}) // the connection may be used again
	}
}

// Public is the handler of 15021 and 15090: metrics and readiness, nothing that tells about configuration.
func (p Pages) Public() http.Handler { return p.mux(p.metrics) }

// mux has the pages of all ports. stats answers Istio's path, which means all that the pod has to tell.
func (p Pages) mux(stats http.HandlerFunc) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats/prometheus", stats)
	mux.HandleFunc("GET /metrics", p.metrics)
	ready := func(w http.ResponseWriter, _ *http.Request) {
		if missing := p.Ready(); missing != "" {
			http.Error(w, missing, http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("LIVE\n"))
	}
	mux.HandleFunc("GET /healthz/ready", ready)
	mux.HandleFunc("GET /ready", ready)
	return mux
}
