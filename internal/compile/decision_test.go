package compile_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/route"
	"fairlead.dev/fairlead/internal/store"
)

// decision prints what a proxy would do, leaving out what is default.
func decision(dst *plan.Destination, r *route.Route, req *httpx.Request) []string {
	var resp httpx.Response
	if pages := crossOrigin(r, req); pages != nil {
		return pages
	}
	if r.Local(req, &resp, dst.Port, nil) {
		out := []string{strings.TrimSpace(fmt.Sprintf("%d %s", resp.Status, r.LocalBody()))}
		if location := resp.Fields.Get("location"); location != nil {
			out = []string{fmt.Sprintf("%d %s", resp.Status, location)}
			resp.Fields.Del("location")
		}
		resp.Fields.Del("content-type")
		return append(out, changed("response", nil, &resp.Fields)...)
	}
	var out []string
	total := uint32(0)
	for _, b := range r.Plan.Backends {
		total += b.Weight
	}
	// Every backend gets a turn: the middle of its share of the random numbers.
	sum := uint32(0)
	var first []string
	for i, b := range r.Plan.Backends {
		chosen := r.Pick(uint64(float64(1<<63) * 2 * (float64(sum) + float64(b.Weight)/2) / float64(total)))
		if b.Weight == 0 { // it has no share: what comes here stays from before
			chosen = &r.Backends()[i]
		}
		sum += b.Weight
		line := cluster(&dst.Backends[chosen.Index])
		if len(r.Plan.Backends) > 1 {
			line = fmt.Sprintf("%d/%d %s", b.Weight, total, line)
		}
		changes := applied(r, chosen, req)
		if i == 0 {
			first = changes
		}
		out = append(out, line)
		if !slices.Equal(changes, first) || i == 0 {
			out = append(out, changes...)
		}
	}
	if r.StatPrefix != "" {
		out = append(out, "counted as "+r.StatPrefix)
	}
	return append(out, policies(dst, r.Plan)...)
}

// crossOrigin prints what a route says to a page of another origin, nothing where it has no word for it.
func crossOrigin(r *route.Route, req *httpx.Request) []string {
	if r.CORS() == nil {
		return nil
	}
	var resp httpx.Response
	origin, allowed := r.CORS().Origin(req)
	switch {
	case origin == nil:
		return []string{"of the same origin"}
	case allowed && !route.IsPreflight(req):
		r.CORS().Permit(&resp, origin)
		return append([]string{"read by the page"}, changed("response", nil, &resp.Fields)...)
	case allowed:
		r.CORS().Preflight(req, &resp, origin)
	case route.IsPreflight(req) && r.CORS().Ignore:
		r.CORS().Preflight(req, &resp, nil)
	default:
		return []string{"sent on, for no page to read"}
	}
	return append([]string{strconv.Itoa(resp.Status)}, changed("response", nil, &resp.Fields)...)
}

// applied prints what a route and one of its backends change in a request and its response.
func applied(r *route.Route, chosen *route.Backend, req *httpx.Request) []string {
	var sent httpx.Request
	fields := sent.Fields
	fields.CopyFrom(&req.Fields)
	sent = *req
	sent.Fields = fields
	facts := route.Facts{Request: &sent}
	r.ApplyRequest(&sent, chosen, &facts)
	sent.Fields.Del("x-envoy-original-path")
	var out []string
	if !bytes.Equal(sent.Path, req.Path) {
		out = append(out, "  path "+string(sent.Path))
	}
	if !bytes.Equal(sent.Authority, req.Authority) {
		out = append(out, "  host "+string(sent.Authority))
	}
	out = append(out, changed("request", &req.Fields, &sent.Fields)...)
	var resp httpx.Response
	resp.Fields.AddString("server", "app")
	before := resp.Fields
	var copied httpx.Fields
	copied.CopyFrom(&before)
	facts.Response = &resp
	r.ApplyResponse(&resp, chosen, &facts)
	return append(out, changed("response", &copied, &resp.Fields)...)
}

// changed prints the fields that went and those that came.
func changed(what string, before, after *httpx.Fields) []string {
	had, has := listed(before), listed(after)
	var out []string
	for _, f := range had {
		if !slices.Contains(has, f) {
			out = append(out, "  "+what+" -"+f)
		}
	}
	for _, f := range has {
		if !slices.Contains(had, f) {
			out = append(out, "  "+what+" +"+f)
		}
	}
	return out
}

func listed(f *httpx.Fields) []string {
	if f == nil {
		return nil
	}
	var out []string
	for i := range f.Len() {
		name, value := f.At(i)
		out = append(out, strings.ToLower(string(name))+": "+string(value))
	}
	return out
}

func cluster(b *plan.Backend) string {
	name := fmt.Sprintf("%s:%d", strings.TrimSuffix(string(b.Host), ".svc.cluster.local"), b.Port)
	if b.Subset != "" {
		name += "/" + b.Subset
	}
	if b.Missing != "" {
		err := httpx.Describe(&httpx.Error{Reason: httpx.NoCluster, Status: b.MissingStatus})
		name += fmt.Sprintf(" -> %d %s %s", err.Status, err.Flag, b.Missing)
	}
	return name
}

// policies prints how the calls of a route are made.
func policies(dst *plan.Destination, r *plan.Route) []string {
	var out []string
	if r.Timeout > 0 {
		out = append(out, "timeout "+r.Timeout.String())
	}
	if r.BackendTimeout > 0 {
		out = append(out, "backend timeout "+r.BackendTimeout.String())
	}
	if line := retries(r.Retry); line != "retry 2 on connect-failure,refused-stream,reset-before-request" {
		out = append(out, line)
	}
	if f := r.Fault; f != nil && f.DelayPercent > 0 {
		out = append(out, fmt.Sprintf("delay %s for %v%%", f.Delay, f.DelayPercent))
	}
	if f := r.Fault; f != nil && f.AbortPercent > 0 {
		line := fmt.Sprintf("abort %d for %v%%", f.AbortStatus, f.AbortPercent)
		if f.AbortGRPC != "" {
			line += ", gRPC " + f.AbortGRPC
		}
		out = append(out, line)
	}
	if s := r.Session; s != nil {
		line := fmt.Sprintf("session by %s %s for %s, %s", s.By, s.Name, s.Scope, dst.Seal)
		if s.Timeout > 0 {
			line += fmt.Sprintf(", %s, permanent %v", s.Timeout, s.Permanent)
		}
		if len(s.Paths) > 0 {
			line += ", paths " + strings.Join(s.Paths, " ")
		}
		out = append(out, line)
	}
	for _, m := range r.Mirrors {
		out = append(out, fmt.Sprintf("mirror %v%% to %s", m.Percent, cluster(&dst.Backends[m.Backend])))
	}
	return out
}

func retries(r model.Retry) string {
	if r.Attempts == 0 {
		return "no retries"
	}
	on := slices.Clone(r.On)
	for _, code := range r.Codes {
		on = append(on, strconv.Itoa(code))
	}
	out := fmt.Sprintf("retry %d on %s", r.Attempts, strings.Join(on, ","))
	if r.PerTryTimeout > 0 {
		out += " each " + r.PerTryTimeout.String()
	}
	if r.Backoff > 0 {
		out += " backoff " + r.Backoff.String()
	}
	return out
}

// clusters prints how the backends of a destination are called, and by which endpoints.
func (m *mesh) clusters(dst *plan.Destination) []string {
	var out []string
	for i := range dst.Backends {
		b := &dst.Backends[i]
		words := []string{cluster(b), b.Resolution.String(), b.LB.String()}
		for _, part := range []struct {
			name string
			set  bool
			v    any
		}{
			{"rule", b.Rule != "", b.Rule},
			{"connect", b.ConnectTimeout > 0, b.ConnectTimeout},
			{"tcp-idle", b.TCPIdleTimeout > 0, b.TCPIdleTimeout},
			{"http-idle", b.HTTPIdleTimeout > 0, b.HTTPIdleTimeout},
			{"connections", b.MaxConnections > 0, b.MaxConnections},
			{"pending", b.MaxPendingRequests > 0, b.MaxPendingRequests},
			{"requests", b.MaxRequests > 0, b.MaxRequests},
			{"per-connection", b.MaxRequestsPerConnection > 0, b.MaxRequestsPerConnection},
			{"duration", b.MaxConnectionDuration > 0, b.MaxConnectionDuration},
			{"keep-alive", b.KeepAlive != model.TCPKeepAlive{}, b.KeepAlive},
			{"streams", b.MaxConcurrentStreams > 0, b.MaxConcurrentStreams},
			{"retries", b.MaxRetries > 0, b.MaxRetries},
			{"ping", b.Ping != model.HTTP2KeepAlive{}, b.Ping},
			{"upgrade", b.Upgrade, b.Upgrade},
			{"upgrade-apps", b.UpgradeApps, b.UpgradeApps},
			{"locality", b.Locality != nil, b.Locality},
			{"proximity", b.Proximity != model.AnyDistance, b.Proximity},
			{"client-affinity", b.ClientAffinity, b.AffinityTimeout},
			{"outlier", b.Outlier != nil, outlier(b.Outlier)},
			{"tls", b.TLS.Mode != model.TLSUnset, tlsMode(b.TLS.Mode)},
			{"sni", b.TLS.SNI != "", b.TLS.SNI},
			{"san", len(b.TLS.SubjectAltNames) > 0, b.TLS.SubjectAltNames},
		} {
			if part.set {
				words = append(words, fmt.Sprintf("%s=%v", part.name, part.v))
			}
		}
		out = append(out, strings.Join(words, " "))
		if eps := m.endpoints(b); len(eps) > 0 {
			out = append(out, "  "+strings.Join(eps, " "))
		}
	}
	return out
}

// outlier prints the number of failures that eject an endpoint, and the penalties of failure accrual.
func outlier(o *model.OutlierDetection) string {
	switch {
	case o == nil:
		return ""
	case o.Accrual == nil:
		return strconv.FormatUint(uint64(o.Consecutive5xx), 10)
	}
	return fmt.Sprintf("%d,%s-%s*%v", o.Consecutive5xx, o.Accrual.MinPenalty, o.Accrual.MaxPenalty, o.Accrual.Jitter)
}

func tlsMode(m model.TLSMode) string {
	return [...]string{"", "DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"}[m]
}

func (m *mesh) endpoints(b *plan.Backend) []string {
	var out []string
	for _, name := range b.Shards {
		shard, ok := compile.Compile(store.NewReader(m.snapshot), global(), name).(*plan.EndpointShard)
		if !ok {
			continue
		}
		for _, e := range shard.Endpoints {
			if b.Subset == "" || slices.Contains(e.Subsets, b.Subset) {
				out = append(out, e.Addr.String()+where(&e))
			}
		}
	}
	for _, d := range b.DNS {
		out = append(out, fmt.Sprintf("%s:%d", d.Host, d.Port)+where(&plan.Endpoint{Locality: d.Locality, Labels: d.Labels}))
	}
	slices.Sort(out)
	return out
}

// where prints what decides by locality, in brackets.
func where(e *plan.Endpoint) string {
	words := slices.Clone(e.Labels)
	if e.Locality != (model.Locality{}) {
		words = append([]string{e.Locality.String()}, words...)
	}
	if len(e.ForZones) > 0 {
		words = append(words, "for:"+strings.Join(e.ForZones, "+"))
	}
	if len(words) == 0 {
		return ""
	}
	return "[" + strings.Join(words, " ") + "]"
}

// tcpDecision prints where a connection goes that was meant for the first address of its destination.
func tcpDecision(dst *plan.Destination, c call) []string {
	to := netip.AddrPortFrom(netip.Addr{}, dst.Port)
	if len(dst.Addresses) > 0 {
		to = netip.AddrPortFrom(dst.Addresses[0], dst.Port)
	}
	r := route.CompileTCP(dst.TCP).Match(route.Connection{To: to, From: c.ip, ServerName: c.sni}, c.source)
	if r == nil {
		return []string{"no route"}
	}
	var out []string
	for _, b := range r.Plan.Backends {
		line := cluster(&dst.Backends[b.Backend])
		if len(r.Plan.Backends) > 1 {
			line = fmt.Sprintf("%d %s", b.Weight, line)
		}
		out = append(out, line)
	}
	return out
}
