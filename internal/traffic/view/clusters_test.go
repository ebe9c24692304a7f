package view

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/traffic"
)

// TestEdgesOfSeveralClusters: workloads of one name in two clusters are two rows, and what calls the one is no traffic of the other.
func TestEdgesOfSeveralClusters(t *testing.T) {
	pod := func(cluster, workload, name string) traffic.Pod {
		return traffic.Pod{Cluster: cluster, Namespace: "shop", Name: name, Kind: "Deployment", Workload: workload, Meshed: true}
	}
	a := &traffic.Answer{
		Cluster: "west", Pods: []traffic.Pod{pod("", "web", "web-1"), pod("", "users", "users-1")}, Remote: []traffic.Pod{pod("east", "users", "users-2")},
	}
	flow := func(reporter string, d traffic.Direction, cluster, workload, name string, n uint64) {
		f := traffic.Flow{
			Namespace: "shop", Pod: reporter, Direction: d.String(), Seconds: 60,
			Edge:  traffic.Edge{Direction: d, Protocol: traffic.HTTP, Service: "users.shop", Peer: traffic.Peer{Cluster: cluster, Namespace: "shop", Workload: workload, Pod: name, Identity: "spiffe://cluster.local/ns/shop/sa/" + workload}},
			Total: traffic.Total{Responses: map[string]uint64{"2xx": n}},
		}
		a.Flows = append(a.Flows, f)
	}
	flow("web-1", traffic.Outbound, "west", "users", "users-1", 60)
	flow("web-1", traffic.Outbound, "east", "users", "users-2", 600)
	flow("users-1", traffic.Inbound, "west", "web", "web-1", 60)
	flow("users-1", traffic.Inbound, "east", "web", "web-9", 120)
	kinds, err := ParseResources([]string{"deploy"})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := EdgeTable(Edges(a, &kinds[0].Kind, "shop"), false).Write(&b); err != nil {
		t.Fatal(err)
	}
	const want = `
SRC   DST     SRC_NS   DST_NS   SRC_CLUSTER   DST_CLUSTER   SECURED
web   users   shop     shop     east          west          √
web   users   shop     shop     west          east          √
web   users   shop     shop     west          west          √
`
	if got := "\n" + b.String(); got != want {
		t.Errorf("edges:%swant:%s", got, want)
	}
	from, err := ParseResources([]string{"deploy/web"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		q    Select
		want uint64
	}{
		{"as_called", Select{Resources: kinds, Namespace: "shop"}, 180},
		{"as_callers_here_say", Select{Resources: kinds, Namespace: "shop", From: &from[0]}, 60},
	} {
		rows, err := Stat(a, &tt.q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.Name == "users" && r.Requests != tt.want {
				t.Errorf("%s: users has %d requests, want %d", tt.name, r.Requests, tt.want)
			}
		}
	}
}
