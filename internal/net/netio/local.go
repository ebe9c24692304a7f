package netio

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// LocalAddrs knows the addresses of this machine's interfaces (of this network namespace). The zero value is ready to
// use, by several goroutines at once.
type LocalAddrs struct {
	mu   sync.Mutex
	all  map[netip.Addr]struct{}
	read time.Time
}

// localAge is how old what is known of the interfaces may be. Strangers choose the addresses that are asked for, so the
// kernel must not be asked each time.
const localAge = time.Second

// Contains reports whether a is an address of an interface. Loopback is none: what comes from outside for 127.0.0.1 was
// not meant for it. An address that was added within the last second may not be known yet.
func (l *LocalAddrs) Contains(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.read) >= localAge {
		l.all, l.read = interfaceAddrs(), now
	}
	_, ok := l.all[a.Unmap().WithZone("")]
	return ok
}

func interfaceAddrs() map[netip.Addr]struct{} {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil // without an answer no address is known to be local
	}
	all := make(map[netip.Addr]struct{}, len(found))
	for _, f := range found {
		p, err := netip.ParsePrefix(f.String())
		if err != nil {
			continue
		}
		// The address that the leg to the app comes from is no address of the workload either.
		if a := p.Addr().Unmap(); !a.IsLoopback() && a != inboundSource6() {
			all[a] = struct{}{}
		}
	}
	return all
}
