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
