package main

import (
	"strings"
	"testing"
)

// TestReportsSayWhereWeAreBehind makes both reports of a run in which one peer needs more, one less, and one failed.
func TestReportsSayWhereWeAreBehind(t *testing.T) {
	c := CellRun{Cell: matrix()[1]}
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
	run := &Run{Rounds: 3, Seconds: 1, Cells: []CellRun{c}, Idle: map[string]int{ours: 8192}, Versions: map[string]string{"nginx": "1.22"}}
	text := Markdown(run)
	for _, want := range []string{"| envoy | 61.0 | 21.0 | 0.34 (", " | ahead | 3 |", "| nginx | 11.0 | 21.0 | **1.9", " | behind | 3 |", "haproxy failed in round 2: refused", "| fairlead | 8.0 |"} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	page, err := Page(run)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`class="row ahead"><span>envoy`, `class="row behind"><span>nginx`, "refused &lt;b&gt;", "not quiet"} {
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
