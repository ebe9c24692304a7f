package proxy

import (
	"sync/atomic"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// shares divide the requests that the sidecar carries at a time among its peers: those who call the workload, and the
// workload's own app. Memory is what they cost, so what one peer has under way says what it holds.
type shares struct {
	// most is how many requests may be under way.
	most int64
	// tight says that memory is used up.
	tight *atomic.Bool

	running atomic.Int64
	peers   atomic.Int64 // those that have requests under way
}

const (
	// requestMemory is what a request holds about while it waits for its app: two goroutines, a buffer for its body, the
	// streams and connections of both sides. Measured with 1000 that send a body each, or get one they do not read: 45 KiB
	// with the garbage.
	requestMemory = 32 << 10
	// requestShare of the memory limit is for requests, in percent; the rest is for what bodies, connections,
	// configuration and garbage take.
	requestShare = 50
	// assumedMemory stands for a limit where there is none: Istio's default for its sidecars.
	assumedMemory = 1 << 30
	// fewestRequests may be under way however small the limit is.
	fewestRequests = 100
)

// mostRequests gives how many requests fit into a memory limit, in bytes; 0 is none.
func mostRequests(memory int64) int64 {
	if memory == 0 {
		memory = assumedMemory
	}
	return max(fewestRequests, memory/100*requestShare/requestMemory)
}

// share is the part of one peer.
type share struct {
	of      *shares
	running atomic.Int64
}

// Enter begins a request, or says why it is not to begin: then Leave must not be called.
func (s *share) Enter() error {
	l := load{own: s.running.Add(1), all: s.of.running.Add(1), most: s.of.most, tight: s.of.tight.Load()}
	if l.own == 1 {
		s.of.peers.Add(1)
	}
	l.peers = s.of.peers.Load()
	err := l.refuses()
	if err != nil {
		s.Leave()
	}
	return err
}

// Leave ends a request that Enter has begun.
func (s *share) Leave() {
	if s.running.Add(-1) == 0 {
		s.of.peers.Add(-1)
	}
	s.of.running.Add(-1)
}

// load is what is under way when a request comes, with that request.
type load struct {
	own, all int64 // requests of its peer, and of all peers
	peers    int64 // that have any
	most     int64 // requests that may be under way
	tight    bool  // memory is used up
}

// greed is how many times the room that is left a peer may have under way. With 2 one peer alone gets two thirds of all
// the room, two get two fifths each, and whoever comes later finds some: n that take what they can leave 1/(2n+1).
const greed = 2

// refuses says why the request is not to begin, nil where it may. Who holds most is refused first: a peer that fills the
// sidecar is kept from filling it, and the others go on.
func (l load) refuses() error {
	if room := l.most - l.all; room < 0 || l.own > greed*(room+1) {
		return errCrowded
	}
	if l.tight && l.own*l.peers >= l.all { // as much as the mean, or more
		return errOverloaded
	}
	return nil
}

var (
	errOverloaded = &httpx.Error{Reason: httpx.Overloaded, Detail: "its memory is used up"}
	errCrowded    = &httpx.Error{Reason: httpx.Overloaded, Detail: "as many requests are under way as its memory has room for"}
)
