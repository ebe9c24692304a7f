package observe

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/protofield"
	"fairlead.dev/fairlead/internal/telemetry"
)

// Filter says which requests are meant. Its parts are met together; an empty part is met by every request. It is evaluated
// in the sidecar.
type Filter struct {
	// Method, Scheme and Authority are compared without regard to case, Path is what the path begins with.
	Method    string `json:"method,omitempty"`
	Scheme    string `json:"scheme,omitempty"`
	Authority string `json:"authority,omitempty"`
	Path      string `json:"path,omitempty"`
	// Status is such as "503", "5xx" or "0" for requests without an answer; several are separated by commas.
	Status string `json:"status,omitempty"`
	// Not turns what is above around: requests that do not meet all of it. It needs something above.
	Not bool `json:"not,omitempty"`

	// Direction is one, empty for both.
	Direction Direction `json:"direction,omitempty"`
	// To are addresses and hosts of Services of which the request was sent to one; none where it does not matter, and
	// nothing passes where Nowhere is set.
	To      []netip.Addr `json:"-"`
	ToHosts []string     `json:"-"`
	Nowhere bool         `json:"-"`

	classes []class // of Status
}

// class is a range of statuses.
type class struct{ from, to int }

// maxTo bounds the addresses that a sidecar compares with.
const maxTo = 1024

// Check names what is wrong with a filter, and readies it.
func (f *Filter) Check() error {
	if f.Not && f.Method+f.Scheme+f.Authority+f.Path+f.Status == "" {
		return errors.New("--not needs something to turn around: --method, --path, --scheme, --authority or --status")
	}
	if f.Path != "" && f.Path[0] != '/' && f.Path != "*" {
		return fmt.Errorf("--path %q: paths begin with a slash: write /%s", f.Path, f.Path)
	}
	if s := strings.ToLower(f.Scheme); s != "" && s != "http" && s != "https" {
		return fmt.Errorf("--scheme %q: write http or https", f.Scheme)
	}
	if strings.ContainsAny(f.Method, " /") {
		return fmt.Errorf("--method %q is no method: write one like GET", f.Method)
	}
	switch f.Direction {
	case "", Inbound, Outbound:
	default:
		return fmt.Errorf("direction %q: write inbound or outbound", f.Direction)
	}
	return f.readStatus()
}

func (f *Filter) readStatus() error {
	f.classes = nil
	if f.Status == "" {
		return nil
	}
	for word := range strings.SplitSeq(strings.ToLower(f.Status), ",") {
		digit, isClass := strings.CutSuffix(word, "xx")
		n, err := strconv.Atoi(digit)
		switch {
		case err == nil && isClass && n >= 1 && n <= 5:
			f.classes = append(f.classes, class{100 * n, 100*n + 99})
		case err == nil && !isClass && (n == 0 || n >= 100 && n <= 599):
			f.classes = append(f.classes, class{n, n})
		default:
			return fmt.Errorf("--status %q is no status: write one like 503 or 5xx, or 0 for requests without an answer", word)
		}
	}
	return nil
}

// match reports whether a call is meant. It allocates nothing.
func (f *Filter) match(r *telemetry.Record) bool {
	if f.Nowhere || r.Protocol == "" || f.Direction != "" && f.Direction != directionOf(r) {
		return false
	}
	if len(f.To)+len(f.ToHosts) > 0 && !f.leadsTo(r) {
		return false
	}
	return f.matchHead(r) != f.Not
}

func (f *Filter) matchHead(r *telemetry.Record) bool {
	return (f.Method == "" || foldEqual(r.Method, f.Method)) &&
		(f.Scheme == "" || strings.EqualFold(f.Scheme, schemeOf(r))) &&
		(f.Authority == "" || foldEqual(r.Authority, f.Authority)) &&
		(f.Path == "" || len(r.Path) >= len(f.Path) && string(r.Path[:len(f.Path)]) == f.Path) &&
		f.matchStatus(r.Code)
}

func (f *Filter) matchStatus(code int) bool {
	if len(f.classes) == 0 {
		return true
	}
	for _, c := range f.classes {
		if c.from <= code && code <= c.to {
			return true
		}
	}
	return false
}

// leadsTo reports whether a call went to one of the addresses, or to a backend of one of the hosts.
func (f *Filter) leadsTo(r *telemetry.Record) bool {
	if slices.Contains(f.To, r.Endpoint.Addr()) {
		return true
	}
	// "outbound|8080|v1|users.myapp.svc.cluster.local"
	if at := strings.LastIndexByte(r.Cluster, '|'); at >= 0 && r.Cluster[at+1:] != "" {
		return slices.Contains(f.ToHosts, r.Cluster[at+1:])
	}
	return false
}

func directionOf(r *telemetry.Record) Direction {
	if r.Reporter == telemetry.Destination {
		return Inbound
	}
	return Outbound
}

// schemeOf is "http" for all that a sidecar can read: what an app encrypts itself is no request to it.
func schemeOf(*telemetry.Record) string { return "http" }

// foldEqual is strings.EqualFold of ASCII.
func foldEqual(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func (f *Filter) append(b []byte) []byte {
	b = appendText(b, 1, f.Method)
	b = appendText(b, 2, f.Scheme)
	b = appendText(b, 3, f.Authority)
	b = appendText(b, 4, f.Path)
	b = appendText(b, 5, f.Status)
	b = appendFlag(b, 6, f.Not)
	b = appendText(b, 7, f.Direction)
	for _, a := range f.To {
		b = appendText(b, 8, a.AsSlice())
	}
	for _, h := range f.ToHosts {
		b = appendText(b, 9, h)
	}
	return appendFlag(b, 10, f.Nowhere)
}

func (f *Filter) parse(b []byte) error {
	err := protofield.Each(b, func(n int, v []byte, number uint64) error {
		switch n {
		case 1:
			f.Method = string(v)
		case 2:
			f.Scheme = string(v)
		case 3:
			f.Authority = string(v)
		case 4:
			f.Path = string(v)
		case 5:
			f.Status = string(v)
		case 6:
			f.Not = number != 0
		case 7:
			f.Direction = Direction(v)
		case 8:
			if a, ok := netip.AddrFromSlice(v); ok && len(f.To) < maxTo {
				f.To = append(f.To, a.Unmap())
			}
		case 9:
			if len(f.ToHosts) < maxTo {
				f.ToHosts = append(f.ToHosts, string(v))
			}
		case 10:
			f.Nowhere = number != 0
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.Check()
}
