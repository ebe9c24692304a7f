package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/redirect"
)

// initialise parses the flags of `fairlead-proxy init` and writes the rules.
func initialise(_ context.Context, args []string, out io.Writer) error {
	o := redirect.Options{}
	fs := flag.NewFlagSet("init", flag.ContinueOnError)
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
	remove := fs.Bool("remove", false, "remove the rules")
	dry := fs.Bool("dry-run", false, "print the rules as nft would and change nothing")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *remove {
		return redirect.Remove()
	}
	o.CaptureDNS = !*noDNS
	o.Mark, o.ProxyUID, o.ProxyGID = uint32(*mark), uint32(*uid), uint32(*uid)
	if *mark == 0 && *uid == 0 {
		o.ProxyUID, o.ProxyGID = redirect.DefaultUser, redirect.DefaultUser
	}
	if *includeIn == "" {
		o.Inbound = redirect.CaptureNone
	}
	err := errors.Join(
		ports("--include-inbound-ports", *includeIn, &o.IncludeInboundPorts),
		ports("--exclude-inbound-ports", *excludeIn, &o.ExcludeInboundPorts),
		ports("--include-outbound-ports", *includeOut, &o.IncludeOutboundPorts),
		ports("--exclude-outbound-ports", *excludeOut, &o.ExcludeOutboundPorts),
		cidrs("--include-outbound-cidrs", *includeCIDR, &o.IncludeOutboundCIDRs),
		cidrs("--exclude-outbound-cidrs", *excludeCIDR, &o.ExcludeOutboundCIDRs),
	)
	if err != nil {
		return err
	}
	o.ExcludeInterfaces = list(*excludeIf)
	// The sidecar's own pages are reached directly, whoever asks.
	for _, p := range []uint16{15020, 15021, 15090} {
		o.ExcludeInboundPorts = append(o.ExcludeInboundPorts, redirect.Port(p))
	}
	rules, err := redirect.Plan(o)
	if err != nil {
		return err
	}
	if *dry {
		fmt.Fprint(out, rules.String())
		return nil
	}
	if err := redirect.PrepareLoopback(); err != nil {
		return err
	}
	return redirect.Apply(rules)
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

// ports parses "80,8000-8010".
func ports(flagName, s string, into *[]redirect.PortRange) error {
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
		*into = append(*into, redirect.PortRange{From: uint16(a), To: uint16(b)})
	}
	return nil
}

// cidrs parses "10.0.0.0/8,fd00::/8"; a bare address is itself.
func cidrs(flagName, s string, into *[]netip.Prefix) error {
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
