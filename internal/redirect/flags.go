package redirect

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// The ports of the sidecar's own pages, which are never redirected, for the kubelet and Prometheus ask there: metrics and
// probes of the app, readiness, metrics in Istio's place.
const (
	pagesPort     = 15020
	readinessPort = 15021
	metricsPort   = 15090
)

// Flags defines the flags that describe Options on fs, those of `fairlead-proxy init`. The function that it
// returns is called after fs has been parsed, and gives the Options; its errors name the flag.
func Flags(fs *flag.FlagSet) func() (Options, error) {
	uid := fs.Uint("uid", 0, "user and group `ID` of the sidecar, whose traffic passes (1337 where neither this nor --mark is given)")
	mark := fs.Uint("mark", 0, "socket mark of the sidecar's traffic, instead of the user ID")
	noDNS := fs.Bool("no-dns", false, "leave port 53 alone")
	includeIn := fs.String("include-inbound-ports", "*", "inbound `PORTS` to capture, comma-separated; * for all, empty for none")
	excludeIn := fs.String("exclude-inbound-ports", "", "inbound `PORTS` to leave alone")
	includeOut := fs.String("include-outbound-ports", "", "outbound `PORTS` to capture whatever the CIDRs say")
	excludeOut := fs.String("exclude-outbound-ports", "", "outbound `PORTS` to leave alone")
	includeCIDR := fs.String("include-outbound-cidrs", "*", "destination `CIDRS` to capture; * for all")
	excludeCIDR := fs.String("exclude-outbound-cidrs", "", "destination `CIDRS` to leave alone")
	excludeIf := fs.String("exclude-interfaces", "", "`INTERFACES` to leave alone")
	return func() (Options, error) {
		o := Options{CaptureDNS: !*noDNS, Mark: uint32(*mark), ProxyUID: uint32(*uid), ProxyGID: uint32(*uid)}
		if *mark == 0 && *uid == 0 {
			o.ProxyUID, o.ProxyGID = DefaultUser, DefaultUser
		}
		if *includeIn == "" {
			o.Inbound = CaptureNone
		}
		err := errors.Join(
			parsePorts("--include-inbound-ports", *includeIn, &o.IncludeInboundPorts),
			parsePorts("--exclude-inbound-ports", *excludeIn, &o.ExcludeInboundPorts),
			parsePorts("--include-outbound-ports", *includeOut, &o.IncludeOutboundPorts),
			parsePorts("--exclude-outbound-ports", *excludeOut, &o.ExcludeOutboundPorts),
			parsePrefixes("--include-outbound-cidrs", *includeCIDR, &o.IncludeOutboundCIDRs),
			parsePrefixes("--exclude-outbound-cidrs", *excludeCIDR, &o.ExcludeOutboundCIDRs),
		)
		o.ExcludeInterfaces = list(*excludeIf)
		o.ExcludeInboundPorts = append(o.ExcludeInboundPorts, Port(pagesPort), Port(readinessPort), Port(metricsPort))
		return o, err
	}
}

// ParseFlags reads Options from the arguments of `fairlead-proxy init`, and takes nothing but those that describe
// them.
func ParseFlags(args []string) (Options, error) {
	fs := flag.NewFlagSet("redirect", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	options := Flags(fs)
	if err := fs.Parse(args); err != nil {
		return Options{}, err
	}
	if fs.NArg() > 0 {
		return Options{}, fmt.Errorf("%q is no flag", fs.Arg(0))
	}
	return options()
}

// list splits a comma-separated flag; "" and "*" give nothing.
func list(s string) []string {
	if s == "" || s == "*" {
		return nil
	}
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// parsePorts reads "80,8000-8010".
func parsePorts(flagName, s string, into *[]PortRange) error {
	for _, part := range list(s) {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if err != nil || err2 != nil || a > b {
			return fmt.Errorf("%s: %q is no port or range of ports; write 8080 or 8000-8010", flagName, part)
		}
		*into = append(*into, PortRange{From: uint16(a), To: uint16(b)})
	}
	return nil
}

// parsePrefixes reads "10.0.0.0/8,fd00::/8"; a bare address is itself.
func parsePrefixes(flagName, s string, into *[]netip.Prefix) error {
	for _, part := range list(s) {
		if a, err := netip.ParseAddr(part); err == nil {
			*into = append(*into, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(part)
		if err != nil {
			return fmt.Errorf("%s: %q is no CIDR; write 10.0.0.0/8 or an address", flagName, part)
		}
		*into = append(*into, p)
	}
	return nil
}
