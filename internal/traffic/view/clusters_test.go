package view

import (
	"fmt"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/traffic"
)

// twoClusters are web and users in west, web calls users of both clusters, and a web of east calls those of west.
func twoClusters() *traffic.Answer {
	pod := func(cluster, workload, name string) traffic.Pod {
		return traffic.Pod{Cluster: cluster, Namespace: "shop", Name: name, Kind: "Deployment", Workload: workload, Labels: map[string]string{"app": workload}, Meshed: true}
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
	return a
}

// TestGraphOfSeveralClusters: workloads of one name are a node in each cluster, and each call stands on one edge, whoever's control
// plane its caller reports to.
func TestGraphOfSeveralClusters(t *testing.T) {
	g := GraphOf(twoClusters())
	var got strings.Builder
	for _, n := range g.Nodes {
		requests := uint64(0)
		if n.Total != nil {
			requests = n.Total.Requests
		}
		fmt.Fprintf(&got, "%s of %s: app=%q pods=%d requests=%d\n", n.ID, n.Cluster, n.App, n.Pods, requests)
	}
	for i := range g.Edges {
		e := &g.Edges[i]
		fmt.Fprintf(&got, "%s > %s: %d, %.2f\n", e.Src, e.Dst, e.Total.Requests, *e.Share)
	}
	for _, n := range g.Namespaces {
		fmt.Fprintf(&got, "namespace %s: %d\n", n.Name, n.Total.Requests)
	}
	const want = `shop/deployment/users of west: app="users" pods=1 requests=180
shop/deployment/users@east of east: app="users" pods=0 requests=600
shop/deployment/web of west: app="web" pods=1 requests=0
shop/deployment/web@east of east: app="" pods=0 requests=0
shop/deployment/web > shop/deployment/users: 60, 0.09
shop/deployment/web > shop/deployment/users@east: 600, 0.91
shop/deployment/web@east > shop/deployment/users: 120, 1.00
namespace shop: 180
`
	if got.String() != want {
		t.Errorf("the map:\n%swant:\n%s", got.String(), want)
	}
}

// TestChooserOfSeveralClusters: a series is of the workload in its cluster.
func TestChooserOfSeveralClusters(t *testing.T) {
	a := twoClusters()
	for _, tt := range []struct {
		name string
		c    Choice
		want uint64
	}{
		{"a_workload_of_the_own_cluster", Choice{Node: "shop/deployment/users"}, 180},
		{"its_namesake", Choice{Node: "shop/deployment/users@east"}, 600},
		{"whatever_its_kind", Choice{Node: "shop/statefulset/users@east"}, 600},
		{"one_of_a_third_cluster", Choice{Node: "shop/deployment/users@north"}, 0},
		{"an_edge_at_home", Choice{Node: "shop/deployment/users", Src: "shop/deployment/web"}, 60},
		{"an_edge_that_leaves", Choice{Node: "shop/deployment/users@east", Src: "shop/deployment/web"}, 600},
		{"an_edge_that_comes_in", Choice{Node: "shop/deployment/users", Src: "shop/deployment/web@east"}, 120},
		{"a_Service_as_callers_here_say", Choice{Service: "shop/users"}, 660},
		{"the_namespace", Choice{Namespace: "shop"}, 180},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, tt.c.Cluster = range []string{"", "west"} {
				wanted := Chooser(a.Pods, nil, tt.c)
				got := uint64(0)
				for i := range a.Flows {
					if f := &a.Flows[i]; wanted(f.Namespace, f.Pod, &f.Edge) {
						got += f.Total.Responses["2xx"]
					}
				}
				if got != tt.want {
					t.Errorf("%d requests where the own cluster is called %q, want %d", got, tt.c.Cluster, tt.want)
				}
			}
		})
	}
	twin := traffic.Edge{Direction: traffic.Outbound, Peer: traffic.Peer{Cluster: "east", Namespace: "shop", Workload: "users", Pod: "users-1", Identity: "spiffe://cluster.local/ns/shop/sa/users"}}
	for node, want := range map[string]bool{"shop/deployment/users": false, "shop/deployment/users@east": true} {
		if got := Chooser(a.Pods, nil, Choice{Node: node, Cluster: "west"})("shop", "web-1", &twin); got != want {
			t.Errorf("calls to a pod of east that is called as one of west are of %s: %v, want %v", node, got, want)
		}
	}
}

// TestEdgesOfSeveralClusters: workloads of one name in two clusters are two rows, and what calls the one is no traffic of the other.
func TestEdgesOfSeveralClusters(t *testing.T) {
	a := twoClusters()
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

// TestEdgesThroughAGateway: a caller whose connection a gateway passed on is no pod of the gateway, but who it has proved to be.
func TestEdgesThroughAGateway(t *testing.T) {
	const id = "spiffe://cluster.local/ns/shop/sa/"
	a := &traffic.Answer{Cluster: "east", Pods: []traffic.Pod{
		{Namespace: "shop", Name: "users-1", Kind: "Deployment", Workload: "users", Meshed: true, Identity: id + "users"},
		{Namespace: "shop", Name: "web-1", Kind: "Deployment", Workload: "web", Meshed: true, Identity: id + "web", IPs: []string{"10.0.0.2"}},
		{Namespace: "net", Name: "gateway-1", Kind: "Deployment", Workload: "gateway", Identity: "spiffe://cluster.local/ns/net/sa/gateway", IPs: []string{"10.0.0.9"}},
	}}
	for _, peer := range []traffic.Peer{
		{Identity: id + "web", Address: "10.0.0.9"},
		{Identity: id + "web", Address: "10.0.0.2", Cluster: "east"},
	} {
		a.Flows = append(a.Flows, traffic.Flow{
			Namespace: "shop", Pod: "users-1", Direction: traffic.Inbound.String(), Seconds: 60,
			Edge:  traffic.Edge{Protocol: traffic.HTTP, Service: "users.shop", Peer: peer}, // as JSON, without its direction
			Total: traffic.Total{Responses: map[string]uint64{"2xx": 60}},
		})
	}
	for of, want := range map[string]string{
		"deploy": `
SRC      DST     SRC_NS   DST_NS   SRC_CLUSTER   DST_CLUSTER   CLIENT_ID   SERVER_ID    SECURED
sa/web   users   shop     shop     -             east          web.shop    users.shop   √
web      users   shop     shop     east          east          web.shop    users.shop   √
`,
		"ns": `
SRC    DST    SRC_NS   DST_NS   SRC_CLUSTER   DST_CLUSTER   CLIENT_ID   SERVER_ID    SECURED
shop   shop   shop     shop     -             east          web.shop    users.shop   √
shop   shop   shop     shop     east          east          web.shop    users.shop   √
`,
	} {
		kinds, err := ParseResources([]string{of})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := EdgeTable(Edges(a, &kinds[0].Kind, "shop"), true).Write(&b); err != nil {
			t.Fatal(err)
		}
		if got := "\n" + b.String(); got != want {
			t.Errorf("edges %s:%swant:%s", of, got, want)
		}
	}
}
