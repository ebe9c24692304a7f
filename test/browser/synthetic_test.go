package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// synthetic serves the page with the data of a mesh that does not exist, as web/mock makes it up.
func synthetic(t *testing.T, mesh string) (url string, stop func()) {
	t.Helper()
	cmd := exec.Command("node", "../../web/mock/server.mjs", "--mesh", mesh, "--port", "0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("web/mock has said %q: %v", line, err)
	}
	url, _, _ = strings.Cut(line, " ")
	return url, stop
}

// The budgets of the page with 500 services that make 2,000 kinds of calls.
const (
	mostBytes      = 110 * 1024 // of scripts and styles, packed
	mostFirstPaint = 300 * time.Millisecond
	mostLayout     = time.Second
	mostTask       = 200 * time.Millisecond
)

// TestBudgets measures the page with a large mesh. Times are those that the thread in question has run on a processor, which the
// browser's own trace tells: a machine that is busy with other things makes them no longer than its caches and its other half of a
// core do, and what the clock says is logged beside them.
func TestBudgets(t *testing.T) {
	bytes := int64(0)
	files, err := filepath.Glob("../../web/dist/assets/*.gz")
	if err != nil || len(files) < 3 {
		t.Fatalf("the built page has %d files: %v", len(files), err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
	}
	t.Logf("%d bytes of scripts and styles, packed", bytes)
	if bytes > mostBytes {
		t.Errorf("scripts and styles have %d bytes packed, more than %d", bytes, mostBytes)
	}

	url, _ := synthetic(t, "big")
	ctx := open(t)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	edges := 0
	r := record(t, ctx, func() {
		if err := chromedp.Do(ctx, chromedp.Navigate(url+"#/map?detail=workloads")); err != nil {
			t.Fatal(err)
		}
		see(t, ctx, "all services", `document.querySelectorAll("g.node").length == 500`)
		const follow = `(() => { window.seen = 0; performance.mark("fairlead-live")
			new MutationObserver(() => { window.seen++ }).observe(document.querySelector("header ~ .bar"), { subtree: true, characterData: true }); return true })()`
		see(t, ctx, "the time of the numbers", follow)
		see(t, ctx, "ten times new numbers", `window.seen >= 10`)
		edges, err = chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll(".edge").length`))
		if err != nil {
			t.Fatal(err)
		}
	})
	if edges != 2000 {
		t.Errorf("the map has %d edges, want 2000", edges)
	}

	begun := r.find(t, "navigation", func(e *traceEvent) bool {
		return e.Name == "navigationStart" && strings.HasPrefix(e.Args.Data.URL, url)
	})
	page := r.thread(t, "CrRendererMain", begun.Pid)
	painted := r.find(t, "first paint", func(e *traceEvent) bool {
		return e.Name == "firstContentfulPaint" && e.Pid == begun.Pid && e.At > begun.At
	})
	took, _ := cpu(r.tasks(page, begun.At, painted.At))
	t.Logf("first paint: %s of processor time, %.0f ms by the clock", took, (painted.At-begun.At)/1000)
	if took > mostFirstPaint {
		t.Errorf("until the first paint the page runs %s, more than %s", took, mostFirstPaint)
	}

	worker := r.thread(t, "DedicatedWorker", begun.Pid)
	live := r.find(t, "mark of the time from which it is live", func(e *traceEvent) bool { return e.Name == "fairlead-live" })
	laid, _ := cpu(r.tasks(worker, begun.At, live.At))
	t.Logf("layout: %s of processor time, the start of its worker included", laid)
	if laid == 0 || laid > mostLayout {
		t.Errorf("the layout takes %s, want at most %s, and something", laid, mostLayout)
	}

	_, first := cpu(r.tasks(page, begun.At, live.At))
	tasks := r.tasks(page, live.At, math.Inf(1))
	all, longest := cpu(tasks)
	t.Logf("live: %d tasks of %s together, the longest %s; until it is live the longest is %s", len(tasks), all, longest, first)
	if len(tasks) < 10 || longest > mostTask {
		t.Errorf("of %d tasks while it is live the longest has %s, want at most %s, of at least 10 tasks", len(tasks), longest, mostTask)
	}
}

// views are where a user can be in the shop of web/mock, and what is seen there when all of it is there.
var views = []struct{ name, link, seen string }{
	{"overview", "#/overview", `document.querySelectorAll("main canvas").length > 0 && document.querySelectorAll("main tbody tr").length > 3`},
	{"commands", "#/overview?cli=1", `document.querySelectorAll("main .command").length > 2`},
	{"replay", "#/overview?at=LATELY", `!!document.querySelector("input[type=range]") && document.querySelectorAll("main tbody tr").length > 3`},
	{"map", "#/map", `document.querySelectorAll("g.node").length > 10`},
	{"map of namespaces", "#/map?detail=namespaces", `document.querySelectorAll("g.node").length > 3`},
	{"a workload on the map", "#/map?sel=shop%2Fdeployment%2Forders", `!!document.querySelector("aside h2")`},
	{"an edge on the map", "#/map?sel=shop%2Fdeployment%2Fstorefront%3Eshop%2Fdeployment%2Fcatalog-v2", `!!document.querySelector("aside h2")`},
	{"the map as a table", "#/map?as=table", `document.querySelectorAll("main tbody tr").length > 10`},
	{"workloads", "#/workloads", `document.querySelectorAll("main tbody tr").length > 10`},
	{"services", "#/workloads?list=services", `document.querySelectorAll("main tbody tr").length > 10`},
	{"workload", "#/workloads/workload/payments/deployment/payments", `document.querySelectorAll("main tbody tr").length > 1 && document.querySelectorAll(".failures li").length > 1`},
	{"service", "#/workloads/service/shop/catalog", `document.querySelectorAll("main tbody tr").length > 4`},
	{"a live request", "#/live?run=1&ns=shop&resource=deploy%2Fstorefront", `(document.querySelector("aside h2") || document.querySelector("main tbody tr.link")?.click(), !!document.querySelector("aside h2"))`},
	{"problems", "#/problems", `document.querySelector("main").innerText.includes("payments-next")`},
	{"objects", "#/config", `document.querySelectorAll("main .objects li").length > 4`},
	{"an object", "#/config/HTTPRoute/payments/payments", `document.querySelectorAll(".yaml .row").length > 10 && !!document.querySelector(".yaml .said")`},
}

// violation is what axe-core finds.
type violation struct {
	ID     string `json:"id"`
	Impact string `json:"impact"`
	Help   string `json:"help"`
	Nodes  []struct {
		HTML string `json:"html"`
		Why  string `json:"failureSummary"`
	} `json:"nodes"`
}

// inspect has axe-core look at what is shown.
func inspect(t *testing.T, ctx context.Context) {
	t.Helper()
	const run = `axe.run(document, { resultTypes: ["violations"] }).then(r => JSON.stringify({ violations: r.violations, rules: r.passes.length }))`
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](run, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Violations []violation `json:"violations"`
		Rules      int         `json:"rules"`
	}
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		t.Fatal(err)
	}
	if found.Rules < 10 {
		t.Errorf("axe-core has looked at %d rules only", found.Rules)
	}
	for _, v := range found.Violations {
		say := t.Logf
		if v.Impact == "serious" || v.Impact == "critical" {
			say = t.Errorf
		}
		for _, n := range v.Nodes {
			say("%s (%s): %s\n%s\n%s", v.ID, v.Impact, v.Help, n.HTML, n.Why)
		}
	}
}

// TestAccessibility has axe-core look at every view in both themes, with and without a server that answers.
func TestAccessibility(t *testing.T) {
	axe, err := os.ReadFile("../../web/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"light", "dark"} {
		t.Run(scheme, func(t *testing.T) {
			url, stop := synthetic(t, "shop")
			ctx := open(t)
			media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}
			if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
				t.Fatal(err)
			}
			if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
				t.Fatal(err)
			}
			if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool](string(axe)+"; true")); err != nil {
				t.Fatal(err)
			}
			see(t, ctx, "numbers", `document.querySelectorAll("main tbody tr").length > 3`)
			lately, err := chromedp.Run(ctx, chromedp.Evaluate[string](`String(Date.now() - 600000)`))
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range views {
				t.Run(strings.ReplaceAll(v.name, " ", "_"), func(t *testing.T) {
					link := strings.ReplaceAll(v.link, "LATELY", lately)
					see(t, ctx, "the place", `(location.hash = `+"`"+link+"`"+`, true)`)
					see(t, ctx, v.name, v.seen)
					see(t, ctx, "the end of loading", `!document.querySelector("main .loading")`)
					inspect(t, ctx)
				})
			}
			t.Run("no_server", func(t *testing.T) {
				see(t, ctx, "the place", `(location.hash = "#/overview", true)`)
				stop()
				see(t, ctx, "that the server has gone", `!!document.querySelector(".banner")`)
				inspect(t, ctx)
			})
		})
	}
}
