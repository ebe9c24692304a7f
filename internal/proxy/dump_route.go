package proxy

import (
	"fmt"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/directory"
)

// describeAction says in one line what a route does with a request.
func describeAction(c *directory.Destination, r *plan.Route) string {
	out := describeWhere(c, r)
	if p := r.CORS; p != nil {
		out += fmt.Sprintf("; CORS for %d origins", len(p.Origins))
		if p.Credentials {
			out += " with credentials"
		}
	}
	return out
}

// describeWhere says where requests go, or how they are answered.
func describeWhere(c *directory.Destination, r *plan.Route) string {
	switch {
	case r.Redirect != nil:
		return "redirect " + strconv.Itoa(r.Redirect.Code)
	case r.Direct != nil:
		return "direct response " + strconv.Itoa(r.Direct.Status)
	}
	parts := make([]string, 0, len(r.Backends))
	for _, w := range r.Backends {
		parts = append(parts, fmt.Sprintf("%s %d", c.Plan.Backends[w.Backend].Name, w.Weight))
	}
	out := strings.Join(parts, ", ")
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
