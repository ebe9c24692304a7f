package proxy

import (
	"math"
	"net"
	"net/netip"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/directory"
	"fairlead.dev/fairlead/internal/proxy/trace"
	"fairlead.dev/fairlead/internal/telemetry"
)

// dump prints what the proxy knows. It decides nothing: every value is the one that the data path reads.
func (p *Proxy) dump() admin.Dump {
	d := admin.Dump{
		Pod: p.o.Pod.Name, Namespace: p.o.Pod.Namespace, Version: p.o.Version,
		Control: admin.ControlDump{Connected: p.discovery.Connected(), Stale: p.discovery.Stale(), LastSync: p.discovery.LastSync()},
	}
	for _, dest := range p.directory.Destinations() {
		dumpDestination(&d, p.directory, dest)
	}
	p.dumpInbound(&d)
	dumpTelemetry(&d, p)
	p.dumpSecrets(&d)
	p.dumpCredentials(&d)
	return d
}

// describeResolution gives Istio's type of a cluster, nothing where nothing is behind it.
func describeResolution(r model.Resolution) string {
	if r == 0 {
		return ""
	}
	return r.String()
}

func dumpDestination(d *admin.Dump, t *directory.Directory, c *directory.Destination) {
	for _, b := range c.Backends {
		d.Clusters = append(d.Clusters, dumpCluster(b))
		d.Endpoints = append(d.Endpoints, dumpEndpoints(b)...)
		for _, named := range t.Names(b) {
			d.Endpoints = append(d.Endpoints, dumpEndpoints(named)...)
		}
	}
	d.Routes = append(d.Routes, dumpRoutes(c)...)
	for _, a := range c.Plan.Addresses {
		d.Listeners = append(d.Listeners, admin.ListenerDump{
			Address: a.String(), Port: c.Plan.Port, Match: "Protocol: " + c.Plan.Protocol.String(),
			Destination: "Route: " + hostPort(c.Plan.Host, c.Plan.Port),
		})
	}
}

func dumpCluster(b *directory.Backend) admin.ClusterDump {
	return admin.ClusterDump{
		Name: b.Plan.Name, FQDN: string(b.Plan.Host), Port: b.Plan.Port, Subset: b.Plan.Subset, Direction: "outbound",
		Type: describeResolution(b.Plan.Resolution), DestinationRule: b.Plan.Rule, LoadBalancer: describeLB(b.Plan), Proximity: describeProximity(b.Plan),
		HashBalance: b.Plan.Hash.BalanceFactor, Missing: b.Plan.Missing,
		Limits: dumpLimits(b.Group.Uses()), ConnectionPool: describePool(&b.Plan.ConnectionPool),
	}
}

// describeLB is the algorithm in Istio's spelling; for a Service's sessionAffinity Istio has none.
func describeLB(b *plan.Backend) string {
	switch {
	case b.ClientAffinity:
		return "CLIENT_IP"
	case b.LB == model.LBUnset:
		return model.LeastRequest.String()
	}
	return b.LB.String()
}

// describeProximity says how calls depend on distance, in the words of what says it; nothing where they do not.
func describeProximity(b *plan.Backend) string {
	if b.Locality != nil {
		return b.Locality.String()
	}
	if b.Proximity == model.AnyDistance {
		return ""
	}
	return b.Proximity.String()
}

func dumpEndpoints(b *directory.Backend) []admin.EndpointDump {
	p := b.Picker()
	standings := p.Standings()
	out := make([]admin.EndpointDump, 0, len(p.All()))
	for i, e := range p.All() {
		one := dumpEndpoint(b.Plan, e)
		if standings != nil {
			s := standings[i]
			one.Panic, one.Unused = s.Panic, s.Unused
			if s.Level >= 0 {
				percent := math.Round(s.Load)
				one.Level, one.LevelPercent = &s.Level, &percent
			}
		}
		out = append(out, one)
	}
	return out
}

func dumpEndpoint(b *plan.Backend, e *directory.Endpoint) admin.EndpointDump {
	outlier, why := "OK", ""
	switch {
	case e.Silent():
		outlier, why = "FAILED", "silent: its sidecar was asked, and nothing has come since; others are called first"
	case e.Ejected(time.Now):
		outlier, why = "FAILED", "connections refused of late"
	}
	if cause, until, ok := e.Outlier(time.Now()); ok {
		if outlier, why = "FAILED", cause+", until "+until.UTC().Format(time.RFC3339); time.Now().After(until) {
			why = cause + ", until a call succeeds"
		}
	}
	latency := ""
	if d, ok := e.Latency(time.Now()); ok {
		latency = d.Round(time.Microsecond).String()
	}
	var warmUp *float64
	if percent := math.Round(e.Warmth(b.WarmUp, time.Now())); percent < 100 && e.Plan.Health == plan.Healthy {
		warmUp = &percent
	}
	out := admin.EndpointDump{
		Latency: latency, WarmUp: warmUp, Reported: e.Reported(b.Load, time.Now()),
		Address: string(model.AppendAddr(nil, e.Plan.Addr)), Status: e.Plan.Health.String(), Outlier: outlier, OutlierReason: why, Cluster: b.Name,
		Weight: e.Plan.Weight, Active: e.Active(), MTLS: e.Attachment.Mutual(), Identity: e.Plan.Identity,
		Locality: e.Plan.Locality.String(), ClusterID: e.Plan.Workload.Cluster, Node: e.Plan.Workload.Node, Workload: e.Plan.Workload.Pod,
	}
	out.Network, out.Through = e.Plan.Network, e.Attachment.Through()
	for _, g := range e.Plan.Gateways {
		out.Gateways = append(out.Gateways, netip.AddrPortFrom(g.Addr, g.Port).String())
	}
	if e.Plan.Other.IsValid() {
		out.OtherAddress = netip.AddrPortFrom(e.Plan.Other, e.Plan.Addr.Port()).String()
	}
	if f := &e.Plan.Failure; e.Plan.Health == plan.Failing {
		out.Status = plan.Unhealthy.String() // istioctl's word
		failedCheck(&out, f.Policy, f.Why, time.Unix(int64(f.Since), 0))
	}
	return out
}

// failedCheck says that a health check took an endpoint away.
func failedCheck(e *admin.EndpointDump, policy, why string, since time.Time) {
	since = since.UTC()
	e.HealthCheck, e.HealthPolicy, e.HealthReason, e.HealthSince = "FAILED", policy, why, &since
}

// dumpTelemetry says what is recorded of calls, and which objects say so.
func dumpTelemetry(d *admin.Dump, p *Proxy) {
	origins := []string{}
	if policy := p.self.Policy(); policy != nil && policy.Telemetry != nil {
		origins = policy.Telemetry.Origins
	}
	for _, side := range []struct {
		name   string
		of     telemetry.Reporter
		traces *trace.Side
	}{{"CLIENT", telemetry.Source, &p.tracer.Client}, {"SERVER", telemetry.Destination, &p.tracer.Server}} {
		forms, filters := p.access.Describe(side.of)
		d.Telemetry = append(d.Telemetry, admin.TelemetryDump{
			Side: side.name, AccessLog: forms, Filter: filters, Metrics: p.metrics.DescribeMetrics(side.of),
			Traces: side.traces.Describe(), Origins: origins,
		})
	}
}

func (p *Proxy) dumpInbound(d *admin.Dump) {
	sockets := p.o.Sockets.addresses()
	for _, l := range []admin.ListenerDump{
		{Port: portOutbound, Match: "ALL", Destination: "virtualOutbound: by original destination"},
		{Port: portInbound, Match: "ALL", Destination: "virtualInbound: plain, by original destination"},
		{Port: portMesh, Match: "mutual TLS", Destination: "virtualInbound: mesh transport"},
		{Port: portDNS, Match: "DNS", Destination: "names of the mesh, others forwarded"},
		{Port: portReady, Match: "ALL", Destination: "Inline Route: /healthz/ready*"},
		{Port: portPrometheus, Match: "ALL", Destination: "Inline Route: /stats/prometheus*"},
	} {
		l.Address = sockets[l.Port]
		d.Listeners = append(d.Listeners, l)
	}
	policy := p.self.Policy()
	if policy == nil {
		return
	}
	own := p.o.IPs[0].String()
	found := p.checks.health()
	for _, port := range policy.Ports {
		name := "inbound|" + portString(port.Port) + "||"
		d.Listeners = append(d.Listeners, admin.ListenerDump{
			Address: own, Port: port.Port, Match: describeMTLS(port.MTLS, port.MTLSOrigin), Destination: "Cluster: " + name,
		})
		d.Clusters = append(d.Clusters, admin.ClusterDump{
			Name: name, FQDN: string(port.Host), Port: port.Port, Direction: "inbound", Type: "ORIGINAL_DST",
			DestinationRule: port.Rule, Limits: dumpLimits(p.self.Pool(port.Port).Uses()), ConnectionPool: describeAppPool(&port.Pool),
		})
		e := admin.EndpointDump{
			Address: net.JoinHostPort(own, portString(port.Port)), Status: plan.Healthy.String(), Outlier: "OK",
			Cluster: name, Weight: 1, Workload: p.o.Pod.Name,
		}
		for i := range policy.Checks {
			if r, ok := found.Result(policy.Checks[i].Policy); ok && r.Failing && policy.Checks[i].How.Port == port.Port {
				failedCheck(&e, "HealthCheckPolicy "+p.o.Pod.Namespace+"/"+r.Policy, r.Why, r.Since)
			}
		}
		d.Endpoints = append(d.Endpoints, e)
	}
	d.Listeners = append(d.Listeners, admin.ListenerDump{
		Address: own, Match: describeMTLS(policy.MTLS, policy.MTLSOrigin), Destination: "every other port",
	})
}

// describeMTLS is what a port takes, and which object says so.
func describeMTLS(mode model.MTLSMode, origin string) string {
	if origin == "" {
		return "mTLS " + mode.String()
	}
	return "mTLS " + mode.String() + " (" + origin + ")"
}

func (p *Proxy) dumpSecrets(d *admin.Dump) {
	if c := p.identity.Current(); c.Serial != "" {
		d.Secrets = append(d.Secrets, admin.SecretDump{
			Name: "default", Type: "Cert Chain", Status: "ACTIVE", Valid: c.Valid(time.Now()), Serial: c.Serial,
			NotBefore: c.NotBefore, NotAfter: c.NotAfter, TrustDomain: c.TrustDomain, Identity: c.ID,
		})
	}
	for _, c := range p.identity.Roots() {
		d.Secrets = append(d.Secrets, admin.SecretDump{
			Name: "ROOTCA", Type: "CA", Status: "ACTIVE", Valid: c.Valid(time.Now()), Serial: c.Serial,
			NotBefore: c.NotBefore, NotAfter: c.NotAfter, TrustDomain: c.TrustDomain,
		})
	}
}

// authority is an address as a request's Host has it.
func authority(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

func hostPort(h model.Hostname, port uint16) string {
	return net.JoinHostPort(string(h), portString(port))
}
