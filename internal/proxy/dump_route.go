package proxy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/directory"
)

// dumpRoutes lists the routes of a destination as they are tried: those for requests where it may carry some, and those for
// connections where it may carry others and an object says where these go.
func dumpRoutes(c *directory.Destination) []admin.RouteDump {
	row := hostRow(c)
	var out []admin.RouteDump
	opaque := c.Plan.Protocol == model.TCP || c.Plan.Protocol == model.TLS
	for i := range c.Plan.Routes {
		if opaque {
			break
		}
		r := &c.Plan.Routes[i]
		matches := r.Matches
		if len(matches) == 0 {
			matches = []model.HTTPMatch{{}}
		}
		row.Origin, row.Action, row.Retries = r.Origin, describeAction(c, r), describeRetries(r)
		for j := range matches {
			row.Match = plan.DescribeMatch(&matches[j])
			out = append(out, row)
		}
	}
	row.Retries = ""
	for i := range c.Plan.TCP {
		r := &c.Plan.TCP[i]
		if !opaque && r.Origin == "" {
			continue
		}
		matches := r.Matches
		if len(matches) == 0 {
			matches = []model.TCPMatch{{}}
		}
		row.Origin, row.Action = r.Origin, describeBackends(c, r.Backends)
		for j := range matches {
			row.Match = plan.DescribeTCPMatch(&matches[j])
			out = append(out, row)
		}
	}
	return out
}

// hostRow is what all routes of a destination have in common.
func hostRow(c *directory.Destination) admin.RouteDump {
	row := admin.RouteDump{Name: portString(c.Plan.Port), VHost: hostPort(c.Plan.Host, c.Plan.Port), Domains: []string{string(c.Plan.Host)}}
	for _, a := range c.Plan.Addresses {
		row.Domains = append(row.Domains, authority(a))
	}
	return row
}

// describeBackends says who gets which share.
func describeBackends(c *directory.Destination, list []plan.WeightedBackend) string {
	if len(list) == 0 {
		return "closed: no backend has a weight above 0"
	}
	parts := make([]string, 0, len(list))
	for _, w := range list {
		parts = append(parts, fmt.Sprintf("%s %d", c.Plan.Backends[w.Backend].Name, w.Weight))
	}
	return strings.Join(parts, ", ")
}

// describeAction says in one line what a route does with a request.
func describeAction(c *directory.Destination, r *plan.Route) string {
	out := describeWhere(c, r) + describeTimes(r)
	if p := r.CORS; p != nil {
		out += fmt.Sprintf("; CORS for %d origins", len(p.Origins))
		if p.Credentials {
			out += " with credentials"
		}
	}
	return out
}

// describeTimes says what bounds requests beside their tries.
func describeTimes(r *plan.Route) string {
	var parts []string
	for _, t := range []struct {
		what string
		d    time.Duration
	}{{"timeout", r.Timeout}, {"each backend", r.BackendTimeout}, {"each response", r.ResponseTimeout}, {"idle", r.IdleTimeout}} {
		if t.d > 0 {
			parts = append(parts, "; "+t.what+" "+t.d.String())
		}
	}
	return strings.Join(parts, "")
}

// describeWhere says where requests go, or how they are answered.
func describeWhere(c *directory.Destination, r *plan.Route) string {
	switch {
	case r.Redirect != nil:
		return "redirect " + strconv.Itoa(r.Redirect.Code)
	case r.Direct != nil:
		return "direct response " + strconv.Itoa(r.Direct.Status)
	}
	out := describeBackends(c, r.Backends)
	if s := r.Session; s != nil {
		out += "; session by " + s.By.String() + " " + s.Name
		if c.Seal.Keys() == nil {
			out += " (no keys yet)"
		}
	}
	return out
}

// describeRetries says how often requests are retried, and on what beside what every policy repeats.
func describeRetries(r *plan.Route) string {
	p := &r.Retry
	switch {
	case len(r.Backends) == 0:
		return ""
	case p.Attempts == 0:
		return "never"
	}
	out := strconv.Itoa(p.Attempts)
	var on []string
	for _, c := range p.On {
		if c != "connect-failure" && c != "refused-stream" && c != "reset-before-request" {
			on = append(on, c)
		}
	}
	on = append(on, ranges(p.Codes)...)
	if len(on) > 0 {
		out += " on " + strings.Join(on, ",")
	}
	if p.PerTryTimeout > 0 {
		out += "; " + p.PerTryTimeout.String() + " per try"
	}
	if p.Backoff > 0 {
		out += "; backoff " + p.Backoff.String()
	}
	if p.RemoteLocalities {
		out += "; in other localities"
	}
	if p.SameHosts {
		out += "; on any endpoint"
	}
	return out
}

// ranges lists numbers, several in a row as "500-504".
func ranges(codes []int) (out []string) {
	for i := 0; i < len(codes); {
		j := i
		for j+1 < len(codes) && codes[j+1] == codes[j]+1 {
			j++
		}
		one := strconv.Itoa(codes[i])
		if j > i {
			one += "-" + strconv.Itoa(codes[j])
		}
		out, i = append(out, one), j+1
	}
	return out
}
