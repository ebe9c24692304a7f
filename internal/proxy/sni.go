package proxy

import (
	"errors"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
)

// asksServerName reports whether any rule for connections looks at the TLS server name. Only then is a connection's
// greeting waited for before it is routed: the user says that clients of this port speak TLS, and so speak first.
func asksServerName(routes []plan.TCPRoute) bool {
	return slices.ContainsFunc(routes, func(r plan.TCPRoute) bool {
		return slices.ContainsFunc(r.Matches, func(m model.TCPMatch) bool { return len(m.SNI) > 0 })
	})
}

// serverName reads as much of a client's greeting as it takes to know the name that it asks for (RFC 6066 §3), "" where
// the greeting is no TLS or names nobody. Nothing is consumed.
func serverName(c *netio.PeekConn) (string, error) {
	bound := time.AfterFunc(detectionTimeout, func() { c.Close() })
	defer bound.Stop()
	for {
		if len(c.Prefix()) > 0 {
			hello, err := netio.ParseClientHello(c.Prefix())
			if !errors.Is(err, netio.ErrShortHello) {
				return string(hello.ServerName), nil
			}
		}
		if _, err := c.Peek(); err != nil {
			if errors.Is(err, netio.ErrPeekLimit) {
				return "", nil
			}
			return "", err
		}
	}
}

// matchSNI reports whether one of the names of a rule, wildcards among them, covers the one that was asked for.
func matchSNI(names []string, asked string) bool {
	return len(names) == 0 || asked != "" && slices.ContainsFunc(names, func(n string) bool {
		return model.CanonicalHost(n).Covers(model.CanonicalHost(asked))
	})
}
