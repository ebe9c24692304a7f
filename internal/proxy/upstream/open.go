package upstream

// Open is how many connections a Set has. Opaque ones belong to whoever dialled them, and are not among them.
type Open struct {
	Peers      int       // to other sidecars
	App, Plain PoolConns // to the workload's own app, and to endpoints without a sidecar
}

// PoolConns is how many connections pools have.
type PoolConns struct {
	Busy, Idle int // of HTTP/1.1
	Shared     int // of HTTP/2
}

// Open counts the connections.
func (s *Set) Open() (o Open) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		o.Peers += p.http.size() + p.tcp.size()
	}
	for k, p := range s.pools {
		of := &o.Plain
		if k.app {
			of = &o.App
		}
		p.mu.Lock()
		of.Busy += len(p.busy)
		of.Idle += len(p.idle)
		p.mu.Unlock()
		of.Shared += p.h2.size()
	}
	return o
}

// size is how many connections there are.
func (l *link) size() int {
	if conns := l.conns.Load(); conns != nil {
		return len(*conns)
	}
	return 0
}
