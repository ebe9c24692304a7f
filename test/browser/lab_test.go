package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// labels is what the edges of the map say, "90.2 of 90 %", as JavaScript.
const labels = `[...document.querySelectorAll("g.label text")].map(e => e.textContent)`

// shared is JavaScript that is true where an edge of a weight has at most three points more or less of the calls.
func shared(weight int) string {
	return fmt.Sprintf(`%s.some(l => { const m = /([\d.]+) of %d %%/.exec(l); return m && Math.abs(m[1] - %d) <= 3 })`, labels, weight, weight)
}

// share is JavaScript that is true where an edge has at most six points more or less of the calls, whatever its weight is now. What is past
// stays as it is: of the thousand calls of ten seconds a tenth is 3 points off once in six hundred times, and 6 points never.
func share(percent int) string {
	return fmt.Sprintf(`%s.some(l => { const m = /([\d.]+) of \d+ %%/.exec(l); return m && Math.abs(m[1] - %d) <= 6 })`, labels, percent)
}

// remember has the page show the present moment until another is chosen, gives that moment, and waits until it is past: what is
// kept of it, in steps of ten seconds, does not change any more.
func remember(t *testing.T, ctx context.Context) (moment string) {
	t.Helper()
	click(t, ctx, "Replay")
	see(t, ctx, "a moment in the link", `/at=\d+/.test(location.hash)`)
	moment, err := chromedp.Run(ctx, chromedp.Evaluate[string](`/at=(\d+)/.exec(location.hash)[1]`))
	if err != nil {
		t.Fatal(err)
	}
	see(t, ctx, "the next steps", fmt.Sprintf("Date.now() > %s + 20000", moment))
	click(t, ctx, "Back to live")
	see(t, ctx, "the present", `!location.hash.includes("at=")`)
	return moment
}

// click presses the button of a name.
func click(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	button := fmt.Sprintf(`[...document.querySelectorAll("button")].find(e => e.textContent.trim() == %q && !e.disabled)`, name)
	see(t, ctx, "the button "+name, "!!"+button)
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("("+button+".click(), true)")); err != nil {
		t.Fatal(err)
	}
}

// rows is what the rows of a table of endpoints say, a text each, as JavaScript.
const rows = `[...document.querySelectorAll("main table")].filter(t => t.caption?.textContent == "Endpoints").flatMap(t => [...t.tBodies[0].rows]).map(r => r.innerText)`

// TestDashboard follows what a user does with the example.
func TestDashboard(t *testing.T) {
	dir, lab := startLab(t)
	load(t, lab)
	url, stop := serve(t, lab, "0")
	ctx := open(t)
	visit := func(t *testing.T, link string) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.Navigate("about:blank"), chromedp.Navigate(url+link)); err != nil {
			t.Fatal(err)
		}
	}
	visit(t, "#/map?window=15")
	see(t, ctx, "three workloads", `document.querySelectorAll("g.node").length == 3`)
	see(t, ctx, "nine tenths of the calls at the edge of weight 90", shared(90))
	see(t, ctx, "a tenth at that of weight 10", shared(10))

	before := remember(t, ctx)
	weights := filepath.Join(dir, "weights.yaml")
	original, err := os.ReadFile(weights)
	if err != nil {
		t.Fatal(err)
	}
	// edit gives v1 a weight and v2 the rest, and tells how long it takes until the map says so.
	edit := func(t *testing.T, weight int) time.Duration {
		t.Helper()
		edited := strings.NewReplacer("weight: 90", fmt.Sprintf("weight: %d", weight), "weight: 10", fmt.Sprintf("weight: %d", 100-weight)).Replace(string(original))
		if err := os.WriteFile(weights, []byte(edited), 0o644); err != nil {
			t.Fatal(err)
		}
		return see(t, ctx, fmt.Sprintf("the weight %d", weight), fmt.Sprintf(labels+`.some(l => / of %d %%/.test(l))`, weight))
	}
	t.Run("an_edit_is_seen_without_a_reload", func(t *testing.T) {
		// Of three, so that a moment in which the machine is busy with something else is not taken for the dashboard's.
		took := [3]time.Duration{edit(t, 20), edit(t, 60), edit(t, 50)}
		t.Logf("after %s", took)
		if slices.Min(took[:]) > 2*time.Second {
			t.Errorf("edited weights are seen after %s", took)
		}
		see(t, ctx, "the shares", shared(50))
	})
	t.Run("the_past_once_more", func(t *testing.T) {
		visit(t, "#/map?window=15&at="+before)
		see(t, ctx, "the shares before the edits", share(90)+" && "+share(10)+" && !"+share(50))
		see(t, ctx, "how long ago that was", `/ ago$/.test(document.querySelector(".replay output").innerText)`)
		// It stops at the present, and by then the last edit may be too new to be all that a window shows: it is started again.
		run := `{ const b = document.querySelector(".replay button[aria-pressed]"); if (b.getAttribute("aria-pressed") == "false") b.click() } `
		see(t, ctx, "that the past goes on until the edits", run+share(50)+" && !"+share(90))
		see(t, ctx, "that the moment in the link has gone on", `+/at=(\d+)/.exec(location.hash)[1] > `+before)
		click(t, ctx, "Back to live")
		see(t, ctx, "the present", `!location.hash.includes("at=") && document.querySelector(".bar").innerText.includes("live, ")`)
	})
	t.Run("an_endpoint_that_is_ejected", func(t *testing.T) { ejection(t, ctx, lab, weights, visit) })
	t.Run("a_live_request", func(t *testing.T) {
		visit(t, "#/live?run=1&ns=myapp&resource=deploy%2Forders-service")
		see(t, ctx, "a call of the load", `document.querySelector("main").innerText.includes("GET /api/user/1")`)
	})
	t.Run("a_link_shows_the_same_again", func(t *testing.T) {
		visit(t, "#/map?window=900")
		see(t, ctx, "quarter of an hour chosen", `[...document.querySelectorAll("button[aria-pressed=true]")].some(e => e.textContent == "15 min")`)
	})
	t.Run("an_endpoint_that_is_not_ready_and_one_that_is_killed", func(t *testing.T) {
		visit(t, "#/workloads/service/myapp/users-service")
		const healthy = rows + `.filter(r => r.includes("users-v1") && r.includes("healthy") && !r.includes("unhealthy"))`
		see(t, ctx, "endpoints", healthy+`.length > 0`)
		victim, err := chromedp.Run(ctx, chromedp.Evaluate[string](healthy+`.map(r => /users-v1-[a-z0-9]+-[a-z0-9]+/.exec(r)[0])[0]`))
		if err != nil {
			t.Fatal(err)
		}
		of := fmt.Sprintf(rows+`.filter(r => r.includes("%s"))`, victim)
		ready := func(ok string) {
			script := `import urllib.request as u; u.urlopen(u.Request("http://127.0.0.1:8080/ready?ok=` + ok + `", method="POST"))`
			command(t, append(append([]string{"lab", "exec", victim, "-n", "myapp"}, lab...), "--", "python3", "-c", script)...)
		}
		ready("false")
		see(t, ctx, "that "+victim+" is not healthy", of+`.some(r => r.includes("unhealthy"))`)
		ready("true")
		see(t, ctx, "that it is again", of+`.some(r => !r.includes("unhealthy"))`)
		command(t, append([]string{"lab", "kill", victim, "-n", "myapp"}, lab...)...)
		see(t, ctx, "that "+victim+" takes no calls", of+`.every(r => !/\bhealthy/.test(r))`)
		see(t, ctx, "another one", healthy+`.length > 0`)
	})
	t.Run("a_control_plane_that_comes_back", func(t *testing.T) {
		visit(t, "#/map?window=15")
		see(t, ctx, "the map", `document.querySelectorAll("g.node").length == 3`)
		command(t, append([]string{"lab", "controller", "kill"}, lab...)...)
		see(t, ctx, "that the control plane has gone", `!!document.querySelector(".banner")`)
		see(t, ctx, "what was known", `document.querySelectorAll("g.node").length == 3`)
		command(t, append([]string{"lab", "controller", "start"}, lab...)...)
		see(t, ctx, "that it is back", `!document.querySelector(".banner")`)
		edit(t, 70)
	})
	t.Run("a_server_that_comes_back", func(t *testing.T) {
		stop()
		see(t, ctx, "that the server has gone", `!!document.querySelector(".banner")`)
		serve(t, lab, strings.TrimSuffix(url[strings.LastIndexByte(strings.TrimSuffix(url, "/"), ':')+1:], "/"))
		see(t, ctx, "that it is back", `!document.querySelector(".banner")`)
	})
}
