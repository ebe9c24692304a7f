package view

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEveryNodeSaysItsNamespace: the page takes what has none for what is in none, and draws nothing where it is not told.
func TestEveryNodeSaysItsNamespace(t *testing.T) {
	raw, err := json.Marshal(GraphOf(chain()))
	if err != nil {
		t.Fatal(err)
	}
	var g struct{ Nodes []map[string]any }
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	outside := 0
	for _, n := range g.Nodes {
		if ns, ok := n["ns"].(string); !ok {
			t.Errorf("node %v does not say its namespace", n["id"])
		} else if ns == "" {
			outside++
		}
	}
	if outside != 4 { // an address, a host, a call that reached nothing, and others put together
		t.Errorf("%d nodes are in no namespace, want 4: %s", outside, raw)
	}
}

// TestGraph: who calls whom in the chain, each call once.
func TestGraph(t *testing.T) {
	g := GraphOf(chain())
	var got strings.Builder
	for _, n := range g.Nodes {
		requests := "-"
		if n.Total != nil {
			requests = strconv.FormatUint(n.Total.Requests, 10)
		}
		fmt.Fprintf(&got, "node %s meshed=%v pods=%d requests=%s\n", n.ID, n.Meshed, n.Pods, requests)
	}
	for i := range g.Edges {
		e := &g.Edges[i]
		share := "-"
		if e.Share != nil {
			share = fmt.Sprintf("%.3f", *e.Share)
		}
		fmt.Fprintf(&got, "edge %s > %s service=%s route=%s secured=%v note=%q share=%s requests=%d failures=%d conns=%d\n",
			e.Src, e.Dst, e.Service, e.Route, e.Secured, e.Note, share, e.Total.Requests, e.Total.Failures, e.Total.Conns)
	}
	for _, s := range g.Services {
		fmt.Fprintf(&got, "service %s requests=%d\n", s.ID, s.Total.Requests)
	}
	for _, n := range g.Namespaces {
		fmt.Fprintf(&got, "namespace %s requests=%d mtls=%.4f workloads=%d pods=%d/%d\n", n.Name, n.Total.Requests, *n.MTLS, n.Workloads, n.MeshedPods, n.Pods)
	}
	golden := filepath.Join("testdata", "graph.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
