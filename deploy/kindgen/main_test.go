package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGenerated fails where a row of internal/config was changed and the chart was not: run go generate ./deploy.
func TestGenerated(t *testing.T) {
	want := map[string]string{}
	for name, content := range generate() {
		want[name] = string(content)
	}
	const dir = "../chart/files/kinds"
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
