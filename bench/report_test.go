package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestReportsSayWhereWeAreBehind makes both reports of a run in which one peer needs more, one less, and one failed.
func TestReportsSayWhereWeAreBehind(t *testing.T) {
	c := CellRun{Cell: matrix()[slices.IndexFunc(matrix(), func(c Cell) bool { return c.ID == "h1-1k-c1" })]}
	for round := range 3 {
		add := func(of string, cpu float64, failed string) {
			c.Blocks = append(c.Blocks, Block{Of: of, Round: round, CPU: cpu + float64(round), Requests: 1, Error: failed})
		}
		add(ours, 20, "")
		add("envoy", 60, "")
		add(ours, 20, "")
		add("nginx", 10, "")
		add(ours, 20, "")
		add("haproxy", 0, "refused <b>")
		add(ours, 20, "")
	}
	c.Blocks = append(c.Blocks, Block{Of: direct, P50: 20})
	for i := range c.Blocks[:len(c.Blocks)-1] {
		b := &c.Blocks[i]
		b.P50, b.P99, b.P999, b.RSS, b.Private = 10*b.CPU, 20*b.CPU, 40*b.CPU, 10240, 5120
	}
	c.Counted = []Block{{Of: ours, Calls: 7.5, Switches: 0.09, Allocations: 0.25}}
	c.Skipped = map[string]string{"haproxy": "refused"}
	run := &Run{
		Cut: "7 rounds did not fit.", Checks: []Check{{What: "wrk", Of: "nginx", First: 40, Second: 44}},
		Rounds: 3, Seconds: 1, Cells: []*CellRun{&c, {Cell: Cell{ID: "tcp-bulk-1", Title: "TCP bulk, 1 stream"}}}, Idle: map[string]int{ours: 8192}, Versions: map[string]string{"nginx": "1.22"},
	}
	text := Markdown(run)
	for _, want := range []string{
		"| envoy | 61.0 | 21.0 | 0.34 (", " | ahead | 3 |", "| nginx | 11.0 | 21.0 | **1.9", " | behind | 3 |", "| fairlead | 8.0 |",
		"1 connection: CPU | 0.35 (envoy) of 0.35 | **2.00** (nginx) of 0.90 |", "| without proxies | | | | | | 20 |",
		"| ours | 21.0 | | | | | 210 | 420 | 840 | 190 | 10.0 | 5.00 | 7.5 | 0.09 | 0.25 |", "haproxy failed in round 1, and was not run again: refused", "\n3 rounds.\n",
		"The run is not whole. 7 rounds did not fit. Each cell", "Not measured: TCP bulk, 1 stream.", "| wrk | nginx | 40.0 | 44.0 | +10 % |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	page, err := Page(run)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`class="row ahead"><span>envoy`, `class="row behind"><span>nginx`, "refused &lt;b&gt;", "<span>failed</span>",
		`<td class="behind">1.9`, `<strong>2.00</strong> (nginx) of 0.90`, "7 rounds did not fit", "<td>ours, µs</td><td>210</td>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, loads := range []string{"http://", "https://", "src=", "@import"} {
		if strings.Contains(page, loads) {
			t.Errorf("the page loads something: %s", loads)
		}
	}
}

func TestParseTakesNoFailureForAResult(t *testing.T) {
	const wrk = "  50%  120.00us\n  99%    1.50ms\n  1000 requests in 1.00s, 1.2MB read\n"
	for _, tt := range []struct {
		name, text string
		kind       Kind
		requests   int64
		bad        bool
	}{
		{"wrk", wrk + "\ncpu_ns 5000\n", KindHTTP1, 1000, false},
		{"wrk_that_got_nothing", "  50%    0.00us\n  99%    0.00us\n  0 requests in 1.00s, 0.00B read\n", KindHTTP1, 0, true},
		{"wrk_with_errors", wrk + "  Non-2xx or 3xx responses: 3\n", KindHTTP1, 0, true},
		{"wrk_that_broke_off", "unable to connect", KindHTTP1, 0, true},
		{"h2load", "requests: 5 total, 5 started, 5 done, 5 succeeded, 0 failed, 0 errored, 0 timeout\ntime for request:  1us  2.00ms  1.50ms  1us  60%\n", KindGRPC, 5, false},
		{"h2load_with_failures", "requests: 5 total, 5 started, 5 done, 4 succeeded, 1 failed, 1 errored, 0 timeout\n", KindGRPC, 0, true},
		{"load", `{"requests":7,"cpu":1}`, KindOpen, 7, false},
		{"load_with_errors", `{"requests":7,"errors":1,"error":"reset"}`, KindOpen, 0, true},
		{"load_that_did_nothing", `{}`, KindBulk, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := parse(tt.kind, tt.text)
			if (err != nil) != tt.bad || !tt.bad && out.Requests != tt.requests {
				t.Errorf("parse = %d requests, %v", out.Requests, err)
			}
		})
	}
	if out, _ := parse(KindHTTP1, wrk+"\ncpu_ns 5000\n"); out.P50 != 120 || out.P99 != 1500 || out.cpu != 5000 {
		t.Errorf("parse = %+v", out)
	}
}

// TestPublishedFiguresAreThoseOfTheRun makes the reports of the run that is in the tree once more.
func TestPublishedFiguresAreThoseOfTheRun(t *testing.T) {
	b, err := os.ReadFile("results.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "results.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeReports(filepath.Join(dir, "results.json")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"RESULTS.md", "RESULTS.html"} {
		made, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		there, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(made, there) {
			t.Errorf("%s is not what results.json makes: go run ./bench -report bench/results.json", name)
		}
	}
}

func TestCellsHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	workers := 1
	for _, c := range matrix() {
		if seen[c.ID] || c.Workers < workers {
			t.Errorf("%s: is there already, or its labs would be started once more", c.ID)
		}
		seen[c.ID], workers = true, c.Workers
	}
	for _, g := range goals() {
		if !seen[g.cell] {
			t.Errorf("a goal is set for %s, which is no cell", g.cell)
		}
	}
}
