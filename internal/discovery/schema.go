package discovery

import (
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// The functions of this file describe the messages of api/fairlead/v1/resource.proto, one line per field, in ascending
// order of the numbers written there. Each serves both directions.

func (c *coder) key(k *model.Key) {
	text(c, 1, &k.Namespace)
	text(c, 2, &k.Name)
}

func (c *coder) locality(l *model.Locality) {
	text(c, 1, &l.Region)
	text(c, 2, &l.Zone)
	text(c, 3, &l.SubZone)
}

func (c *coder) destination(d *plan.Destination) {
	text(c, 1, &d.Name)
	text(c, 2, &d.Host)
	c.uint16(3, &d.Port)
	part(c, 4, &d.Service, (*coder).key)
	enum(c, 5, &d.Protocol, model.UDP, model.Undeclared)
	list(c, 6, &d.Routes, (*coder).route)
	list(c, 7, &d.TCP, (*coder).tcpRoute)
	list(c, 8, &d.Backends, (*coder).backend)
	c.addrs(9, &d.Addresses)
	c.bool(11, &d.OutOfMesh)
}

func (c *coder) backend(b *plan.Backend) {
	text(c, 1, &b.Name)
	text(c, 2, &b.Host)
	c.uint16(3, &b.Port)
	text(c, 4, &b.Subset)
	part(c, 5, &b.Service, (*coder).key)
	text(c, 6, &b.Rule)
	text(c, 7, &b.Type)
	text(c, 8, &b.Missing)
	c.int(9, &b.MissingStatus)
	c.texts(10, &b.Shards)
	list(c, 11, &b.DNS, (*coder).dnsEndpoint)
	enum(c, 12, &b.LB, model.Passthrough, model.LeastRequest)
	part(c, 13, &b.TLS, (*coder).tls)
	if c.unknownTLS { // plaintext, or another peer's certificate, would be a guess
		c.unknownTLS = false
		b.Missing, b.MissingStatus = "this sidecar is too old for the TLS mode of the DestinationRule", 503
	}
	c.duration(14, &b.ConnectTimeout)
	c.duration(15, &b.TCPIdleTimeout)
	c.duration(16, &b.HTTPIdleTimeout)
	c.uint32(17, &b.MaxConnections)
	c.uint32(18, &b.MaxPendingRequests)
	c.uint32(19, &b.MaxRequests)
	c.uint32(20, &b.MaxRequestsPerConnection)
	enum(c, 21, &b.Proximity, model.OnlySameNode, model.AnyDistance)
	c.bool(22, &b.ClientAffinity)
}

func (c *coder) dnsEndpoint(e *plan.DNSEndpoint) {
	text(c, 1, &e.Host)
	c.uint16(2, &e.Port)
	c.uint32(3, &e.Weight)
}

func (c *coder) tls(t *model.TLSSettings) {
	before := c.newer
	enum(c, 1, &t.Mode, model.TLSIstioMutual, model.TLSUnset)
	c.unknownTLS = c.newer > before
	text(c, 2, &t.SNI)
	c.texts(3, &t.SubjectAltNames)
	text(c, 4, &t.ClientCert)
	text(c, 5, &t.Key)
	text(c, 6, &t.CACert)
	text(c, 7, &t.CredentialName)
	c.bool(8, &t.InsecureSkipVerify)
}

func (c *coder) route(r *plan.Route) {
	text(c, 1, &r.Name)
	text(c, 2, &r.Origin)
	list(c, 3, &r.Matches, (*coder).httpMatch)
	optional(c, 4, &r.Redirect, (*coder).redirect)
	optional(c, 5, &r.Direct, (*coder).direct)
	list(c, 6, &r.Backends, (*coder).weighted)
	optional(c, 7, &r.Rewrite, (*coder).rewrite)
	part(c, 8, &r.Headers, (*coder).headerOps)
	c.duration(9, &r.Timeout)
	c.duration(10, &r.BackendTimeout)
	part(c, 11, &r.Retry, (*coder).retry)
	optional(c, 12, &r.Fault, (*coder).fault)
	list(c, 13, &r.Mirrors, (*coder).mirror)
	if c.unknownMatch {
		c.unknownMatch = false
		refuseRoute(r)
	}
}

// refuseRoute answers requests for which a condition may hold that this sidecar does not understand: to pass them on to the
// next route could open what this one closes.
func refuseRoute(r *plan.Route) {
	r.Redirect, r.Backends, r.Mirrors = nil, nil, nil
	r.Direct = &model.DirectResponse{Status: 503, Body: []byte("this sidecar is too old for a match of " + r.Origin + "\n")}
}

func (c *coder) stringMatch(m *model.StringMatch) {
	before := c.newer
	enum(c, 1, &m.Kind, model.Present, model.Present)
	c.unknownMatch = c.unknownMatch || c.newer > before
	text(c, 2, &m.Value)
	c.bool(3, &m.IgnoreCase)
}

func (c *coder) namedMatch(m *model.NamedMatch) {
	before := c.newer
	text(c, 1, &m.Name)
	part(c, 2, &m.Match, (*coder).stringMatch)
	c.bool(3, &m.Invert)
	if c.newer > before {
		m.Invert = false
	}
}

func (c *coder) httpMatch(m *model.HTTPMatch) {
	text(c, 1, &m.Name)
	optional(c, 2, &m.URI, (*coder).stringMatch)
	optional(c, 3, &m.Scheme, (*coder).stringMatch)
	optional(c, 4, &m.Method, (*coder).stringMatch)
	optional(c, 5, &m.Authority, (*coder).stringMatch)
	list(c, 6, &m.Headers, (*coder).namedMatch)
	list(c, 7, &m.Query, (*coder).namedMatch)
	c.uint16(8, &m.Port)
	c.labels(9, &m.SourceLabels)
	text(c, 10, &m.SourceNamespace)
}

func (c *coder) redirect(r *model.Redirect) {
	text(c, 1, &r.Scheme)
	text(c, 2, &r.Authority)
	text(c, 3, &r.Path)
	c.bool(4, &r.ReplacePrefix)
	c.bool(5, &r.HasPath)
	c.uint16(6, &r.Port)
	enum(c, 7, &r.PortMode, model.PortFromRequestAlways, model.PortKeep)
	c.int(8, &r.Code)
}

func (c *coder) direct(d *model.DirectResponse) {
	c.int(1, &d.Status)
	c.bytes(2, &d.Body)
}

func (c *coder) rewrite(r *model.Rewrite) {
	text(c, 1, &r.Authority)
	text(c, 2, &r.Path)
	c.bool(3, &r.HasPath)
	c.bool(4, &r.ReplacePrefix)
	text(c, 5, &r.Regex)
	text(c, 6, &r.Substitution)
}

func (c *coder) headerOps(h *model.HeaderOps) {
	part(c, 1, &h.Request, (*coder).headerChange)
	part(c, 2, &h.Response, (*coder).headerChange)
}

func (c *coder) headerChange(h *model.HeaderChange) {
	list(c, 1, &h.Set, (*coder).headerValue)
	list(c, 2, &h.Add, (*coder).headerValue)
	c.texts(3, &h.Remove)
}

func (c *coder) headerValue(h *model.HeaderValue) {
	text(c, 1, &h.Name)
	text(c, 2, &h.Value)
}

func (c *coder) weighted(w *plan.WeightedBackend) {
	c.uint16(1, &w.Backend)
	c.uint32(2, &w.Weight)
	part(c, 3, &w.Headers, (*coder).headerOps)
	optional(c, 4, &w.Rewrite, (*coder).rewrite)
}

func (c *coder) retry(r *model.Retry) {
	c.int(1, &r.Attempts)
	c.duration(2, &r.PerTryTimeout)
	c.texts(3, &r.On)
	c.ints(4, &r.Codes)
	c.duration(5, &r.Backoff)
}

func (c *coder) fault(f *model.Fault) {
	c.duration(1, &f.Delay)
	c.double(2, &f.DelayPercent)
	c.int(3, &f.AbortStatus)
	c.double(4, &f.AbortPercent)
}

func (c *coder) mirror(m *plan.Mirror) {
	c.uint16(1, &m.Backend)
	c.double(2, &m.Percent)
}

func (c *coder) tcpRoute(r *plan.TCPRoute) {
	text(c, 1, &r.Origin)
	list(c, 2, &r.Matches, (*coder).tcpMatch)
	list(c, 3, &r.Backends, (*coder).weighted)
}

func (c *coder) tcpMatch(m *model.TCPMatch) {
	c.texts(1, &m.DestinationSubnets)
	c.uint16(2, &m.Port)
	c.texts(3, &m.SNI)
	c.labels(4, &m.SourceLabels)
	text(c, 5, &m.SourceNamespace)
}

func (c *coder) workloadInfo(i *plan.WorkloadInfo) {
	text(c, 1, &i.Namespace)
	text(c, 2, &i.Pod)
	text(c, 3, &i.Name)
	text(c, 4, &i.App)
	text(c, 5, &i.Version)
	text(c, 6, &i.CanonicalName)
	text(c, 7, &i.CanonicalRevision)
	text(c, 8, &i.Cluster)
	text(c, 9, &i.Node)
}

func (c *coder) workload(w *plan.Workload) {
	c.addr(1, &w.IP)
	part(c, 2, &w.Key, (*coder).key)
	c.addrs(3, &w.IPs)
	text(c, 4, &w.ServiceAccount)
	text(c, 5, &w.Identity)
	c.bool(6, &w.Meshed)
	part(c, 7, &w.Locality, (*coder).locality)
	part(c, 8, &w.Info, (*coder).workloadInfo)
	c.labels(9, &w.Labels)
	text(c, 10, &w.Inbound)
}

func (c *coder) inbound(p *plan.InboundPolicy) {
	text(c, 1, &p.Name)
	list(c, 2, &p.Ports, (*coder).inboundPort)
	enum(c, 3, &p.MTLS, model.MTLSDisable, model.MTLSStrict)
	text(c, 4, &p.MTLSOrigin)
}

func (c *coder) inboundPort(p *plan.InboundPort) {
	c.uint16(1, &p.Port)
	enum(c, 2, &p.Protocol, model.UDP, model.Undeclared)
	enum(c, 3, &p.MTLS, model.MTLSDisable, model.MTLSStrict)
	part(c, 4, &p.Service, (*coder).key)
	text(c, 5, &p.Host)
	text(c, 6, &p.MTLSOrigin)
}

func (c *coder) dnsName(n *plan.DNSName) {
	text(c, 1, &n.Host)
	c.addrs(2, &n.Addresses)
	text(c, 3, &n.CNAME)
	c.duration(4, &n.TTL)
}

func (c *coder) trust(t *plan.TrustBundle) {
	text(c, 1, &t.TrustDomain)
	c.texts(2, &t.Roots)
	c.texts(3, &t.Aliases)
}

func (c *coder) mesh(m *plan.MeshGlobal) {
	text(c, 1, &m.TrustDomain)
	text(c, 2, &m.ClusterDomain)
	text(c, 3, &m.ClusterID)
	c.bool(4, &m.RefuseUnknown)
	enum(c, 5, &m.AccessLog, plan.AccessLogJSON, plan.AccessLogText)
	enum(c, 6, &m.Paths, plan.PathDecodeAndMergeSlashes, plan.PathDecodeAndMergeSlashes)
	packed(c, 7, &m.NamedPorts, func(p uint16) uint64 { return uint64(p) }, func(u uint64) uint16 { return uint16(u) }) //nolint:gosec // what is no port names none
}
