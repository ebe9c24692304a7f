package view

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
