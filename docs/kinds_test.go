package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/config"
)

// TestKinds compares the pages that speak of each kind with the table of kinds: which are read, in which versions, which
// have a status, and how their objects are counted.
func TestKinds(t *testing.T) {
	versions, status := map[string]string{}, map[string]string{}
	for _, row := range tableRows(t, "reference/manifests.md", "## Kinds") {
		for kind := range strings.SplitSeq(row[0], ", ") {
			versions[kind] = row[1]
		}
	}
	for _, row := range tableRows(t, "reference/kubernetes.md", "") {
		if names, ok := strings.CutPrefix(row[0], "`status` of "); ok {
			for kind := range strings.SplitSeq(strings.ReplaceAll(names, " and ", ", "), ", ") {
				status[kind] = row[2]
			}
		}
	}
	telemetry := read(t, "reference/telemetry.md")
	wantVersions, wantStatus := map[string]string{}, []string{}
	for _, k := range config.Kinds() {
		wantVersions[k.Name] = strings.Join(append([]string{k.APIVersion()}, k.Versions[1:]...), ", ")
		if k.Status != config.NoStatus {
			wantStatus = append(wantStatus, k.Name)
		}
		if k.Gauge != "" && !strings.Contains(telemetry, "`"+k.Gauge+"`") {
			t.Errorf("docs/reference/telemetry.md does not name %s", k.Gauge)
		}
	}
	if diff := cmp.Diff(wantVersions, versions); diff != "" {
		t.Errorf("kinds and versions of docs/reference/manifests.md (-read +documented):\n%s", diff)
	}
	documented := make([]string, 0, len(status))
	for kind := range status {
		documented = append(documented, kind)
	}
	slices.Sort(documented)
	slices.Sort(wantStatus)
	if diff := cmp.Diff(wantStatus, documented); diff != "" {
		t.Errorf("kinds with a status in docs/reference/kubernetes.md (-written +documented):\n%s", diff)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var rule = regexp.MustCompile(`^\|[-| ]*$`)

// tableRows gives the cells of the rows of the first table below a heading, or of all tables of a page.
func tableRows(t *testing.T, page, heading string) [][]string {
	t.Helper()
	_, text, found := strings.Cut(read(t, page), heading)
	if !found {
		t.Fatalf("%s: no heading %s", page, heading)
	}
	var rows [][]string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "|"):
			if cells := strings.Split(strings.Trim(line, "|"), "|"); !rule.MatchString(line) {
				for i := range cells {
					cells[i] = strings.TrimSpace(cells[i])
				}
				rows = append(rows, cells)
			} else {
				rows = rows[:len(rows)-1] // the heads
			}
		case heading != "" && len(rows) > 0:
			return rows
		}
	}
	return rows
}
