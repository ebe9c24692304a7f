package discovery

import (
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// The functions of this file tell the fields of the messages of api/fairlead/v1/resource.proto, one line per field, in ascending
// order of the numbers. Each serves all directions; the .proto file is printed from them (go test -update).
//
// What an older sidecar makes of a field or value that it does not know is decided here, when it is added
// (docs/adr/0013-versions-of-the-wire.md): a field from number mustKnow on, a field of a strict message, or a value without
// a safe substitute takes route, backend or endpoint with it, or the resource; everything else is obeyed without.

func keyFields(c *coder, k *model.Key) {
	text(c, 1, "namespace", &k.Namespace)
	text(c, 2, "name", &k.Name)
}

func localityFields(c *coder, l *model.Locality) {
	text(c, 1, "region", &l.Region)
	text(c, 2, "zone", &l.Zone)
	text(c, 3, "sub_zone", &l.SubZone)
}

func destinationFields(c *coder, d *plan.Destination) {
	text(c, 1, "name", &d.Name)
	text(c, 2, "host", &d.Host)
	c.uint16(3, "port", &d.Port)
	part(c, 4, "service", &d.Service, keyFields)
	enum(c, 5, "protocol", &d.Protocol, upTo(model.UDP, model.Undeclared))
	list(c, 6, "routes", &d.Routes, routeFields)
	list(c, 7, "tcp", &d.TCP, tcpRouteFields)
	list(c, 8, "backends", &d.Backends, backendFields)
	c.addrs(9, "addresses", &d.Addresses)
	text(c, 10, "seal", &d.Seal)
	list(c, mustKnow, "selected", &d.Selected, selectedFields)
}

// selectedFields: calls that a rule is for must not go on without it.
func selectedFields(c *coder, s *plan.SelectedBackend) {
	c.strict()
	c.uint16(1, "backend", &s.Backend)
	c.labels(2, "selector", &s.Selector)
	part(c, 3, "value", &s.Value, backendFields)
}

func backendFields(c *coder, b *plan.Backend) {
	around := c.unit()
	text(c, 1, "name", &b.Name)
	text(c, 2, "host", &b.Host)
	c.uint16(3, "port", &b.Port)
	text(c, 4, "subset", &b.Subset)
	part(c, 5, "service", &b.Service, keyFields)
	text(c, 6, "rule", &b.Rule)
	enum(c, 7, "resolution", &b.Resolution, upTo(model.ResolveDynamicDNS, model.ResolveSlices))
	text(c, 8, "missing", &b.Missing)
	c.int(9, "missing_status", &b.MissingStatus)
	c.texts(10, "shards", &b.Shards)
	list(c, 11, "dns", &b.DNS, dnsEndpointFields)
	enum(c, 12, "lb", &b.LB, upTo(model.Utilization, model.LeastRequest))
	part(c, 13, "tls", &b.TLS, tlsFields)
	c.duration(14, "connect_timeout", &b.ConnectTimeout)
	c.duration(15, "tcp_idle_timeout", &b.TCPIdleTimeout)
	c.duration(16, "http_idle_timeout", &b.HTTPIdleTimeout)
	c.uint32(17, "max_connections", &b.MaxConnections)
	c.uint32(18, "max_pending_requests", &b.MaxPendingRequests)
	c.uint32(19, "max_requests", &b.MaxRequests)
	c.uint32(20, "max_requests_per_connection", &b.MaxRequestsPerConnection)
	enum(c, 21, "proximity", &b.Proximity, upTo(model.OnlySameNode, model.AnyDistance))
	c.bool(22, "client_affinity", &b.ClientAffinity)
	part(c, 23, "hash", &b.Hash, hashPolicyFields)
	optional(c, 24, "outlier", &b.Outlier, outlierDetectionFields)
	optional(c, 25, "locality", &b.Locality, localityLBFields)
	optional(c, 30, "warm_up", &b.WarmUp, warmUpFields)
	optional(c, 31, "load", &b.Load, backendUtilizationFields)
	c.duration(34, "max_connection_duration", &b.MaxConnectionDuration)
	part(c, 35, "keep_alive", &b.KeepAlive, tcpKeepAliveFields)
	c.uint32(36, "max_retries", &b.MaxRetries)
	c.uint32(37, "max_concurrent_streams", &b.MaxConcurrentStreams)
	part(c, 38, "ping", &b.Ping, http2KeepAliveFields)
	c.bool(39, "upgrade", &b.Upgrade)
	optional(c, 40, "retry_budget", &b.RetryBudget, retryBudgetFields)
	c.bool(41, "upgrade_apps", &b.UpgradeApps)
	text(c, 42, "credential", &b.Credential)
	text(c, 43, "roots", &b.Roots)
	c.bool(44, "tunnel_http2", &b.TunnelHTTP2)
	c.duration(45, "affinity_timeout", &b.AffinityTimeout)
	optional(c, mustKnow, "tunnel", &b.Tunnel, tunnelFields)
	c.uint32(mustKnow+1, "proxy_protocol", &b.ProxyProtocol)
	if c.refused(around) { // plaintext, or another peer's certificate, would be a guess
		b.Missing, b.MissingStatus = "this sidecar is too old for how its endpoints are to be called", 503
	}
}

// tunnelFields: what a forward proxy gets without a request for the tunnel is not meant for it.
func tunnelFields(c *coder, t *model.Tunnel) {
	c.bool(1, "post", &t.Post)
	text(c, 2, "target", &t.Target)
}

func tcpKeepAliveFields(c *coder, k *model.TCPKeepAlive) {
	c.uint32(1, "probes", &k.Probes)
	c.duration(2, "time", &k.Time)
	c.duration(3, "interval", &k.Interval)
}

func http2KeepAliveFields(c *coder, k *model.HTTP2KeepAlive) {
	c.duration(1, "interval", &k.Interval)
	c.duration(2, "timeout", &k.Timeout)
}

// retryBudgetFields: a sidecar that does not know the budget keeps its own, which bounds retries too.
func retryBudgetFields(c *coder, b *model.RetryBudget) {
	c.double(1, "percent", &b.Percent)
	c.uint32(2, "min_concurrency", &b.MinConcurrency)
	c.duration(3, "interval", &b.Interval)
}

func outlierDetectionFields(c *coder, o *model.OutlierDetection) {
	c.uint32(1, "consecutive_5xx", &o.Consecutive5xx)
	c.uint32(2, "consecutive_gateway", &o.ConsecutiveGateway)
	c.uint32(3, "consecutive_local", &o.ConsecutiveLocal)
	c.bool(4, "split_local", &o.SplitLocal)
	c.ints(5, "codes", &o.Codes)
	c.duration(6, "interval", &o.Interval)
	c.duration(7, "base_ejection_time", &o.BaseEjectionTime)
	c.uint32(8, "max_ejection_percent", &o.MaxEjectionPercent)
	c.uint32(9, "min_health_percent", &o.MinHealthPercent)
	optional(c, 10, "accrual", &o.Accrual, (*coder).failureAccrual)
	c.uint32(11, "failure_percent", &o.FailurePercent)
}

// failureAccrual is not known to older sidecars: they eject nothing, for what else they are told allows none.
func (c *coder) failureAccrual(a *model.FailureAccrual) {
	c.duration(1, "min_penalty", &a.MinPenalty)
	c.duration(2, "max_penalty", &a.MaxPenalty)
	c.double(3, "jitter", &a.Jitter)
}

func warmUpFields(c *coder, w *model.WarmUp) {
	c.duration(1, "duration", &w.Duration)
	c.double(2, "minimum_percent", &w.MinimumPercent)
	c.double(3, "aggression", &w.Aggression)
}

func localityLBFields(c *coder, l *model.LocalityLB) {
	c.bool(1, "off", &l.Off)
	list(c, 2, "distribute", &l.Distribute, localitySharesFields)
	list(c, 3, "failover", &l.Failover, regionFailoverFields)
	c.texts(4, "failover_priority", &l.FailoverPriority)
}

func localitySharesFields(c *coder, s *model.LocalityShares) {
	text(c, 1, "from", &s.From)
	list(c, 2, "to", &s.To, localityShareFields)
}

func localityShareFields(c *coder, s *model.LocalityShare) {
	text(c, 1, "to", &s.To)
	c.uint32(2, "percent", &s.Percent)
}

func regionFailoverFields(c *coder, f *model.RegionFailover) {
	text(c, 1, "from", &f.From)
	text(c, 2, "to", &f.To)
}

func backendUtilizationFields(c *coder, u *model.BackendUtilization) {
	c.duration(1, "stabilization", &u.Stabilization)
	c.duration(2, "expiration", &u.Expiration)
	c.duration(3, "update", &u.Update)
	c.double(4, "error_penalty", &u.ErrorPenalty)
	c.texts(5, "metrics", &u.Metrics)
}

func hashPolicyFields(c *coder, h *model.HashPolicy) {
	enum(c, 1, "by", &h.By, upTo(model.HashByQuery, model.HashByNothing))
	text(c, 2, "name", &h.Name)
	c.uint32(3, "table_size", &h.TableSize)
	c.bool(4, "issue", &h.Issue)
	c.duration(5, "ttl", &h.TTL)
	text(c, 6, "path", &h.Path)
	list(c, 7, "attributes", &h.Attributes, headerValueFields)
	c.uint32(8, "balance_factor", &h.BalanceFactor)
}

func dnsEndpointFields(c *coder, e *plan.DNSEndpoint) {
	text(c, 1, "host", &e.Host)
	c.uint16(2, "port", &e.Port)
	c.uint32(3, "weight", &e.Weight)
	part(c, 4, "locality", &e.Locality, localityFields)
	c.texts(5, "labels", &e.Labels)
	c.bool(1001, "meshed", &e.Meshed)
	c.bool(1002, "mutual", &e.Mutual)
	text(c, 1003, "identity", &e.Identity)
}

func tlsFields(c *coder, t *model.TLSSettings) {
	c.strict()
	enum(c, 1, "mode", &t.Mode, upTo(model.TLSIstioMutual, model.TLSUnset).orRefuse())
	text(c, 2, "sni", &t.SNI)
	c.texts(3, "subject_alt_names", &t.SubjectAltNames)
	text(c, 4, "client_cert", &t.ClientCert)
	text(c, 5, "key", &t.Key)
	text(c, 6, "ca_cert", &t.CACert)
	text(c, 7, "credential_name", &t.CredentialName)
	c.bool(8, "insecure_skip_verify", &t.InsecureSkipVerify)
	text(c, 9, "ca_crl", &t.CRL)
	text(c, 10, "ca_credential_name", &t.CACredentialName)
}

func routeFields(c *coder, r *plan.Route) {
	around := c.unit()
	text(c, 1, "name", &r.Name)
	text(c, 2, "origin", &r.Origin)
	list(c, 3, "matches", &r.Matches, httpMatchFields)
	optional(c, 4, "redirect", &r.Redirect, redirectFields)
	optional(c, 5, "direct", &r.Direct, directFields)
	list(c, 6, "backends", &r.Backends, weightedFields)
	optional(c, 7, "rewrite", &r.Rewrite, rewriteFields)
	part(c, 8, "headers", &r.Headers, headerOpsFields)
	c.duration(9, "timeout", &r.Timeout)
	c.duration(10, "backend_timeout", &r.BackendTimeout)
	part(c, 11, "retry", &r.Retry, retryFields)
	optional(c, 12, "fault", &r.Fault, faultFields)
	list(c, 13, "mirrors", &r.Mirrors, mirrorFields)
	optional(c, 14, "session", &r.Session, sessionFields)
	optional(c, 15, "cors", &r.CORS, corsFields)
	c.duration(16, "idle_timeout", &r.IdleTimeout)
	c.duration(17, "response_timeout", &r.ResponseTimeout)
	c.texts(18, "stats", &r.Stats)
	if c.refused(around) {
		refuseRoute(r)
	}
}

// refuseRoute answers requests for which a condition may hold that this sidecar does not understand: to pass them on to the
// next route could open what this one closes. What is left of the conditions is kept: the answer is for those that they
// cover.
func refuseRoute(r *plan.Route) {
	r.Redirect, r.Backends, r.Mirrors = nil, nil, nil
	r.Direct = &model.DirectResponse{Status: 503, Body: []byte("this sidecar is too old for a part of " + r.Origin + "\n")}
}

func stringMatchFields(c *coder, m *model.StringMatch) {
	c.strict()
	before := c.left.count
	enum(c, 1, "kind", &m.Kind, upTo(model.Present, model.Present).orRefuse())
	text(c, 2, "value", &m.Value)
	c.bool(3, "ignore_case", &m.IgnoreCase)
	if c.missing(before) { // its route is refused, for every request that it may be for
		*m = model.StringMatch{Kind: model.Present}
	}
}

func namedMatchFields(c *coder, m *model.NamedMatch) {
	c.strict()
	before := c.left.count
	text(c, 1, "name", &m.Name)
	part(c, 2, "match", &m.Match, stringMatchFields)
	c.bool(3, "invert", &m.Invert)
	if c.missing(before) { // its route is refused, for requests with the header
		m.Match, m.Invert = model.StringMatch{Kind: model.Present}, false
	}
}

func httpMatchFields(c *coder, m *model.HTTPMatch) {
	c.strict()
	text(c, 1, "name", &m.Name)
	optional(c, 2, "uri", &m.URI, stringMatchFields)
	optional(c, 3, "scheme", &m.Scheme, stringMatchFields)
	optional(c, 4, "method", &m.Method, stringMatchFields)
	optional(c, 5, "authority", &m.Authority, stringMatchFields)
	list(c, 6, "headers", &m.Headers, namedMatchFields)
	list(c, 7, "query", &m.Query, namedMatchFields)
	c.uint16(8, "port", &m.Port)
	c.labels(9, "source_labels", &m.SourceLabels)
	text(c, 10, "source_namespace", &m.SourceNamespace)
}

func redirectFields(c *coder, r *model.Redirect) {
	text(c, 1, "scheme", &r.Scheme)
	text(c, 2, "authority", &r.Authority)
	text(c, 3, "path", &r.Path)
	c.bool(4, "replace_prefix", &r.ReplacePrefix)
	c.bool(5, "has_path", &r.HasPath)
	c.uint16(6, "port", &r.Port)
	enum(c, 7, "port_mode", &r.PortMode, upTo(model.PortFromRequestAlways, model.PortKeep))
	c.int(8, "code", &r.Code)
}

func directFields(c *coder, d *model.DirectResponse) {
	c.int(1, "status", &d.Status)
	c.bytes(2, "body", &d.Body)
}

func rewriteFields(c *coder, r *model.Rewrite) {
	text(c, 1, "authority", &r.Authority)
	text(c, 2, "path", &r.Path)
	c.bool(3, "has_path", &r.HasPath)
	c.bool(4, "replace_prefix", &r.ReplacePrefix)
	text(c, 5, "regex", &r.Regex)
	text(c, 6, "substitution", &r.Substitution)
}

func headerOpsFields(c *coder, h *model.HeaderOps) {
	part(c, 1, "request", &h.Request, headerChangeFields)
	part(c, 2, "response", &h.Response, headerChangeFields)
}

func headerChangeFields(c *coder, h *model.HeaderChange) {
	list(c, 1, "set", &h.Set, headerValueFields)
	list(c, 2, "add", &h.Add, headerValueFields)
	c.texts(3, "remove", &h.Remove)
}

func headerValueFields(c *coder, h *model.HeaderValue) {
	text(c, 1, "name", &h.Name)
	text(c, 2, "value", &h.Value)
	text(c, 1001, "template", &h.Template)
}

func weightedFields(c *coder, w *plan.WeightedBackend) {
	c.uint16(1, "backend", &w.Backend)
	c.uint32(2, "weight", &w.Weight)
	part(c, 3, "headers", &w.Headers, headerOpsFields)
	optional(c, 4, "rewrite", &w.Rewrite, rewriteFields)
}

func retryFields(c *coder, r *model.Retry) {
	c.int(1, "attempts", &r.Attempts)
	c.duration(2, "per_try_timeout", &r.PerTryTimeout)
	c.texts(3, "on", &r.On)
	c.ints(4, "codes", &r.Codes)
	c.duration(5, "backoff", &r.Backoff)
	c.bool(6, "remote_localities", &r.RemoteLocalities)
	c.bool(7, "same_hosts", &r.SameHosts)
}

func faultFields(c *coder, f *model.Fault) {
	c.duration(1, "delay", &f.Delay)
	c.double(2, "delay_percent", &f.DelayPercent)
	c.int(3, "abort_status", &f.AbortStatus)
	c.double(4, "abort_percent", &f.AbortPercent)
	text(c, 5, "abort_grpc", &f.AbortGRPC)
}

// corsFields: pages of other origins may read less where a sidecar does not know a part of it, for what is not said is not
// allowed.
func corsFields(c *coder, p *model.CORS) {
	list(c, 1, "origins", &p.Origins, stringMatchFields)
	text(c, 2, "methods", &p.Methods)
	text(c, 3, "headers", &p.Headers)
	text(c, 4, "expose", &p.Expose)
	c.duration(5, "max_age", &p.MaxAge)
	c.bool(6, "credentials", &p.Credentials)
	c.bool(7, "ignore", &p.Ignore)
}

// A sidecar that does not know a part of it keeps fewer calls together: which endpoint is called stays a choice among those
// that may be.
func sessionFields(c *coder, s *plan.Session) {
	enum(c, 1, "by", &s.By, upTo(model.SessionByHeader, model.SessionByNothing))
	text(c, 2, "name", &s.Name)
	c.duration(3, "timeout", &s.Timeout)
	c.bool(4, "permanent", &s.Permanent)
	c.texts(5, "paths", &s.Paths)
	text(c, 6, "scope", &s.Scope)
}

func sealFields(c *coder, s *plan.Seal) {
	text(c, 1, "name", &s.Name)
	c.texts(2, "keys", &s.Keys)
}

func credentialFields(c *coder, v *plan.Credential) {
	text(c, 1, "name", &v.Name)
	text(c, 2, "cert", &v.Cert)
	text(c, 3, "key", &v.Key)
	text(c, 4, "ca", &v.CA)
	text(c, 5, "crl", &v.CRL)
	text(c, 6, "source", &v.Source)
	text(c, 7, "problem", &v.Problem)
}

func mirrorFields(c *coder, m *plan.Mirror) {
	c.uint16(1, "backend", &m.Backend)
	c.double(2, "percent", &m.Percent)
}

func tcpRouteFields(c *coder, r *plan.TCPRoute) {
	around := c.unit()
	text(c, 1, "origin", &r.Origin)
	list(c, 2, "matches", &r.Matches, tcpMatchFields)
	list(c, 3, "backends", &r.Backends, weightedFields)
	if c.refused(around) {
		r.Backends = nil // connections that it may be for are reset
	}
}

func tcpMatchFields(c *coder, m *model.TCPMatch) {
	c.strict()
	c.texts(1, "destination_subnets", &m.DestinationSubnets)
	c.uint16(2, "port", &m.Port)
	c.texts(3, "sni", &m.SNI)
	c.labels(4, "source_labels", &m.SourceLabels)
	text(c, 5, "source_namespace", &m.SourceNamespace)
	text(c, 6, "source_subnet", &m.SourceSubnet)
}

func dnsNameFields(c *coder, n *plan.DNSName) {
	text(c, 1, "host", &n.Host)
	c.addrs(2, "addresses", &n.Addresses)
	text(c, 3, "cname", &n.CNAME)
	c.duration(4, "ttl", &n.TTL)
}

func trustFields(c *coder, t *plan.TrustBundle) {
	text(c, 1, "trust_domain", &t.TrustDomain)
	c.texts(2, "roots", &t.Roots)
	c.texts(3, "aliases", &t.Aliases)
	c.texts(4, "root_domains", &t.RootDomains) // who does not know it takes every root for every trust domain of the mesh, as it did before
}

func meshFields(c *coder, m *plan.MeshGlobal) {
	c.bool(4, "refuse_unknown", &m.RefuseUnknown)
	enum(c, 5, "access_log", &m.AccessLog, upTo(plan.AccessLogJSON, plan.AccessLogText))
	enum(c, 6, "path_normalization", &m.Paths, upTo(plan.PathDecodeAndMergeSlashes, plan.PathDecodeAndMergeSlashes))
	c.uint16s(7, "named_ports", &m.NamedPorts)
	part(c, 8, "limits", &m.Limits, limitsFields)
	c.bool(9, "no_inbound_retries", &m.NoInboundRetries)
	part(c, 10, "log_format", &m.LogFormat, logFormatFields)
	c.bool(11, "native_histograms", &m.NativeHistograms)
}

func limitsFields(c *coder, l *plan.Limits) {
	c.duration(1, "idle", &l.Idle)
	c.duration(2, "detection", &l.Detection)
	c.duration(3, "stream_idle", &l.StreamIdle)
	c.uint32(4, "head_bytes", &l.HeadBytes)
	c.uint32(5, "connections", &l.Connections)
	c.uint32(6, "peer_requests", &l.PeerRequests)
}
