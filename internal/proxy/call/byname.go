package call

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/proxy/directory"
)

// HostOf gives the host that an authority names, "" where that is an address or none at all.
func HostOf(authority []byte) model.Hostname {
	if i := bytes.LastIndexByte(authority, ':'); i >= 0 {
		authority = authority[:i]
	}
	const longest = 253 // RFC 1035 §3.1, without the root's dot
	if len(authority) == 0 || len(authority) > longest+1 || slices.ContainsFunc(authority, func(b byte) bool { return !inHost(b) }) {
		return ""
	}
	h := model.CanonicalHost(string(authority))
	if _, err := netip.ParseAddr(string(h)); err == nil {
		return ""
	}
	return h
}

func inHost(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.'
}

// namedBackend is the backend of the host that an authority names.
type namedBackend struct {
	authority string
	backend   *directory.Backend
}

// byName gives the backend that a call goes to: that of the host that it names, where the configuration's is for any host below
// a wildcard, and otherwise that one. The latest is remembered, for the requests of a connection mostly name one host.
func (c *Outbound) byName(b *directory.Backend, authority []byte) (*directory.Backend, error) {
	if !b.IsByName() {
		return b, nil
	}
	now := time.Now()
	if n := c.named.Load(); n != nil && n.authority == string(authority) && n.backend.IsNamed(b, now) {
		return n.backend, nil
	}
	host := HostOf(authority)
	if host == "" || !b.Plan.Host.Covers(host) {
		return nil, &httpx.Error{Reason: httpx.NoCluster, Object: b.Plan.Name, Err: directory.ErrNoName}
	}
	found := c.Of.Directory.ByName(b, host, now)
	if found == b { // the configuration was replaced since the call came
		if b = c.Dest.Backend(b.Plan.Name); b != nil && b.IsByName() {
			found = c.Of.Directory.ByName(b, host, now)
		}
	}
	c.named.Store(&namedBackend{string(authority), found})
	return found, nil
}
