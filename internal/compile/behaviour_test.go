package compile_test

import (
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
// A request "TCP host:port [sni=NAME] [ip=ADDRESS]" asks where a connection goes, "CLUSTER host:port" asks how a host is called,
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
	ip                 netip.Addr // of the caller
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
		case "ip":
			c.ip = netip.MustParseAddr(value)
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
		out := httpx.Describe(&httpx.Error{Reason: httpx.NoRoute})
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
	return dst.For(c.source.Labels)
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

// shard prints how callers reach the endpoints of a destination: by mutual TLS, and as whom, to a sidecar or to the endpoint
// itself, or plainly, and who it is where that is known.
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
			how := howCalled(e.Meshed, e.Mutual, e.Identity)
			at := e.Addr.String()
			if e.Other.IsValid() {
				at += " or " + e.Other.String()
			}
			out = append(out, at+" "+how)
		}
	}
	for _, d := range dst.Backends[0].DNS {
		out = append(out, fmt.Sprintf("%s:%d %s", d.Host, d.Port, howCalled(d.Meshed, d.Mutual, d.Identity)))
	}
	return out
}

func howCalled(meshed, mutual bool, identity string) string {
	how := strings.TrimPrefix(identity, "spiffe://cluster.local")
	switch {
	case mutual:
		return "itself " + how
	case !meshed:
		return strings.TrimSpace("plain " + how)
	}
	return how
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
