//go:build prometheus

package lab_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// chartFiles is where the chart has dashboards and alerts.
const chartFiles = "../../deploy/chart/files/"

// shownQueries reads what the panels of the chart's dashboards ask, with the variables as a user of the lab would choose them.
func shownQueries(t *testing.T) (all []dashboardQuery) {
	t.Helper()
	empty := emptyPanels(t)
	pages, err := filepath.Glob(chartFiles + "dashboards/*.json")
	if err != nil || len(pages) < 3 {
		t.Fatal(pages, err)
	}
	chosen := strings.NewReplacer("$__rate_interval", "1m", "$namespace", "shop", "$workload", "(client|server)-v1", "$pod", ".*")
	for _, path := range pages {
		var d struct {
			Title  string
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		content, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(content, &d)
		}
		if err != nil {
			t.Fatal(path, err)
		}
		for _, p := range d.Panels {
			name := strings.TrimPrefix(d.Title, "Fairlead / ") + ", " + p.Title
			for _, q := range p.Targets {
				all = append(all, dashboardQuery{by: name, query: chosen.Replace(q.Expr), data: !empty[name]})
			}
			delete(empty, name)
		}
	}
	for name := range empty {
		t.Errorf("the documentation says why panel %q is empty: there is none", name)
	}
	return all
}

// emptyPanels reads which panels have nothing to show in the lab, and why.
func emptyPanels(t *testing.T) map[string]bool {
	t.Helper()
	page, err := os.ReadFile("../../docs/reference/prometheus.md")
	if err != nil {
		t.Fatal(err)
	}
	empty := map[string]bool{}
	_, section, ok := strings.Cut(string(page), "\n| Panel | Empty in the lab, because |\n|---|---|\n")
	if !ok {
		t.Fatal("no table of empty panels in the documentation")
	}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "| "), " | ")
		if len(cells) != 2 {
			break
		}
		empty[cells[0]] = true
	}
	return empty
}

// rulesAreLoaded: the Prometheus of the lab evaluates the chart's alerts without an error, and takes the errors of the lab's
// server for what they are.
func (m *mesh) rulesAreLoaded(t *testing.T) {
	t.Helper()
	type rule struct{ Name, Health, LastError, State string }
	var said struct {
		Data struct{ Groups []struct{ Rules []rule } }
	}
	eventually(t, "every alert was evaluated, and that of the server's errors is pending", func() bool {
		if err := json.Unmarshal([]byte(m.prometheus(t, "/api/v1/rules")), &said); err != nil {
			t.Fatal(err)
		}
		evaluated, pending := 0, false
		for _, g := range said.Data.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" {
					t.Fatalf("%s: %s", r.Name, r.LastError)
				}
				if r.Health == "ok" {
					evaluated++
				}
				pending = pending || r.Name == "FairleadServerErrors" && r.State != "inactive"
			}
		}
		return evaluated >= 17 && pending
	})
}

// TestPrometheusRules has Prometheus' own tool read the chart's alerts and run their tests.
func TestPrometheusRules(t *testing.T) {
	bin := os.Getenv("FAIRLEAD_PROMETHEUS")
	if bin == "" {
		t.Fatal("FAIRLEAD_PROMETHEUS is not set: run make prometheus")
	}
	for _, args := range [][]string{
		{"check", "rules", "--lint-fatal", chartFiles + "alerts/fairlead.yaml"},
		{"test", "rules", "../alerts/fairlead_test.yaml"},
	} {
		if out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "promtool"), args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
