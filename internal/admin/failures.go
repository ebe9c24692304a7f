package admin

import (
	"context"
	"time"
)

// pathFailures is where a sidecar says which calls failed.
const pathFailures = "/failures"

// Failures are the calls of a sidecar that failed lately.
type Failures struct {
	Pod       string `json:"pod"`
	Namespace string `json:"namespace"`
	// Total is how many failed since the sidecar began. Failures are the last of them, the latest first.
	Total    uint64    `json:"total"`
	Failures []Failure `json:"failures"`
}

// Failure is a call that failed, an HTTP request or an opaque connection. What is not known is empty.
type Failure struct {
	Start time.Time `json:"start"`
	// Direction is "outbound" for calls of the pod, "inbound" for calls to it.
	Direction  string  `json:"direction"`
	DurationMS float64 `json:"durationMs"`
	// Client is where the call came from, Dialled the address that it was to, Endpoint the one that it was sent to.
	Client   string `json:"client,omitempty"`
	Dialled  string `json:"dialled,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	// Source and Destination are the workloads of both sides, "name.namespace".
	Source      string `json:"source,omitempty"`
	Destination string `json:"destination,omitempty"`
	Cluster     string `json:"cluster,omitempty"`
	Route       string `json:"route,omitempty"`
	// Protocol is empty for an opaque connection.
	Protocol  string `json:"protocol,omitempty"`
	Method    string `json:"method,omitempty"`
	Authority string `json:"authority,omitempty"`
	Path      string `json:"path,omitempty"`
	RequestID string `json:"requestId,omitempty"`
	// Status is what the client was answered, 0 where it saw the call break off.
	Status     int    `json:"status,omitempty"`
	GRPCStatus string `json:"grpcStatus,omitempty"`
	// Flags and Details are Envoy's words for what happened.
	Flags   string `json:"flags,omitempty"`
	Details string `json:"details,omitempty"`
	// Cause is a sentence, as the sidecar gave it to the client. It is empty where the app answered.
	Cause string `json:"cause,omitempty"`
}

// Failures are the calls of a sidecar that failed lately.
func (c Client) Failures(ctx context.Context) (*Failures, error) {
	f, err := read[Failures](ctx, c, pathFailures)
	return &f, err
}
