package view

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/traffic"
)

var update = flag.Bool("update", false, "write what is printed to testdata")

const spiffe = "spiffe://cluster.local/ns/shop/sa/"

// flow is what a sidecar reported in a minute.
func flow(pod string, d traffic.Direction, e traffic.Edge, s *traffic.Sample) traffic.Flow {
	e.Direction = d
	f := traffic.Flow{Namespace: "shop", Pod: pod, Direction: d.String(), Edge: e, Seconds: 60}
	f.Total, f.Latency = traffic.TotalOf(s)
	return f
}

// well is requests of which some failed.
func well(n, failed uint64, d time.Duration) *traffic.Sample {
	s := &traffic.Sample{Failures: failed, Received: 6000, Sent: 60000}
	s.Responses[2], s.Responses[5] = n-failed, failed
	s.Latency[traffic.Bucket(d)] = n
	return s
}

func named(workload, pod string) traffic.Peer {
	return traffic.Peer{Namespace: "shop", Workload: workload, Pod: pod, Identity: spiffe + workload}
}

// chain is legacy (no sidecar) → web → api (two pods) → db (a StatefulSet, by opaque TCP), web → a host outside, and a call that
// reached nothing.
func chain() *traffic.Answer {
	pod := func(kind, workload, name, ip string, meshed bool) traffic.Pod {
		return traffic.Pod{Namespace: "shop", Name: name, Kind: kind, Workload: workload, Identity: spiffe + workload, Labels: map[string]string{"app": workload}, IPs: []string{ip}, Meshed: meshed}
	}
	const (
		toAPI    = "outbound|80||api.shop.svc.cluster.local"
		toCanary = "outbound|80|v2|api.shop.svc.cluster.local"
	)
	hit := traffic.Edge{Service: "web.shop", Backend: "inbound|8080||", Route: "default", Protocol: traffic.HTTP, NoTLS: traffic.NotProvidedByRemote, Peer: traffic.Peer{Address: "10.0.3.7"}}
	stranger := hit
	stranger.Peer.Address = "192.0.2.9"
	ask := traffic.Edge{Service: "api.shop", Backend: toAPI, Route: "orders", Protocol: traffic.HTTP, Peer: named("api", "api-1")}
	canary, plain, other := ask, ask, ask
	canary.Backend, canary.Peer = toCanary, named("api", "api-2")
	plain.Route = "default"
	other.Peer, other.Backend = traffic.Peer{}, toAPI
	retried, slow := well(1200, 60, 4*time.Millisecond), well(120, 0, 90*time.Millisecond)
	retried.Retries, retried.Timeouts = 600, 30
	in := traffic.Edge{Service: "api.shop", Backend: "inbound|8080||", Route: "default", Protocol: traffic.HTTP, Peer: named("web", "web-1")}
	sql := traffic.Edge{Service: "db.shop", Backend: "outbound|5432||db.shop.svc.cluster.local", Protocol: traffic.TCP, Peer: named("db", "db-0")}
	sqlIn := traffic.Edge{Service: "db.shop", Backend: "inbound|5432||", Protocol: traffic.TCP, Peer: named("api", "api-1")}
	away := traffic.Edge{Service: "pay.example.com", Backend: "outbound|443||pay.example.com", Protocol: traffic.TCP, NoTLS: traffic.NotProvidedByServiceDiscovery, Peer: traffic.Peer{Address: "198.51.100.4"}}
	open := &traffic.Sample{Opened: 3, Open: 3, Received: 600, Sent: 6000}
	return &traffic.Answer{
		Pods: []traffic.Pod{
			pod("Deployment", "api", "api-1", "10.0.0.2", true), pod("Deployment", "api", "api-2", "10.0.0.3", true),
			pod("StatefulSet", "db", "db-0", "10.0.0.4", true), pod("Deployment", "legacy", "legacy-1", "10.0.3.7", false),
			pod("Deployment", "web", "web-1", "10.0.0.1", true),
		},
		Flows: []traffic.Flow{
			flow("web-1", traffic.Inbound, hit, well(600, 6, 12*time.Millisecond)),
			flow("web-1", traffic.Inbound, stranger, well(6, 0, time.Millisecond)),
			flow("web-1", traffic.Outbound, ask, retried), flow("web-1", traffic.Outbound, canary, slow), flow("web-1", traffic.Outbound, plain, well(60, 0, time.Millisecond)),
			flow("web-1", traffic.Outbound, other, well(12, 12, time.Microsecond)), flow("web-1", traffic.Outbound, away, open),
			flow("api-1", traffic.Inbound, in, well(1860, 600, 3*time.Millisecond)), flow("api-2", traffic.Inbound, in, well(120, 0, 90*time.Millisecond)),
			flow("api-1", traffic.Outbound, sql, open), flow("db-0", traffic.Inbound, sqlIn, open),
			flow("db-0", traffic.Inbound, sqlIn.Other(), open),
		},
		Cut: 7,
	}
}

func select1(t *testing.T, q Select, words ...string) *Select {
	t.Helper()
	var err error
	if q.Resources, err = ParseResources(words); err != nil {
		t.Fatal(err)
	}
	if q.Namespace == "" {
		q.Namespace = "shop"
	}
	return &q
}

func one(t *testing.T, word string) *Resource {
	t.Helper()
	return &select1(t, Select{}, word).Resources[0]
}

// TestTables compares all that is printed of one chain of services with a file.
func TestTables(t *testing.T) {
	a := chain()
	var out strings.Builder
	write := func(title string, tables ...*Table) {
		out.WriteString("\n$ " + title + "\n")
		for i, table := range tables {
			if i > 0 {
				out.WriteString("\n")
			}
			if err := table.Write(&out); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, kind := range []string{"deploy", "po", "sts", "ns"} {
		k, err := ParseKind(kind)
		if err != nil {
			t.Fatal(err)
		}
		write("edges "+kind+" -o wide", EdgeTable(Edges(a, &k, "shop"), true))
	}
	k, _ := ParseKind("deploy")
	write("edges deploy", EdgeTable(Edges(a, &k, "shop"), false))
	asJSON := func(title string, v any) {
		raw, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("\n$ " + title + "\n" + string(raw) + "\n")
	}
	asJSON("edges deploy -o json", Edges(a, &k, "shop")[:2])
	stat := func(title string, q *Select, o TableOptions) []StatRow {
		rows, err := Stat(a, q)
		if err != nil {
			t.Fatal(err)
		}
		write(title, StatTables(rows, o)...)
		return rows
	}
	rows := stat("stat deploy", select1(t, Select{}, "deploy"), TableOptions{})
	asJSON("stat deploy/api -o json", rows[:1])
	stat("stat deploy --unmeshed -A -o wide", select1(t, Select{Unmeshed: true}, "deploy"), TableOptions{AllNamespaces: true, Wide: true})
	stat("stat po -l app=api", select1(t, Select{Labels: func(l map[string]string) bool { return l["app"] == "api" }}, "po"), TableOptions{})
	stat("stat svc", select1(t, Select{}, "svc"), TableOptions{})
	stat("stat ns", select1(t, Select{}, "ns"), TableOptions{})
	stat("stat all", select1(t, Select{}, "all"), TableOptions{Prefix: true})
	stat("stat deploy --to svc/api", select1(t, Select{To: one(t, "svc/api")}, "deploy"), TableOptions{})
	stat("stat deploy --from deploy/legacy", select1(t, Select{From: one(t, "deploy/legacy")}, "deploy"), TableOptions{})
	routes := func(title string, q *Select, by Grouping, table func([]RouteRow) *Table) {
		rows, err := Routes(a, q, by)
		if err != nil {
			t.Fatal(err)
		}
		write(title, table(rows))
	}
	routes("stat-inbound deploy", select1(t, Select{}, "deploy"), ByServer, InboundTable)
	routes("stat-outbound deploy/web", select1(t, Select{}, "deploy/web"), ByBackend, OutboundTable)
	routes("routes svc/api", select1(t, Select{}, "svc/api"), ByRoute, func(r []RouteRow) *Table { return RouteTable(r, false) })
	routes("routes deploy/web --to svc/api -o wide", select1(t, Select{To: one(t, "svc/api")}, "deploy/web"), ByRoute, func(r []RouteRow) *Table { return RouteTable(r, true) })
	out.WriteString("\n" + Cut(a) + "\n")

	path := filepath.Join("testdata", "chain.golden")
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPodsThatHaveGone: a rollout changes nothing in what is told of the calls before it.
func TestPodsThatHaveGone(t *testing.T) {
	before, after := chain(), chain()
	for i := range after.Pods { // another pod is in the place of each
		p := after.Pods[i]
		p.Labels, p.IPs = nil, nil
		if p.Meshed {
			after.Gone = append(after.Gone, p)
			after.Pods[i].Name, after.Pods[i].IPs = p.Name+"-next", []string{"10.0.1.1"}
		}
	}
	*after = traffic.Merge([]traffic.Answer{*after, {Gone: after.Gone}})
	for _, word := range []string{"deploy", "sts", "ns"} {
		k, _ := ParseKind(word)
		if diff := cmp.Diff(Edges(before, &k, "shop"), Edges(after, &k, "shop")); diff != "" {
			t.Errorf("edges %s (-before +after):\n%s", word, diff)
		}
		want, _ := Stat(before, select1(t, Select{}, word))
		got, err := Stat(after, select1(t, Select{}, word))
		if diff := cmp.Diff(StatTables(want, TableOptions{}), StatTables(got, TableOptions{})); err != nil || diff != "" {
			t.Errorf("stat %s: %v (-before +after):\n%s", word, err, diff)
		}
	}
	api := Choice{Node: "shop/deployment/api"}
	for i := range after.Flows {
		f := &after.Flows[i]
		if was, is := Chooser(before.Pods, nil, api)(f.Namespace, f.Pod, &f.Edge), Chooser(after.Pods, after.Gone, api)(f.Namespace, f.Pod, &f.Edge); was != is {
			t.Errorf("chosen %v of %+v before, %v after", was, f.Edge, is)
		}
	}
}

func TestNothing(t *testing.T) {
	k, _ := ParseKind("deploy")
	if raw, err := json.Marshal(Edges(&traffic.Answer{}, &k, "")); err != nil || string(raw) != "[]" {
		t.Errorf("Edges = %s, %v", raw, err)
	}
	rows, err := Stat(&traffic.Answer{}, select1(t, Select{}, "all"))
	if err != nil || len(rows) > 0 || len(StatTables(rows, TableOptions{})) > 0 {
		t.Errorf("Stat = %+v, %v", rows, err)
	}
}

func TestWhatDoesNotExist(t *testing.T) {
	_, err := Stat(chain(), select1(t, Select{}, "deploy/wbe"))
	if missing, ok := errors.AsType[*NotFoundError](err); !ok || missing.Error() != `deployment "wbe" not found in namespace shop; there are: api, legacy, web` {
		t.Errorf("Stat = %v", err)
	}
	_, err = Routes(chain(), select1(t, Select{}, "job/x"), ByRoute)
	if err == nil || err.Error() != `job "x" not found: there is no job in namespace shop; another namespace is named with -n, all with -A` {
		t.Errorf("Routes = %v", err)
	}
}

// TestNobodyCalls: Services are told of that nobody calls, and one that there is not is an error, where the control plane knows them.
func TestNobodyCalls(t *testing.T) {
	a := chain()
	a.Services = []traffic.Service{{Namespace: "shop", Name: "api"}, {Namespace: "shop", Name: "idle"}, {Namespace: "bank", Name: "ledger"}}
	names := func(q *Select) (names []string) {
		rows, err := Stat(a, q)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			names = append(names, fmt.Sprint(rows[i].Name, " ", rows[i].HasTraffic()))
		}
		return names
	}
	if diff := cmp.Diff([]string{"api true", "db true", "idle false", "web true"}, names(select1(t, Select{}, "svc"))); diff != "" {
		t.Errorf("stat svc (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"idle false"}, names(select1(t, Select{}, "svc/idle"))); diff != "" {
		t.Errorf("stat svc/idle (-want +got):\n%s", diff)
	}
	_, err := Stat(a, select1(t, Select{}, "svc/idel"))
	if err == nil || err.Error() != `service "idel" not found in namespace shop; there are: api, db, idle, web` {
		t.Errorf("stat svc/idel: %v", err)
	}
	none := traffic.Merge([]traffic.Answer{{Services: []traffic.Service{}}})
	if _, err := Stat(&none, select1(t, Select{}, "svc/api")); err == nil || !strings.Contains(err.Error(), "there is no service in namespace shop") {
		t.Errorf("stat svc/api where there are no Services: %v", err)
	}
	merged := traffic.Merge([]traffic.Answer{{Services: a.Services}, {Services: a.Services[1:]}})
	if diff := cmp.Diff([]traffic.Service{{Namespace: "bank", Name: "ledger"}, {Namespace: "shop", Name: "api"}, {Namespace: "shop", Name: "idle"}}, merged.Services); diff != "" {
		t.Errorf("Services of two replicas (-want +got):\n%s", diff)
	}
}

// TestCallerWithoutSidecar: the namespace that it is in may have callers with one, and what it calls has a name.
func TestCallerWithoutSidecar(t *testing.T) {
	a := chain()
	k, _ := ParseKind("ns")
	if rows := Edges(a, &k, "shop"); !slices.ContainsFunc(rows, func(r EdgeRow) bool {
		return r.Src == "shop" && r.Dst == "shop" && r.Secured() == "Not Provided By Remote: plaintext from 10.0.3.7, not in the mesh"
	}) {
		t.Errorf("edges ns lack the plaintext within the namespace: %+v", rows)
	}
	rows, err := Routes(a, select1(t, Select{}, "deploy/legacy"), ByBackend)
	if err != nil || len(rows) != 2 || rows[1].Backend != "web:8080" {
		t.Errorf("stat-outbound deploy/legacy: %+v, %v", rows, err)
	}
}

func TestParseResources(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string // or the error
	}{
		{"deploy", "deploy"},
		{"Deployments/web", "deploy/web"},
		{"deploy web api", "deploy/web deploy/api"},
		{"po/a svc/b", "po/a svc/b"},
		{"deploy sts/db", "deploy sts/db"},
		{"deploy,sts", "deploy sts"},
		{"deploy/web,svc", "deploy/web svc"},
		{"deploy,", `cannot find the kind "": use one of ds, sts, job, cj, rs, rc, deploy, po, svc, ns`},
		{"all", "ds sts job cj rs rc deploy po svc"},
		{"widgets", `cannot find the kind "widgets": use one of ds, sts, job, cj, rs, rc, deploy, po, svc, ns`},
		{"deploy/", `"deploy/" is no name of a resource: write deploy/NAME`},
		{"deploy/a/b", `"deploy/a/b" is no name of a resource: write deploy/NAME`},
	} {
		all, err := ParseResources(strings.Fields(tt.args))
		var words []string
		for i := range all {
			words = append(words, all[i].String())
		}
		got := strings.Join(words, " ")
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("ParseResources(%s) = %s, want %s", tt.args, got, tt.want)
		}
	}
}

// TestLessThanAllIsNotAll: one failure of a hundred thousand is seen.
func TestLessThanAllIsNotAll(t *testing.T) {
	for share, want := range map[float64]string{1: "100.00%", 0.99999: "99.99%", 0: "0.00%", 0.5: "50.00%"} {
		if got := percent(&share); got != want {
			t.Errorf("percent(%v) = %s, want %s", share, got, want)
		}
	}
}
