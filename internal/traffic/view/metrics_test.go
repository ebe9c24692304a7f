package view

import (
	"strings"
	"testing"
)

// TestMetrics: the lines of "istioctl x metrics", by the counts of the called sidecar, and of the caller's where that is the only one.
func TestMetrics(t *testing.T) {
	var rows []MetricsRow
	for _, workload := range []string{"web", "api", "legacy"} {
		row, err := Metrics(chain(), workload, "shop")
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	var out strings.Builder
	if err := WriteMetrics(&out, rows); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"WORKLOAD TOTAL RPS ERROR RPS P50 LATENCY P90 LATENCY P99 LATENCY",
		"api 33.000 10.000 2.8ms 3.2ms 97.5ms", // 1,860 requests that took up to 3.2 ms, 600 of them failed, and 120 of 90 ms
		"legacy 0.000 0.000 0s 0s 0s",
		"web 10.100 0.100 10.9ms 12.4ms 12.8ms", // of 606 requests 6 failed
	}
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	for i := range lines {
		if got := strings.Join(strings.Fields(lines[i]), " "); i >= len(want) || got != want[i] {
			t.Errorf("line %d is %q", i, got)
		}
	}
	if len(lines) != len(want) || !strings.HasPrefix(lines[0], strings.Repeat(" ", 34)+"WORKLOAD") {
		t.Errorf("%d lines:\n%s", len(lines), out.String())
	}
	for _, tt := range [][2]string{{"wbe", "shop"}, {"web", "bank"}} {
		if _, err := Metrics(chain(), tt[0], tt[1]); err == nil || !strings.Contains(err.Error(), "no workload \""+tt[0]+"\" in namespace "+tt[1]) {
			t.Errorf("Metrics(%v): %v", tt, err)
		}
	}
}
