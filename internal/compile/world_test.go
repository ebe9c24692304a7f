package compile_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// The tests describe a mesh in lines of words, one object per line, rules of a route set indented below it:
//
//	service NAME.NS [cluster=C] [ip=A,…] [port=NAME:PORT[>TARGET]:PROTOCOL …] [headless] [local] [of=NAME@CLUSTER …] [by-gateway] [external-name=H] [not-ready-too] [export=…] [age=N]
//	entry HOST ns=NS resolution=R [ip=PREFIX,…] [port=…] [external] [endpoint=A|HOST …] [select=K:V] [export=…] [age=N]
//	slice NAME.NS of=SERVICE [port=NAME:PORT …] [ep=IP[/POD][!starting|!terminating|!on:NODE|!ZONE…] …]
//	pod NAME.NS ip=A,… [label=K:V …] [node=N] [locality=L] [owner=KIND/NAME] [sa=NAME] [canonical=NAME@REVISION] [meshed] [well] …
//	node NAME REGION/ZONE
//	apart CLUSTER yes|no
//	vs NAME.NS host=H … [export=…] [age=N]
//	route NAME.NS parent=SVC.NS[:PORT|:PORTNAME] … [age=N]
//	  http|tcp|tls [MATCH …] [-> HOST:PORT[/SUBSET][*WEIGHT] …] [ACTION …]
//	dr NAME.NS host=H [export=…] [lb=L] [subset=NAME:K=V[:lb=L] …] [age=N]
//
// Names are NAME.NS; age counts seconds before a fixed moment, so the larger age is the older object.

func global() compile.Global {
	return compile.Global{TrustDomain: "cluster.local", ClusterDomain: "cluster.local", ClusterID: "Kubernetes"}
}

type world struct {
	t  testing.TB
	tx *store.Txn
	// open is the route set whose rules are being read.
	open *model.RouteSet
	line string
}

// load commits the objects of a description.
func load(tb testing.TB, s *store.Store, description string) (store.Snapshot, store.Changed) {
	tb.Helper()
	return s.Commit(func(tx *store.Txn) {
		w := &world{t: tb, tx: tx}
		for line := range strings.Lines(description) {
			w.read(strings.TrimRight(line, "\n"))
		}
		w.flush()
	})
}

func snapshot(tb testing.TB, description string) store.Snapshot {
	tb.Helper()
	snap, _ := load(tb, store.New(), description)
	return snap
}

func (w *world) flush() {
	if w.open != nil {
		store.Set(w.tx, *w.open)
		w.open = nil
	}
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%q: %s", w.line, fmt.Sprintf(format, args...))
}

func (w *world) read(line string) {
	w.line = line
	words := strings.Fields(line)
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return
	}
	if line[0] == ' ' {
		w.rule(words)
		return
	}
	w.flush()
	o := options(words[2:])
	switch words[0] {
	case "service":
		w.service(words[1], o)
	case "entry":
		w.entry(words[1], o)
	case "slice":
		w.slice(words[1], o)
	case "pod":
		w.pod(words[1], o)
	case "apart":
		w.tx.SetRemoteCluster(store.RemoteCluster{Name: words[1], Apart: words[2] == "yes", Heard: true})
	case "node":
		region, zone, _ := strings.Cut(words[2], "/")
		w.tx.SetNode(model.Node{Name: words[1], Locality: model.Locality{Region: region, Zone: zone}})
	case "vs":
		w.open = &model.RouteSet{Ref: model.Ref{Kind: "VirtualService", Key: named(words[1])}, CreatedAt: o.created(w)}
		w.open.ExportTo = o.list("export")
		for _, h := range o["host"] {
			w.open.Hosts = append(w.open.Hosts, model.HostCandidates(h, w.open.Ref.Namespace, "cluster.local")[0])
		}
	case "route":
		w.route(words[1], o)
	case "dr":
		w.policy(words[1], o)
	default:
		w.fail("unknown object")
	}
}

// opts are the words of a line: key=value, or key alone.
type opts map[string][]string

func options(words []string) opts {
	o := opts{}
	for _, word := range words {
		k, v, _ := strings.Cut(word, "=")
		o[k] = append(o[k], v)
	}
	return o
}

func (o opts) has(k string) bool { return len(o[k]) > 0 }

func (o opts) get(k string) string {
	if !o.has(k) {
		return ""
	}
	return o[k][0]
}

func (o opts) list(k string) []string {
	if !o.has(k) {
		return nil
	}
	return strings.Split(o.get(k), ",")
}

func created(age int64) time.Time { return time.Unix(1_000_000-age, 0) }

func (o opts) created(w *world) time.Time {
	if !o.has("age") {
		return created(0)
	}
	return created(int64(w.number(o.get("age"))))
}

func (w *world) number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		w.fail("%q is not a number", s)
	}
	return n
}

func named(s string) model.Key {
	name, namespace, _ := strings.Cut(s, ".")
	return model.Key{Namespace: namespace, Name: name}
}

func (w *world) prefixes(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			w.fail("%v", err)
		}
		out = append(out, p)
	}
	return out
}

func (w *world) protocol(s string) model.Protocol {
	for p := model.Undeclared; p <= model.UDP; p++ {
		if p.String() == s {
			return p
		}
	}
	w.fail("no protocol %q", s)
	return 0
}

func (w *world) ports(list []string) []model.ServicePort {
	var out []model.ServicePort
	for _, s := range list {
		parts := strings.Split(s, ":")
		number, target, hasTarget := strings.Cut(parts[1], ">")
		p := model.ServicePort{Name: parts[0], Port: uint16(w.number(number)), Protocol: w.protocol(parts[2])}
		p.TargetPort = p.Port
		if hasTarget {
			if n, err := strconv.Atoi(target); err == nil {
				p.TargetPort = uint16(n)
			} else {
				p.TargetPort, p.TargetName = 0, target
			}
		}
		out = append(out, p)
	}
	return out
}

func (w *world) service(name string, o opts) {
	k := named(name)
	w.tx.SetServices(model.Ref{Kind: "Service", Key: k, Cluster: o.get("cluster")}, model.Service{
		Key: k, Host: model.ServiceHost(k.Name, k.Namespace, "cluster.local"), Ports: w.ports(o["port"]),
		VIPs: w.prefixes(o.list("ip")), Headless: o.has("headless"), Resolution: model.ResolveSlices, Mirror: mirrorWritten(k.Namespace, o),
		ExternalName: model.Hostname(o.get("external-name")), PublishNotReady: o.has("not-ready-too"), CreatedAt: o.created(w),
		ExportTo: o.list("export"), Proximity: map[bool]model.Proximity{true: model.OnlySameNode}[o.has("local")],
	})
}

// mirrorWritten reads "of=NAME@CLUSTER", "of=NAME@" for the own cluster, "by-gateway", and "of-pod=HOSTNAME" for one endpoint alone.
func mirrorWritten(namespace string, o opts) *model.MirrorOf {
	var out *model.MirrorOf
	for _, of := range o["of"] {
		name, cluster, _ := strings.Cut(of, "@")
		if out == nil {
			out = &model.MirrorOf{Cluster: cluster, ByGateway: o.has("by-gateway")}
		}
		out.Sources = append(out.Sources, model.MirrorSource{Cluster: cluster, Name: name, Host: model.ServiceHost(name, namespace, "cluster.local"), Pod: o.get("of-pod")})
	}
	return out
}

func (w *world) entry(host string, o opts) {
	s := model.Service{
		Key: model.Key{Namespace: o.get("ns"), Name: host}, Host: model.Hostname(host), Ports: w.ports(o["port"]),
		VIPs: w.prefixes(o.list("ip")), External: o.has("external"), ExportTo: o.list("export"), CreatedAt: o.created(w),
		SubjectAltNames: o.list("san"),
	}
	for r := model.ResolveNone; r <= model.ResolveDNSRoundRobin; r++ {
		if r.String() == o.get("resolution") {
			s.Resolution = r
		}
	}
	if s.Resolution == 0 {
		w.fail("no resolution %q", o.get("resolution"))
	}
	for _, e := range o["endpoint"] {
		if a, err := netip.ParseAddr(e); err == nil {
			s.Endpoints = append(s.Endpoints, model.StaticEndpoint{Address: a})
			continue
		}
		s.Endpoints = append(s.Endpoints, model.StaticEndpoint{DNS: model.Hostname(e)})
	}
	if o.has("select") {
		s.Selector = w.labels(o["select"])
	}
	w.tx.SetServices(model.Ref{Kind: "ServiceEntry", Key: model.Key{Namespace: o.get("ns"), Name: "se-" + host}}, s)
}

func (w *world) labels(list []string) map[string]string {
	out := map[string]string{}
	for _, l := range list {
		k, v, _ := strings.Cut(l, ":")
		out[k] = v
	}
	return out
}

func (w *world) slice(name string, o opts) {
	k := model.ClusterKey{Cluster: o.get("cluster"), Key: named(name)}
	s := model.Slice{Key: k, Network: o.get("network"), Service: model.Key{Namespace: k.Namespace, Name: o.get("of")}}
	for _, p := range o["port"] {
		name, number, _ := strings.Cut(p, ":")
		s.Ports = append(s.Ports, model.SlicePort{Name: name, Port: uint16(w.number(number))})
	}
	for _, ep := range o["ep"] {
		parts := strings.Split(ep, "!")
		ip, pod, _ := strings.Cut(parts[0], "/")
		e := model.SliceEndpoint{Addresses: []netip.Addr{netip.MustParseAddr(ip)}, Ready: true, Serving: true}
		if pod != "" {
			e.Pod, e.Hostname = k, pod
			e.Pod.Name = pod
		}
		for _, state := range parts[1:] {
			switch state {
			case "starting":
				e.Ready, e.Serving = false, false
			case "terminating":
				e.Ready, e.Terminating = false, true
			default:
				if node, ok := strings.CutPrefix(state, "on:"); ok {
					e.Node = node
				} else {
					e.Zone = state
				}
			}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	w.tx.SetSlice(s)
}

func (w *world) locality(written string) model.Locality {
	if written == "" {
		return model.Locality{}
	}
	l, err := model.ParseLocality(written)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *world) pod(name string, o opts) {
	kind, owner, _ := strings.Cut(o.get("owner"), "/")
	p := model.Workload{
		Key: model.ClusterKey{Cluster: o.get("cluster"), Key: named(name)}, Network: o.get("network"), Labels: w.labels(o["label"]), Node: o.get("node"), OwnerKind: kind, OwnerName: owner,
		ServiceAccount: o.get("sa"), Meshed: o.has("meshed"), HostNetwork: o.has("host-network"), Terminating: o.has("terminating"),
		Well: o.has("well"), Locality: w.locality(o.get("locality")),
	}
	p.CanonicalName, p.CanonicalRevision, _ = strings.Cut(o.get("canonical"), "@")
	for _, ip := range o.list("ip") {
		p.IPs = append(p.IPs, netip.MustParseAddr(ip))
	}
	w.tx.SetWorkload(p)
}

func (w *world) route(name string, o opts) {
	w.open = &model.RouteSet{Ref: model.Ref{Kind: "HTTPRoute", Key: named(name)}, CreatedAt: o.created(w)}
	for i, p := range o["parent"] {
		svc, port, hasPort := strings.Cut(p, ":")
		k := named(svc)
		parent := model.RouteParent{Field: fmt.Sprintf("spec.parentRefs[%d]", i), Service: k, Host: model.ServiceHost(k.Name, k.Namespace, "cluster.local")}
		if n, err := strconv.Atoi(port); err == nil {
			parent.Port = uint16(n)
		} else if hasPort {
			parent.PortName = port
		}
		w.open.Parents = append(w.open.Parents, parent)
		w.open.Hosts = append(w.open.Hosts, parent.Host)
	}
	for _, h := range o["hostname"] {
		w.open.Hostnames = append(w.open.Hostnames, model.Hostname(h))
	}
}

func (w *world) policy(name string, o opts) {
	p := model.DestinationPolicy{Ref: model.Ref{Kind: "DestinationRule", Key: named(name)}, CreatedAt: o.created(w), ExportTo: o.list("export")}
	p.Host = model.HostCandidates(o.get("host"), p.Ref.Namespace, "cluster.local")[0]
	p.Default.LB = w.lb(o.get("lb"))
	for i, s := range o["subset"] {
		parts := strings.Split(s, ":")
		subset := model.Subset{Name: parts[0], Field: fmt.Sprintf("spec.subsets[%d]", i), Labels: map[string]string{}}
		for _, part := range parts[1:] {
			k, v, _ := strings.Cut(part, "=")
			if k == "lb" {
				subset.Policy.LB = w.lb(v)
				continue
			}
			subset.Labels[k] = v
		}
		p.Subsets = append(p.Subsets, subset)
	}
	store.Set(w.tx, p)
}

func (w *world) lb(s string) model.LBKind {
	for k := model.LeastRequest; k <= model.Passthrough; k++ {
		if k.String() == s {
			return k
		}
	}
	if s != "" {
		w.fail("no load balancer %q", s)
	}
	return model.LBUnset
}

// rule reads "http|tcp|tls MATCH… -> BACKEND… ACTION…".
func (w *world) rule(words []string) {
	if w.open == nil {
		w.fail("a rule outside a route set")
	}
	root := map[string]string{"VirtualService": "spec." + words[0], "HTTPRoute": "spec.rules"}[w.open.Ref.Kind]
	switch words[0] {
	case "http":
		r := model.HTTPRule{Field: fmt.Sprintf("%s[%d]", root, len(w.open.HTTP))}
		for _, word := range words[1:] {
			w.httpWord(&r, word)
		}
		w.open.HTTP = append(w.open.HTTP, r)
	case "tcp", "tls":
		list := &w.open.TCP
		if words[0] == "tls" {
			list = &w.open.TLS
		}
		r := model.TCPRule{Field: fmt.Sprintf("%s[%d]", root, len(*list))}
		for _, word := range words[1:] {
			k, v, _ := strings.Cut(word, "=")
			switch k {
			case "->":
			case "port":
				r.Matches = append(r.Matches, model.TCPMatch{Port: uint16(w.number(v))})
			case "sni":
				r.Matches = append(r.Matches, model.TCPMatch{SNI: []string{v}})
			default:
				r.Backends = append(r.Backends, w.backend(word, r.Field, len(r.Backends)))
			}
		}
		*list = append(*list, r)
	default:
		w.fail("unknown rule")
	}
}

func (w *world) httpWord(r *model.HTTPRule, word string) {
	k, v, _ := strings.Cut(word, "=")
	match := func(m model.HTTPMatch) { r.Matches = append(r.Matches, m) }
	if and, ok := strings.CutPrefix(k, "+"); ok { // one more condition of the match before
		k = and
		match = func(m model.HTTPMatch) { r.Matches[len(r.Matches)-1] = both(r.Matches[len(r.Matches)-1], m) }
	}
	switch k {
	case "->":
	case "exact":
		match(model.HTTPMatch{URI: &model.StringMatch{Kind: model.Exact, Value: v}})
	case "prefix":
		match(model.HTTPMatch{URI: &model.StringMatch{Kind: model.Prefix, Value: v}})
	case "segments":
		match(model.HTTPMatch{URI: &model.StringMatch{Kind: model.PathPrefix, Value: v}})
	case "regex":
		match(model.HTTPMatch{URI: &model.StringMatch{Kind: model.Regex, Value: v}})
	case "method":
		match(model.HTTPMatch{Method: &model.StringMatch{Kind: model.Exact, Value: v}})
	case "header":
		match(model.HTTPMatch{Headers: []model.NamedMatch{{Name: v, Match: model.StringMatch{Kind: model.Present}}}})
	case "query":
		match(model.HTTPMatch{Query: []model.NamedMatch{{Name: v, Match: model.StringMatch{Kind: model.Present}}}})
	case "port":
		match(model.HTTPMatch{Port: uint16(w.number(v))})
	case "source":
		match(model.HTTPMatch{SourceNamespace: v})
	case "name":
		r.Name = v
	case "timeout":
		r.Timeout = time.Duration(w.number(v)) * time.Second
	case "retries":
		r.Retry = &model.Retry{Attempts: w.number(v)}
	case "retry-on":
		r.Retry.On = strings.Split(v, ",")
	case "redirect":
		r.Redirect = &model.Redirect{Authority: v, Code: 301}
	case "direct":
		r.Direct = &model.DirectResponse{Status: w.number(v)}
	case "mirror":
		r.Mirrors = append(r.Mirrors, model.Mirror{Backend: w.backend(v, r.Field+".mirrors", 0), Percent: 100})
	default:
		r.Backends = append(r.Backends, w.backend(word, r.Field, len(r.Backends)))
	}
}

func both(a, b model.HTTPMatch) model.HTTPMatch {
	if b.URI != nil {
		a.URI = b.URI
	}
	if b.Method != nil {
		a.Method = b.Method
	}
	a.Headers = append(a.Headers, b.Headers...)
	a.Query = append(a.Query, b.Query...)
	if b.SourceNamespace != "" {
		a.SourceNamespace = b.SourceNamespace
	}
	return a
}

// backend reads "HOST[:PORT][/SUBSET][*WEIGHT]".
func (w *world) backend(s, field string, i int) model.WeightedBackend {
	b := model.WeightedBackend{Weight: 1, Field: fmt.Sprintf("%s.route[%d].destination", field, i)}
	if w.open.Ref.Kind == "HTTPRoute" {
		b.Field = fmt.Sprintf("%s.backendRefs[%d]", field, i)
	}
	s, weight, ok := strings.Cut(s, "*")
	if ok {
		b.Weight = uint32(w.number(weight))
	}
	s, b.Subset, _ = strings.Cut(s, "/")
	s, port, ok := strings.Cut(s, ":")
	if ok {
		b.Port = uint16(w.number(port))
	}
	if s == "INVALID" {
		b.Invalid = "kind Bucket cannot be called"
		return b
	}
	b.Host = model.HostCandidates(s, w.open.Ref.Namespace, "cluster.local")[0]
	return b
}
