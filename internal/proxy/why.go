package proxy

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/dns"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/directory"
)

// explainer says what becomes of a request of the app, by what the data path reads and with the functions that it decides by: the name, the address,
// the route, who gets which share, and how their endpoints are. It sends nothing. The control plane is asked about what is not known yet, as by a
// first call, and the sidecar follows it from then on for as long as it would after one.
type explainer struct{ *Proxy }

func (x explainer) why(ctx context.Context, q *admin.Asked) admin.Why {
	out := admin.Why{Pod: x.o.Pod.Name, Namespace: x.o.Pod.Namespace, Request: q.String()}
	at, ok := x.resolve(ctx, q, &out)
	if !ok {
		return out
	}
	out.Dialled = at.String()
	cell := x.find(ctx, q, at)
	if cell == nil {
		if out.End = "nothing of the mesh is there: it is sent there as it is (" + passthroughCluster + ")"; x.outbound.refuseUnknown.Load() {
			out.End = "nothing of the mesh is there, and outboundTrafficPolicy is REGISTRY_ONLY: it is refused (" + blackHoleCluster + ")"
		}
		return out
	}
	cell.Enter()
	defer cell.Leave()
	d := cell.Load()
	if d == nil {
		out.End = "what was there has just been deleted"
		return out
	}
	out.Host, out.Protocol = hostPort(d.Plan.Host, d.Plan.Port), d.Plan.Protocol.String()
	if d.Plan.Service.Name != "" {
		out.Service = d.Plan.Service.String()
	}
	if q.Method == "" || d.Plan.Protocol == model.TCP || d.Plan.Protocol == model.TLS {
		x.connection(d, at, &out)
	} else {
		x.request(d, q, at, &out)
	}
	return out
}

// resolve finds where the app's connection goes: to the first address of the name.
func (x explainer) resolve(ctx context.Context, q *admin.Asked, out *admin.Why) (at netip.AddrPort, ok bool) {
	if a, err := netip.ParseAddr(q.Host); err == nil {
		return netip.AddrPortFrom(a.Unmap(), q.Port), true
	}
	for _, name := range x.o.Names.Names(strings.ToLower(q.Host)) {
		if found := x.ask(ctx, name, out); len(found) > 0 {
			for _, a := range found {
				out.Addresses = append(out.Addresses, a.String())
			}
			return netip.AddrPortFrom(found[0].Unmap(), q.Port), true
		} else if out.AnsweredBy == "mesh" {
			return at, false
		}
	}
	return at, false
}

// ask gives the addresses that the app is answered with for one full name. Without any it says why in out.
func (x explainer) ask(ctx context.Context, name string, out *admin.Why) []netip.Addr {
	out.Name, out.End = name, ""
	answer, owner := x.asker.Lookup(ctx, name)
	if owner == dns.Ours {
		switch out.AnsweredBy = "mesh"; {
		case answer.CNAME != "":
			out.End = "the name stands for " + answer.CNAME + ": ask about that"
			return nil
		case len(answer.Addrs) == 0:
			out.End = "the name is the mesh's, and has no addresses"
		}
		return answer.Addrs
	}
	out.AnsweredBy = "DNS"
	resolved, err := x.resolver.Resolve(ctx, name)
	if err != nil {
		out.End = "the mesh does not have the name, and DNS says: " + err.Error()
	}
	return resolved.Addrs
}

// find gives what an address leads to; where that is not the mesh's, what the host of the request does. nil for nothing.
func (x explainer) find(ctx context.Context, q *admin.Asked, at netip.AddrPort) *directory.Cell {
	if cell := x.asker.Cell(ctx, plan.AddressName(at)); cell != nil && cell.Load() != nil {
		return cell
	}
	if !x.outbound.byName(at.Port()) {
		return nil
	}
	host := model.CanonicalHost(q.Host)
	cell := x.asker.Cell(ctx, plan.Name{Kind: plan.NameHost, At: plan.HostPort{Host: host, Port: q.Port}}.String())
	if cell == nil {
		return nil
	}
	if d := cell.Load(); d == nil || q.Method != "" && !carriesHTTP(d.Plan) || q.Method == "" && !carriesTLS(d.Plan) {
		return nil
	}
	return cell
}

// request finds the route of a request.
func (x explainer) request(d *directory.Destination, q *admin.Asked, at netip.AddrPort, out *admin.Why) {
	authority := net.JoinHostPort(q.Host, portString(q.Port))
	if q.Port == 80 { // clients leave it out
		authority = strings.TrimSuffix(authority, ":80")
	}
	req := httpx.Request{Method: []byte(q.Method), Authority: []byte(authority), Path: []byte(q.Path)}
	for _, h := range q.Headers {
		if h[0] == "host" {
			req.Authority = []byte(h[1])
			continue
		}
		req.Fields.AddString(h[0], h[1])
	}
	r, ok := x.outbound.RouteOf(d, &req, at.Port())
	switch {
	case !ok:
		out.End = "400: the path has a NUL"
		return
	case r == nil:
		out.End = "404: no route of the host takes it"
		return
	}
	row := hostRow(d)
	row.Origin, row.Action, row.Retries = r.Plan.Origin, describeAction(d, r.Plan), describeRetries(r.Plan)
	var matches []string
	for i := range r.Plan.Matches {
		matches = append(matches, plan.DescribeMatch(&r.Plan.Matches[i]))
	}
	if row.Match = strings.Join(matches, " or "); row.Match == "" {
		row.Match = "every request"
	}
	out.Route = &row
	switch why := r.Fault(); {
	case why != "":
		out.End = "503: " + why
	case r.Plan.Redirect != nil || r.Plan.Direct != nil:
		out.End = "the sidecar answers itself: " + row.Action
	default:
		shareOut(d, r.Plan.Backends, out)
	}
}

// connection finds the rule for an opaque connection, of which no TLS name is known.
func (x explainer) connection(d *directory.Destination, at netip.AddrPort, out *admin.Why) {
	r := x.outbound.RuleOf(d, at, x.o.IPs[0])
	if r == nil {
		out.End = "closed: no rule of the host takes it"
		return
	}
	row := hostRow(d)
	row.Origin, row.Action = r.Plan.Origin, describeBackends(d, r.Plan.Backends)
	var matches []string
	for i := range r.Plan.Matches {
		matches = append(matches, plan.DescribeTCPMatch(&r.Plan.Matches[i]))
	}
	if row.Match = strings.Join(matches, " or "); row.Match == "" {
		row.Match = "every connection"
	}
	out.Route = &row
	shareOut(d, r.Plan.Backends, out)
}

// shareOut lists who gets which share, and the endpoints of each.
func shareOut(d *directory.Destination, list []plan.WeightedBackend, out *admin.Why) {
	total := 0.0
	for _, w := range list {
		total += float64(w.Weight)
	}
	if total == 0 {
		out.End = "503: no backend has a weight above 0"
		return
	}
	for _, w := range list {
		b := d.Backends[w.Backend]
		out.Backends = append(out.Backends, admin.WhyBackend{Percent: 100 * float64(w.Weight) / total, Cluster: dumpCluster(b), Endpoints: dumpEndpoints(b)})
	}
}
