package compile_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/route"
	"fairlead.dev/fairlead/internal/store"
)

// minBehaviours keeps the collection from shrinking unnoticed.
const minBehaviours = 200

// TestBehaviour follows requests through everything between a manifest and the decision of the proxy: decoding,
// translation, store, compilation, matching, rewriting. Each testdata/behaviour/*.txtar holds manifests, to which those
// of base.yaml are added, and cases:
//
//   - one sentence that says what is shown
//     > GET users.myapp:8080/api [from=NAMESPACE] [label=KEY:VALUE] [scheme=https]
//     > end-user: jason
//     < the decision, in lines
//
// A request "TCP host:port [sni=NAME]" asks where a connection goes, "CLUSTER host:port" asks how a host is called,
// "SHARD host:port" how its endpoints are reached, "INBOUND pod.namespace[:port]" what a workload takes, "PROBLEMS" what
// is reported and "STATUS KIND/namespace/name" what became of a route. Cluster names are written host:port/subset, without "svc.cluster.local".
func TestBehaviour(t *testing.T) {
	base, err := os.ReadFile("testdata/behaviour/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/behaviour/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no behaviours: %v", err)
	}
	total := 0
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			archive := txtar.Parse(data)
			m := newMesh(t, string(base)+"\n---\n"+section(t, archive, "manifests.yaml"))
			cases := parseBehaviours(t, section(t, archive, "cases"))
			total += len(cases)
			for i := range cases {
				cases[i].run(t, m)
			}
			if *update {
				writeBehaviours(t, name, archive, cases)
			}
		})
	}
	if total < minBehaviours && !testing.Short() {
		t.Errorf("%d behaviours, want at least %d", total, minBehaviours)
	}
}

// behaviour is one case.
type behaviour struct {
	name    string
	request []string
	want    []string
}

func (b *behaviour) run(t *testing.T, m *mesh) {
	t.Helper()
	t.Run(b.name, func(t *testing.T) {
		got := m.decide(t, b.request)
		if *update {
			b.want = got
			return
		}
		if diff := cmp.Diff(b.want, got); diff != "" {
			t.Errorf("%s\ndecision (-want +got), -update rewrites it:\n%s", strings.Join(b.request, "\n"), diff)
		}
	})
}

func parseBehaviours(t *testing.T, text string) []behaviour {
	t.Helper()
	var out []behaviour
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		mark, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "":
		case mark == "*":
			if slices.ContainsFunc(out, func(b behaviour) bool { return b.name == rest }) {
				t.Fatalf("two cases are called %q", rest)
			}
			out = append(out, behaviour{name: rest})
		case mark == ">" && len(out) > 0:
			out[len(out)-1].request = append(out[len(out)-1].request, rest)
		case mark == "<" && len(out) > 0:
			out[len(out)-1].want = append(out[len(out)-1].want, rest)
		default:
			t.Fatalf("line %q is no part of a case", line)
		}
	}
	return out
}

func writeBehaviours(t *testing.T, name string, archive *txtar.Archive, cases []behaviour) {
	t.Helper()
	var b strings.Builder
	for i, c := range cases {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "* %s\n", c.name)
		for _, line := range c.request {
			fmt.Fprintf(&b, "> %s\n", line)
		}
		for _, line := range c.want {
			fmt.Fprintf(&b, "< %s\n", line)
		}
	}
	i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "cases" })
	archive.Files[i].Data = []byte(b.String())
	if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
		t.Fatal(err)
	}
}

// mesh is the compiled state of some manifests and what was reported on the way.
type mesh struct {
	snapshot store.Snapshot
	problems []model.Problem
}

func newMesh(t *testing.T, manifests string) *mesh {
	t.Helper()
	m := new(mesh)
	m.snapshot, m.problems = compiletest.Load(t, manifests)
	return m
}

// call is a request as a case writes it.
type call struct {
	method, host, path string // host has its port
	source             route.Caller
	scheme, sni        string
	headers            []string
}

func parseCall(t *testing.T, lines []string) call {
	t.Helper()
	words := strings.Fields(lines[0])
	c := call{method: words[0], scheme: "http", source: route.Caller{Namespace: "myapp", Labels: map[string]string{}}, headers: lines[1:]}
	if len(words) == 1 {
		return c
	}
	host, path, slash := strings.Cut(words[1], "/")
	c.host = host
	if slash {
		c.path = "/" + path
	}
	for _, word := range words[2:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "from":
			c.source.Namespace = value
		case "label":
			name, label, _ := strings.Cut(value, ":")
			c.source.Labels[name] = label
		case "scheme":
			c.scheme = value
		case "sni":
			c.sni = value
		default:
			t.Fatalf("request %q: what is %q?", lines[0], word)
		}
	}
	return c
}

// head builds the request as a codec would; a header "host" is the authority.
func (c *call) head() *httpx.Request {
	req := &httpx.Request{
		Version: httpx.HTTP11, Method: []byte(c.method), Scheme: []byte(c.scheme), Authority: []byte(c.host), Path: []byte(c.path),
	}
	for _, h := range c.headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "host" {
			req.Authority = []byte(value)
			continue
		}
		req.Fields.AddString(name, value)
	}
	return req
}

// decide gives the decision in lines.
func (m *mesh) decide(t *testing.T, lines []string) []string {
	t.Helper()
	c := parseCall(t, lines)
	switch c.method {
	case "PROBLEMS":
		return m.report()
	case "INBOUND":
		return m.inbound(t, c.host)
	case "SHARD":
		return m.shard(t, c)
	case "STATUS":
		return m.status(t, c)
	}
	dst := m.destination(c)
	if dst == nil {
		return []string{"not ours"}
	}
	switch c.method {
	case "CLUSTER":
		return m.clusters(dst)
	case "TCP":
		return tcpDecision(dst, c)
	}
	table, err := route.Compile(dst.Routes)
	if err != nil {
		t.Fatalf("Compile: %v", err)
	}
	req := c.head()
	r := table.Match(req, c.source, dst.Port)
	if r == nil {
		out := httpx.Describe(&httpx.Error{Kind: httpx.NoRoute})
		return []string{fmt.Sprintf("%d %s", out.Status, out.Flag)}
	}
	return decision(dst, r, req)
}

func (m *mesh) destination(c call) *plan.Destination {
	client := compile.Client{Namespace: c.source.Namespace}
	host, port, _ := strings.Cut(c.host, ":")
	if _, err := netip.ParseAddr(host); err == nil {
		host = "ip/" + host
	} else {
		host = "host/" + string(model.HostCandidates(host, c.source.Namespace, "cluster.local")[0])
	}
	name, ok := compile.Resolve(store.NewReader(m.snapshot), global(), client, host+":"+port)
	if !ok {
		return nil
	}
	dst, ok := compile.Compile(store.NewReader(m.snapshot), global(), name).(*plan.Destination)
	if !ok {
		return nil
	}
	return dst
}

// inbound prints what the sidecar of "pod.namespace[:port]" takes, on one port or on those that are not named.
func (m *mesh) inbound(t *testing.T, pod string) []string {
	t.Helper()
	pod, port, one := strings.Cut(pod, ":")
	in, ok := compile.Compile(store.NewReader(m.snapshot), global(), "in/"+named(pod).String()).(*plan.InboundPolicy)
	if !ok {
		return []string{"none"}
	}
	if !one {
		return []string{strings.TrimSpace(in.MTLS.String() + " " + in.MTLSOrigin)}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	p := in.Port(uint16(number))
	return []string{strings.TrimSpace(p.MTLS.String() + " " + p.MTLSOrigin), p.Protocol.String()}
}

// shard prints how callers reach the endpoints of a destination: by mutual TLS, and as whom, or plainly.
func (m *mesh) shard(t *testing.T, c call) []string {
	t.Helper()
	dst := m.destination(c)
	if dst == nil {
		return []string{"not ours"}
	}
	var out []string
	for _, name := range dst.Backends[0].Shards {
		shard, ok := compile.Compile(store.NewReader(m.snapshot), global(), name).(*plan.EndpointShard)
		if !ok {
			t.Fatalf("no %s", name)
		}
		for _, e := range shard.Endpoints {
			how := "plain"
			if e.Meshed {
				how = strings.TrimPrefix(e.Identity, "spiffe://cluster.local")
			}
			out = append(out, e.Addr.String()+" "+how)
		}
	}
	return out
}

func (m *mesh) report() []string {
	var out []string
	for _, p := range slices.Concat(m.problems, compile.Check(store.NewReader(m.snapshot), global())) {
		p.Pos = model.Position{}
		out = append(out, p.String())
	}
	slices.Sort(out)
	return out
}

// status prints what became of a Gateway API route at each of its parents. The host of the call is the kind.
func (m *mesh) status(t *testing.T, c call) []string {
	t.Helper()
	namespace, name, ok := strings.Cut(strings.TrimPrefix(c.path, "/"), "/")
	if !ok {
		t.Fatalf("%q is no /namespace/name", c.path)
	}
	r := store.NewReader(m.snapshot)
	set := store.Get[model.RouteSet](r, model.Ref{Kind: c.host, Key: model.Key{Namespace: namespace, Name: name}})
	if set == nil {
		return []string{"not in force"}
	}
	var out []string
	for _, p := range compile.RouteStatus(r, global(), set) {
		out = append(out, p.Field)
		for _, v := range []*model.Condition{&p.Accepted, p.Resolved, p.Partial} {
			if v != nil {
				out = append(out, fmt.Sprintf("  %t %s: %s", v.Holds, v.Reason, v.Message))
			}
		}
	}
	return out
}

// decision prints what a proxy would do, leaving out what is default.
func decision(dst *plan.Destination, r *route.Route, req *httpx.Request) []string {
	var resp httpx.Response
	if r.Local(req, &resp, dst.Port) {
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
	return append(out, policies(dst, r.Plan)...)
}

// applied prints what a route and one of its backends change in a request and its response.
func applied(r *route.Route, chosen *route.Backend, req *httpx.Request) []string {
	var sent httpx.Request
	fields := sent.Fields
	fields.CopyFrom(&req.Fields)
	sent = *req
	sent.Fields = fields
	r.ApplyRequest(&sent, chosen)
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
	r.ApplyResponse(&resp, chosen)
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
		err := httpx.Describe(&httpx.Error{Kind: httpx.NoCluster, Status: b.MissingStatus})
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
		out = append(out, fmt.Sprintf("abort %d for %v%%", f.AbortStatus, f.AbortPercent))
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
			{"proximity", b.Proximity != model.AnyDistance, b.Proximity},
			{"client-affinity", b.ClientAffinity, b.ClientAffinity},
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
				out = append(out, e.Addr.String())
			}
		}
	}
	for _, d := range b.DNS {
		out = append(out, fmt.Sprintf("%s:%d", d.Host, d.Port))
	}
	slices.Sort(out)
	return out
}

// tcpDecision prints where a connection goes that was meant for the first address of its destination.
func tcpDecision(dst *plan.Destination, c call) []string {
	to := netip.AddrPortFrom(netip.Addr{}, dst.Port)
	if len(dst.Addresses) > 0 {
		to = netip.AddrPortFrom(dst.Addresses[0], dst.Port)
	}
	r := route.CompileTCP(dst.TCP).Match(route.Connection{To: to, ServerName: c.sni}, c.source)
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
