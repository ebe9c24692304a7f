package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runOf is a run whose cells were measured with ours and some peers.
func runOf(commit string, peers []string, cells ...string) *Run {
	r := &Run{
		Date: "date of " + commit, Commit: commit, Foreign: 0.05, Seconds: 2, Machine: map[string]string{"cpu": "x"},
		Versions: map[string]string{ours: commit, "nginx": "1"},
	}
	for _, id := range cells {
		c := &CellRun{Cell: Cell{ID: id, Title: id}}
		for _, of := range append([]string{ours}, peers...) {
			c.Blocks = append(c.Blocks, Block{Of: of, CPU: 1, Requests: 1})
		}
		r.Cells = append(r.Cells, c)
	}
	return r
}

func TestCellsGoIntoAWholeRun(t *testing.T) {
	matrix := []Cell{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	whole, part := runOf("old", []string{"nginx", "goproxy"}, "b", "gone", "a", "long"), runOf("new", []string{"nginx"}, "c", "b")
	if err := put(part, whole, matrix); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range whole.Cells {
		got = append(got, c.ID+" "+c.Commit)
	}
	if want := "a , b new, c new, long "; strings.Join(got, ", ") != want {
		t.Errorf("cells %q, want %q", strings.Join(got, ", "), want)
	}
	if whole.Commit != "old" || !strings.Contains(Markdown(whole), "1 round. Measured apart, date of new, commit new.") {
		t.Errorf("the report does not say which cells are of another commit:\n%s", Markdown(whole))
	}
}

func TestFiguresThatDoNotBelongTogether(t *testing.T) {
	matrix := []Cell{{ID: "a"}}
	for _, tt := range []struct {
		name, want string
		change     func(*Run)
	}{
		{"another_machine", "the machine is another one", func(r *Run) { r.Machine["cpu"] = "y" }},
		{"another_nginx", "versions differ", func(r *Run) { r.Versions["nginx"] = "2" }},
		{"beside_others", "-foreign 1.00", func(r *Run) { r.Foreign = 1 }},
		{"shorter", "blocks are of 1 s, there of 2", func(r *Run) { r.Seconds = 1 }},
		{"cut", "the run is not whole: killed", func(r *Run) { r.Cut = "killed" }},
		{"a_peer_less", "a was not measured with nginx", func(r *Run) { r.Cells[0].Blocks = r.Cells[0].Blocks[:1] }},
		{"nothing", "nothing was measured", func(r *Run) { r.Cells[0].Blocks = nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			whole, part := runOf("old", []string{"nginx"}, "a"), runOf("new", []string{"nginx"}, "a")
			tt.change(part)
			if err := put(part, whole, matrix); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("put = %v, want %q", err, tt.want)
			}
			if whole.Cells[0].Commit != "" {
				t.Error("what was refused is in the whole")
			}
		})
	}
}

// TestPutInto does it with files, and what is refused leaves them as they were.
func TestPutInto(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, r *Run) string {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cell := matrix()[0].ID
	whole, part := file("whole.json", runOf("old", nil, cell)), file("part.json", runOf("new", nil, cell))
	cut := runOf("newer", nil, cell)
	cut.Cut = "killed"
	if err := putInto(file("cut.json", cut), whole); err == nil {
		t.Error("a run that was cut went in")
	}
	if err := run(t.Context(), []string{"-report", part, "-into", whole}); err != nil {
		t.Fatal(err)
	}
	var got Run
	if err := readRun(whole, &got); err != nil || got.Commit != "old" || got.Cells[0].Commit != "new" {
		t.Errorf("%+v, %v", got, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil || !strings.Contains(string(text), "commit new") {
		t.Errorf("the report: %v\n%s", err, text)
	}
}
