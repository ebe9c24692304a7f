package proxy

import (
	"net/netip"
	"sync"

	"fairlead.dev/fairlead/internal/net/h2"
)

// quotas give the connections of one peer one bound for the requests that run, and one share of what the sidecar carries:
// without it a peer would have as many times the bound of a connection as it opens connections.
type quotas struct {
	shares *shares

	mu    sync.Mutex
	peers map[peerKey]*quota
}

// peerKey is a peer: a pod with the identity that it proved, empty for plain connections. Pods that share an identity
// are as many peers, for one of them may be broken while the others are not.
type peerKey struct {
	addr     netip.Addr
	identity string
}

type quota struct {
	*h2.Quota

	share       share
	connections int // guarded by quotas.mu
}

// enter gives the quota of a peer, of so many requests, for one more connection; leave ends that.
func (q *quotas) enter(k peerKey, most int) (of *quota, leave func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.peers[k]
	if p == nil {
		if q.peers == nil {
			q.peers = make(map[peerKey]*quota)
		}
		p = &quota{Quota: h2.NewQuota(most), share: share{of: q.shares}}
		q.peers[k] = p
	}
	p.connections++
	return p, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		p.connections--
		if p.connections == 0 {
			delete(q.peers, k)
		}
	}
}
