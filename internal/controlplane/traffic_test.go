package controlplane

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/traffic"
	"fairlead.dev/fairlead/internal/traffic/history"
)

// TestEdgesOfANamespaceAreThoseThatTouchIt: who may see one namespace sees what calls it and what it calls, and no other pods.
func TestEdgesOfANamespaceAreThoseThatTouchIt(t *testing.T) {
	e := &engine{store: store.New()}
	e.store.Commit(func(tx *store.Txn) {
		for i, name := range []string{"shop/web", "shop/idle", "bank/ledger", "bank/secret", "old/plain"} {
			namespace, name, _ := strings.Cut(name, "/")
			tx.SetWorkload(model.Workload{
				Key: model.ClusterKey{Key: model.Key{Namespace: namespace, Name: name + "-1"}}, OwnerKind: "Deployment", OwnerName: name, ServiceAccount: name,
				IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})}, Meshed: namespace != "old",
			})
		}
	})
	alone := places{e, "Kubernetes", func() []string { return nil }}
	kept := reports{history.New(time.Now, history.Defaults()), nil, alone, "cluster.local"}
	report := func(namespace, pod string, rows ...traffic.Edge) {
		r := traffic.Report{Milliseconds: 10_000}
		for _, e := range rows {
			r.Rows = append(r.Rows, traffic.Row{Edge: e, Sample: traffic.Sample{Responses: [traffic.Classes]uint64{2: 1}}})
		}
		if err := kept.Summary(model.Key{Namespace: namespace, Name: pod}, r.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	ledger := traffic.Edge{Direction: traffic.Outbound, Protocol: traffic.HTTP, Peer: traffic.Peer{Namespace: "bank", Workload: "ledger", Pod: "ledger-1"}}
	fromPlain := traffic.Edge{Direction: traffic.Inbound, Protocol: traffic.HTTP, NoTLS: traffic.NotProvidedByRemote, Peer: traffic.Peer{Address: "10.0.0.5"}}
	secret := traffic.Edge{Direction: traffic.Outbound, Protocol: traffic.HTTP, Peer: traffic.Peer{Namespace: "bank", Workload: "secret", Pod: "secret-1"}}
	e.store.Commit(func(tx *store.Txn) {
		for _, key := range []model.Key{{Namespace: "void", Name: "nobody"}, {Namespace: "shop", Name: "web"}} {
			tx.SetServices(model.Ref{Kind: "Service", Key: key}, model.Service{Key: key, Host: model.Hostname(key.Name + "." + key.Namespace + ".svc.cluster.local")})
		}
	})
	toNobody := traffic.Edge{Direction: traffic.Outbound, Protocol: traffic.HTTP, Service: "nobody.void"}
	outside := traffic.Edge{Direction: traffic.Outbound, Protocol: traffic.HTTP, Service: "example.com"}
	report("shop", "web-1", ledger, toNobody, outside)
	report("bank", "ledger-1", fromPlain, secret)
	if err := kept.Summary(model.Key{Namespace: "shop", Name: "web-1"}, []byte("nonsense")); err == nil {
		t.Error("nonsense is taken for a report")
	}

	view := edgesView{e, kept.Store, alone, "cluster.local"}
	ask := func(query string) (a traffic.Answer, code int, text string) {
		w := httptest.NewRecorder()
		view.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?"+query, http.NoBody))
		if w.Code == http.StatusOK {
			if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
				t.Fatal(err)
			}
		}
		return a, w.Code, w.Body.String()
	}
	for _, tt := range []struct{ namespace, flows, pods string }{
		{"shop", "web-1> web-1> web-1>ledger-1", "idle-1 ledger-1 web-1"},
		{"bank", "ledger-1>10.0.0.5 ledger-1>secret-1 web-1>ledger-1", "ledger-1 plain-1 secret-1 web-1"},
		{"old", "ledger-1>10.0.0.5", "ledger-1 plain-1"},
		{"void", "web-1>", "web-1"}, // a Service that has no endpoint
		{"none", "", ""},
		{"com", "", ""},
		{"", "ledger-1>10.0.0.5 ledger-1>secret-1 web-1> web-1> web-1>ledger-1", "idle-1 ledger-1 plain-1 secret-1 web-1"},
	} {
		a, _, _ := ask("window=1m&namespace=" + tt.namespace)
		var flows, pods []string
		for i := range a.Flows {
			p := &a.Flows[i].Edge.Peer
			flows = append(flows, a.Flows[i].Pod+">"+p.Pod+p.Address)
		}
		for i := range a.Pods {
			pods = append(pods, a.Pods[i].Name)
		}
		slices.Sort(flows)
		slices.Sort(pods)
		if strings.Join(flows, " ") != tt.flows || strings.Join(pods, " ") != tt.pods {
			t.Errorf("namespace %q: %v of %v, want %s of %s", tt.namespace, flows, pods, tt.flows, tt.pods)
		}
	}
	for namespace, want := range map[string]int{"": 2, "void": 1, "bank": 0} {
		if a, _, _ := ask("window=1m&services=true&namespace=" + namespace); len(a.Services) != want {
			t.Errorf("Services of namespace %q: %v, want %d", namespace, a.Services, want)
		}
	}
	if a, _, _ := ask("window=1m"); a.Services != nil {
		t.Errorf("Services that nobody asked for: %v", a.Services)
	}
	e.store.Commit(func(tx *store.Txn) {
		tx.DeleteWorkload(model.ClusterKey{Key: model.Key{Namespace: "shop", Name: "web-1"}})
		tx.DeleteWorkload(model.ClusterKey{Key: model.Key{Namespace: "shop", Name: "idle-1"}}) // which no edge has
	})
	report("shop", "web-1", ledger) // its last one
	for namespace, want := range map[string][]traffic.Pod{
		"shop": {{Namespace: "shop", Name: "web-1", Kind: "Deployment", Workload: "web", Identity: "spiffe://cluster.local/ns/shop/sa/web", Meshed: true}}, "old": nil,
	} {
		if a, _, _ := ask("window=1m&namespace=" + namespace); !reflect.DeepEqual(a.Gone, want) {
			t.Errorf("pods of namespace %s that have gone: %+v, want %+v", namespace, a.Gone, want)
		}
	}
	for _, window := range []string{"", "x", "0s", "-1m", "2h"} {
		if _, code, text := ask("window=" + window); code != http.StatusBadRequest || !strings.Contains(text, "write a duration") {
			t.Errorf("window %q: %d %s", window, code, text)
		}
	}
}

// TestPartsOfASeries: a chart of an hour has minutes, unless steps are asked for.
func TestPartsOfASeries(t *testing.T) {
	kept := history.New(time.Now, history.Defaults())
	kept.Add(model.Key{Namespace: "shop", Name: "web-1"}, &traffic.Report{Milliseconds: 10_000, Rows: []traffic.Row{
		{Edge: traffic.Edge{Direction: traffic.Outbound, Protocol: traffic.HTTP}, Sample: traffic.Sample{Responses: [traffic.Classes]uint64{2: 1}}},
	}})
	view := seriesView{edgesView{&engine{store: store.New()}, kept, places{}, "cluster.local"}}
	for query, want := range map[string]string{
		"window=15m": `{"seconds":10,`, "window=16m": `{"seconds":60,`, "window=1h&step=10s": `{"seconds":10,`, "window=1m&step=30s": `{"seconds":30,`,
		"window=1m&step=15s": `step "15s": write a multiple of 10s, such as 1m`, "window=1m&step=0s": `step "0s": write`, "window=1m&step=x": `step "x": write`,
	} {
		w := httptest.NewRecorder()
		view.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?"+query, http.NoBody))
		if got := w.Body.String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s…", query, got, want)
		}
	}
}

// TestEdgesOfSeveralClusters: pods of the same workload in two clusters are two edges, told with where they are.
func TestEdgesOfSeveralClusters(t *testing.T) {
	e := &engine{store: store.New()}
	e.store.Commit(func(tx *store.Txn) {
		for i, name := range []string{"/web-1", "/users-1", "east/users-2", "east/old-1", "/twin-1", "east/twin-1"} {
			cluster, name, _ := strings.Cut(name, "/")
			owner, _, _ := strings.Cut(name, "-")
			tx.SetWorkload(model.Workload{
				Key:       model.ClusterKey{Cluster: cluster, Key: model.Key{Namespace: "shop", Name: name}},
				OwnerKind: "Deployment", OwnerName: owner, ServiceAccount: owner, IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)})}, Meshed: true,
			})
		}
	})
	others := []string{"east"}
	where := places{e, "west", func() []string { return others }}
	kept := reports{history.New(time.Now, history.Defaults()), nil, where, "cluster.local"}
	kept.feed = observe.NewFeed()
	report := traffic.Report{Milliseconds: 10_000}
	for _, p := range []traffic.Peer{
		{Namespace: "shop", Workload: "users", Pod: "users-1"},
		{Namespace: "shop", Workload: "users", Pod: "users-2"},
		{Namespace: "shop", Workload: "twin", Pod: "twin-1"},
		{Cluster: "west", Namespace: "shop", Workload: "twin", Pod: "twin-1"},
		{Cluster: "east", Namespace: "shop", Workload: "twin", Pod: "twin-1"},
		{Cluster: "north", Namespace: "shop", Workload: "twin", Pod: "twin-1", Identity: "no such cluster"},
		{Cluster: "east", Namespace: "shop", Workload: "users", Pod: "users-1", Identity: "it has no such pod"},
		{Address: "10.0.0.4"},
		{Address: "10.0.0.4", Namespace: "shop", Identity: "spiffe://cluster.local/ns/shop/sa/old"},
		{Address: "10.0.0.4", Namespace: "shop", Identity: "spiffe://cluster.local/ns/shop/sa/users"},
		{Address: "10.0.0.9"},
		{Namespace: "shop", Workload: "users"},
		{Cluster: "east", Namespace: "shop", Workload: "users"},
		{Cluster: "north", Namespace: "shop", Workload: "users", Identity: "no such cluster"},
	} {
		edge := traffic.Edge{Direction: traffic.Outbound, Protocol: traffic.HTTP, Peer: p}
		report.Rows = append(report.Rows, traffic.Row{Edge: edge, Sample: traffic.Sample{Responses: [traffic.Classes]uint64{2: 1}}})
	}
	ask := func() (a traffic.Answer, all []string) {
		w := httptest.NewRecorder()
		edgesView{e, kept.Store, where, "cluster.local"}.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?window=1m", http.NoBody))
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		for i := range a.Flows {
			p := &a.Flows[i].Edge.Peer
			all = append(all, p.Pod+p.Address+"@"+p.Cluster)
		}
		slices.Sort(all)
		return a, all
	}
	tell := func() (traffic.Answer, []string) {
		if err := kept.Summary(model.Key{Namespace: "shop", Name: "web-1"}, report.Encode()); err != nil {
			t.Fatal(err)
		}
		return ask()
	}
	a, all := tell()
	if want := []string{"10.0.0.4@", "10.0.0.4@east", "10.0.0.4@east", "10.0.0.9@", "@", "@", "@east", "twin-1@", "twin-1@", "twin-1@east", "twin-1@west", "users-1@west", "users-1@west", "users-2@east"}; !slices.Equal(all, want) {
		t.Errorf("peers %q, want %q", all, want)
	}
	a.Remote = slices.DeleteFunc(a.Remote, func(p traffic.Pod) bool { return p.Name == "twin-1" && p.Cluster == "east" })
	if len(a.Remote) != 1 || a.Remote[0].Name != "users-2" || a.Remote[0].Cluster != "east" || a.Remote[0].Workload != "users" || a.Cluster != "west" {
		t.Errorf("in %q remote pods %+v", a.Cluster, a.Remote)
	}
	for i := range a.Pods {
		if a.Pods[i].Cluster != "" {
			t.Errorf("a pod of the own cluster is %+v", a.Pods[i])
		}
	}
	others = nil
	if a, _ = ask(); a.Cluster != "west" {
		t.Errorf("when the other cluster has gone, what was reported before is told in %q, want west", a.Cluster)
	}
	kept.Store = history.New(time.Now, history.Defaults())
	if a, all = tell(); a.Cluster != "" || slices.ContainsFunc(all, func(s string) bool { return !strings.HasSuffix(s, "@") }) {
		t.Errorf("a mesh of one cluster: in %q %q", a.Cluster, all)
	}
}
