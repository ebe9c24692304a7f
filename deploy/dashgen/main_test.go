package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGenerated fails where a table was changed and the chart was not: run go generate ./deploy.
func TestGenerated(t *testing.T) {
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for name, content := range files {
		want[name] = string(content)
	}
	const dir = "../chart/files/dashboards"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = string(content)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("not what go generate ./deploy would write (-want +got):\n%s", diff)
	}
}

// TestDashboards: what Grafana demands of every page, and what a reader of one expects.
func TestDashboards(t *testing.T) {
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		t.Run(name, func(t *testing.T) {
			var d struct {
				UID    string
				Panels []struct {
					ID          int
					Title, Type string
					GridPos     struct{ X, Y, W, H int }
					Targets     []struct{ RefID, Expr string }
				}
			}
			if err := json.Unmarshal(content, &d); err != nil {
				t.Fatal(err)
			}
			if d.UID == "" || len(d.UID) > 40 { // Grafana's bound
				t.Errorf("uid %q", d.UID)
			}
			ids, titles := map[int]bool{}, map[string]bool{}
			row := ""
			for i, p := range d.Panels {
				if ids[p.ID] {
					t.Errorf("two panels have ID %d", p.ID)
				}
				ids[p.ID] = true
				if p.Type == "row" {
					row = p.Title
					continue
				}
				if titles[row+p.Title] || len(p.Targets) == 0 {
					t.Errorf("%s, %s: is there twice, or asks nothing", row, p.Title)
				}
				titles[row+p.Title] = true
				for _, q := range d.Panels[:i] {
					if p.GridPos.X < q.GridPos.X+q.GridPos.W && q.GridPos.X < p.GridPos.X+p.GridPos.W &&
						p.GridPos.Y < q.GridPos.Y+q.GridPos.H && q.GridPos.Y < p.GridPos.Y+p.GridPos.H {
						t.Errorf("%s lies on %s", p.Title, q.Title)
					}
				}
			}
		})
	}
}
