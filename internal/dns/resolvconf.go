package dns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

const (
	// maxServers is how many servers of a resolv.conf are used, as in resolv.conf(5).
	maxServers   = 3
	defaultNdots = 1
	// maxNdots is the cap of resolv.conf(5).
	maxNdots = 15
	port     = 53
)

// ResolvConf is what Fairlead uses of a resolv.conf(5).
type ResolvConf struct {
	Servers []netip.AddrPort
	Search  []string
	Ndots   int
}

// ParseResolvConf reads a resolv.conf. Lines that it does not know, and server addresses that are none, are passed
// over as resolvers do; no server at all is an error.
func ParseResolvConf(r io.Reader) (ResolvConf, error) {
	c := ResolvConf{Ndots: defaultNdots}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			addr, err := netip.ParseAddr(words[1])
			if err == nil && len(c.Servers) < maxServers {
				c.Servers = append(c.Servers, netip.AddrPortFrom(addr.Unmap(), port))
			}
		case "search", "domain":
			c.Search = words[1:] // the last one counts
		case "options":
			c.options(words[1:])
		}
	}
	if err := lines.Err(); err != nil {
		return ResolvConf{}, fmt.Errorf("resolv.conf: %w", err)
	}
	if len(c.Servers) == 0 {
		return ResolvConf{}, errors.New(`resolv.conf: no line "nameserver ADDRESS"`)
	}
	return c, nil
}

// Names lists what an app's resolver asks for, one after the other, where the app says name: with and without what Search completes it by.
func (c *ResolvConf) Names(name string) []string {
	full, absolute := strings.CutSuffix(name, ".")
	if absolute {
		return []string{full}
	}
	out := make([]string, 0, len(c.Search)+1)
	for _, domain := range c.Search {
		out = append(out, name+"."+domain)
	}
	if strings.Count(name, ".") >= c.Ndots {
		return append([]string{name}, out...)
	}
	return append(out, name)
}

func (c *ResolvConf) options(words []string) {
	for _, w := range words {
		value, ok := strings.CutPrefix(w, "ndots:")
		if n, err := strconv.Atoi(value); ok && err == nil && n >= 0 {
			c.Ndots = min(n, maxNdots)
		}
	}
}
