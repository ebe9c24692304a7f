package plan

import (
	"math"
	"time"
)

// Limits bound what the clients of a sidecar can make it hold, whoever they are. 0 is the default, NoLimit none.
type Limits struct {
	// Idle is how long an HTTP connection may carry no request (an hour).
	Idle time.Duration
	// Detection is how long a connection may take until it is plain what it speaks (60 s).
	Detection time.Duration
	// StreamIdle is how long a request may stand still: no byte of it or its response moves, in either direction (5 min).
	StreamIdle time.Duration
	// HeadBytes bounds the head of a request or response (60 KiB).
	HeadBytes uint32
	// Connections bounds the connections that clients have open (as many as fit into the memory limit and the descriptors
	// of the process).
	Connections uint32
	// PeerRequests bounds the requests of one peer that run (as many as fit into the memory limit, 1000 without one).
	PeerRequests uint32
}

// The defaults, Envoy's.
const (
	DefaultIdle         = time.Hour
	DefaultDetection    = 60 * time.Second
	DefaultStreamIdle   = 5 * time.Minute
	DefaultHeadBytes    = 60 << 10
	DefaultPeerRequests = 1000
)

// NoLimit is a time that is not bounded.
const NoLimit time.Duration = math.MaxInt64
