package proxy

import (
	"cmp"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/plan"
)

// meshLimits are the mesh's, in force for connections and requests that begin. The zero value has the defaults.
type meshLimits struct {
	set atomic.Pointer[plan.Limits]
	// fitting is how many requests the memory limit has room for; 0 where there is no limit.
	fitting int
}

// put brings new limits into force.
func (l *meshLimits) put(n plan.Limits) { l.set.Store(&n) }

func (l *meshLimits) now() plan.Limits {
	if n := l.set.Load(); n != nil {
		return *n
	}
	return plan.Limits{}
}

// idle is how long an HTTP connection of a client may carry nothing (Envoy's idle_timeout), 0 for ever.
func (l *meshLimits) idle() time.Duration { return unlessNone(cmp.Or(l.now().Idle, plan.DefaultIdle)) }

// detection bounds how long a client that has begun to speak may take until it is plain what it speaks.
func (l *meshLimits) detection() time.Duration {
	return cmp.Or(l.now().Detection, plan.DefaultDetection)
}

// streamIdle is how long a request may stand still (Envoy's stream_idle_timeout), 0 for ever.
func (l *meshLimits) streamIdle() time.Duration {
	return unlessNone(cmp.Or(l.now().StreamIdle, plan.DefaultStreamIdle))
}

// head bounds the head of a message, in bytes.
func (l *meshLimits) head() int { return int(cmp.Or(l.now().HeadBytes, plan.DefaultHeadBytes)) }

// peerRequests bounds the requests of one peer that run. Where only the memory limit does, peers have their shares of it.
func (l *meshLimits) peerRequests() int {
	return cmp.Or(int(l.now().PeerRequests), l.fitting, plan.DefaultPeerRequests)
}

// unlessNone makes a time that is not bounded 0.
func unlessNone(d time.Duration) time.Duration {
	if d == plan.NoLimit {
		return 0
	}
	return d
}
