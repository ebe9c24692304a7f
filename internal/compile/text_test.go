package compile_test

import (
	"fmt"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// text prints a resource one fact per line, leaving out what is not set.
func text(res plan.Resource) string {
	p := &printer{}
	switch v := res.(type) {
	case nil:
		p.line("none")
	case *plan.Destination:
		p.destination(v)
	case *plan.EndpointShard:
		p.line("%s", v.Name)
		for i := range v.Endpoints {
			p.endpoint(&v.Endpoints[i])
		}
	case *plan.Workload:
		p.line("%s %s sa=%s identity=%s meshed=%v locality=%s inbound=%s", v.ResourceName(), v.Key, v.ServiceAccount, v.Identity, v.Meshed, v.Locality, v.Inbound)
		p.line("  %s", workload(v.Info))
	case *plan.InboundPolicy:
		p.line("%s mtls=%s %s", v.Name, v.MTLS, v.MTLSOrigin)
		for _, in := range v.Ports {
			p.line("  port %d %s mtls=%s service=%s host=%s %s", in.Port, in.Protocol, in.MTLS, in.Service, in.Host, in.MTLSOrigin)
			if in.Rule != "" {
				p.line("    rule=%s %+v", in.Rule, in.Pool)
			}
		}
		for i := range v.Checks {
			c := &v.Checks[i].How
			p.line("  check %s %s port=%d every %s within %s, %d down %d up", v.Checks[i].Policy, c.Kind(), c.Port, c.Interval, c.Timeout, c.UnhealthyThreshold, c.HealthyThreshold)
		}
		for i := range v.Probes {
			p.line("  probe %s %s %s port=%d", v.Probes[i].Policy, v.Probes[i].How.Kind(), v.Probes[i].Addr, v.Probes[i].How.Port)
		}
		if v.Telemetry != nil {
			p.line("  telemetry %s", strings.Join(v.Telemetry.Origins, ", "))
			p.recording("client", &v.Telemetry.Client)
			p.recording("server", &v.Telemetry.Server)
		}
	case *plan.DNSName:
		p.line("%s ttl=%s", v.ResourceName(), v.TTL)
		if v.CNAME != "" {
			p.line("  cname %s", v.CNAME)
		}
		for _, a := range v.Addresses {
			p.line("  address %s", a)
		}
	default:
		p.line("%+v", v)
	}
	return p.String()
}

type printer struct{ strings.Builder }

func (p *printer) recording(side string, r *plan.Recording) {
	if !r.LogsSaid {
		return
	}
	p.line("    %s logs %d", side, len(r.Logs))
	for _, l := range r.Logs {
		p.line("      %s %s", l.Provider, l.FilterText)
	}
}

func (p *printer) line(format string, args ...any) {
	p.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

func (p *printer) destination(d *plan.Destination) {
	p.line("%s host=%s service=%s protocol=%s addresses=%v", d.Name, d.Host, d.Service, d.Protocol, d.Addresses)
	for i := range d.Routes {
		p.route(&d.Routes[i], d)
	}
	for i := range d.TCP {
		r := &d.TCP[i]
		p.line("  tcp %s%s -> %s", tcpMatches(r.Matches), r.Origin, targets(r.Backends, d))
	}
	for i := range d.Backends {
		p.backend(&d.Backends[i])
	}
}

func (p *printer) route(r *plan.Route, d *plan.Destination) {
	what := "-> " + targets(r.Backends, d)
	switch {
	case r.Redirect != nil:
		what = "-> redirect " + r.Redirect.Authority
	case r.Direct != nil:
		what = fmt.Sprintf("-> answer %d %s", r.Direct.Status, strings.TrimSpace(string(r.Direct.Body)))
	}
	if r.Timeout != 0 {
		what += " timeout=" + r.Timeout.String()
	}
	if r.Retry.Attempts != 0 {
		what += fmt.Sprintf(" retry=%d on %s", r.Retry.Attempts, strings.Join(r.Retry.On, ","))
	}
	var mirrors strings.Builder
	for _, m := range r.Mirrors {
		fmt.Fprintf(&mirrors, " mirror=%v%% %s", m.Percent, d.Backends[m.Backend].Name)
	}
	p.line("  http %s%s %s%s", httpMatches(r.Matches), strings.TrimSpace(r.Name+" "+r.Origin), what, mirrors.String())
}

func targets(list []plan.WeightedBackend, d *plan.Destination) string {
	out := make([]string, 0, len(list))
	for _, b := range list {
		out = append(out, fmt.Sprintf("%s*%d", d.Backends[b.Backend].Name, b.Weight))
	}
	return strings.Join(out, " ")
}

func httpMatches(list []model.HTTPMatch) string {
	var out strings.Builder
	for i := range list {
		m := &list[i]
		var parts []string
		add := func(name string, s *model.StringMatch) {
			if s != nil {
				kind := [...]string{model.Exact: "=", model.Prefix: "^=", model.PathPrefix: "/=", model.Regex: "~", model.Present: "*"}[s.Kind]
				parts = append(parts, name+kind+s.Value)
			}
		}
		add("uri", m.URI)
		add("method", m.Method)
		add("authority", m.Authority)
		for _, h := range m.Headers {
			parts = append(parts, "header:"+h.Name)
		}
		for _, q := range m.Query {
			parts = append(parts, "query:"+q.Name)
		}
		if m.SourceNamespace != "" {
			parts = append(parts, "from:"+m.SourceNamespace)
		}
		fmt.Fprintf(&out, "{%s} ", strings.Join(parts, " "))
	}
	return out.String()
}

func tcpMatches(list []model.TCPMatch) string {
	var out strings.Builder
	for _, m := range list {
		fmt.Fprintf(&out, "{%s} ", strings.Join(m.SNI, " "))
	}
	return out.String()
}

func (p *printer) backend(b *plan.Backend) {
	if b.Missing != "" {
		p.line("  backend %s missing %d: %s", b.Name, b.MissingStatus, b.Missing)
		return
	}
	extra := ""
	if b.Rule != "" {
		extra += " rule=" + b.Rule
	}
	if len(b.TLS.SubjectAltNames) > 0 {
		extra += " san=" + strings.Join(b.TLS.SubjectAltNames, ",")
	}
	if b.Proximity != model.AnyDistance {
		extra += " proximity=" + b.Proximity.String()
	}
	if b.ClientAffinity {
		extra += " client-affinity=" + b.AffinityTimeout.String()
	}
	p.line("  backend %s %s service=%s lb=%s%s", b.Name, b.Resolution, b.Service, b.LB, extra)
	for _, s := range b.Shards {
		p.line("    shard %s", s)
	}
	for _, d := range b.DNS {
		p.line("    resolve %s:%d*%d%s", d.Host, d.Port, d.Weight, resolvedMarks(d))
	}
}

func (p *printer) endpoint(e *plan.Endpoint) {
	out := fmt.Sprintf("  %s *%d %s", e.Addr, e.Weight, e.Health)
	if e.Network != "" {
		out += fmt.Sprintf(" network=%s by=%v", e.Network, e.Gateways)
	}
	if e.Meshed {
		out += " meshed " + e.Identity
	}
	if l := e.Locality.String(); l != "" {
		out += " locality=" + l
	}
	if len(e.Subsets) > 0 {
		out += " subsets=" + strings.Join(e.Subsets, ",")
	}
	p.line("%s", out)
	if e.Workload != (plan.WorkloadInfo{}) {
		p.line("    %s", workload(e.Workload))
	}
}

func workload(w plan.WorkloadInfo) string {
	return fmt.Sprintf("workload %s/%s pod=%s app=%s version=%s canonical=%s@%s cluster=%s node=%s",
		w.Namespace, w.Name, w.Pod, w.App, w.Version, w.CanonicalName, w.CanonicalRevision, w.Cluster, w.Node)
}

// resolvedMarks is how the addresses of a name are called, where not plainly.
func resolvedMarks(d plan.DNSEndpoint) string {
	switch {
	case d.Meshed:
		return " meshed " + d.Identity
	case d.Mutual:
		return " mutual " + d.Identity
	case d.Identity != "":
		return " " + d.Identity
	}
	return ""
}
