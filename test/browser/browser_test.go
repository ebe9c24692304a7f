package browser

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// patience is how long anything may take that is not said to be faster; shares are of the last minute.
const patience = 2 * time.Minute

// command runs fairlead, which must succeed.
func command(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, os.Getenv("FAIRLEAD"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("fairlead %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// startLab starts the example, with 1,000 calls made, and gives the directory that it follows.
func startLab(t *testing.T) (dir string, lab []string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../examples/users-orders")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} { // the sidecars of root's labs have users of their own
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lab = []string{"--name", "browser", "--state-dir", dir + ".state"}
	command(t, append([]string{"lab", "up", "-f", dir}, lab...)...)
	t.Cleanup(func() { command(t, append([]string{"lab", "down"}, lab...)...) })
	return dir, lab
}

// load makes calls until the test ends, a hundred a second.
func load(t *testing.T, lab []string) {
	t.Helper()
	args := append([]string{"lab", "exec", "deploy/orders-service", "-n", "myapp"}, lab...)
	cmd := exec.Command(os.Getenv("FAIRLEAD"), append(args, "--", "fairlead", "demo-app", "call", "http://users-service:8080/api/user/1", "--rate", "100", "--for", "10m")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
}

// serve starts the dashboard on a port, and gives where the page is.
func serve(t *testing.T, lab []string, port string) (url string, stop func()) {
	t.Helper()
	cmd := exec.Command(os.Getenv("FAIRLEAD"), append([]string{"dashboard", "--show", "url", "--port", port}, lab...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the dashboard has said %q: %v", line, err)
	}
	go io.Copy(io.Discard, out)
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	url, _, _ = strings.Cut(line, " ")
	return url, stop
}

// open starts the browser, with a window.
func open(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(os.Getenv("CHROMIUM")), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-quic", true))
	ctx, end := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(end)
	ctx, end = chromedp.NewContext(ctx)
	t.Cleanup(end)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 800)); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// see evaluates an expression of JavaScript that is true in time, and gives how long that took.
func see(t *testing.T, ctx context.Context, what, expression string) time.Duration {
	t.Helper()
	begun := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for time.Since(begun) < patience {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if ok {
			return time.Since(begun)
		}
		<-tick.C
	}
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
	t.Fatalf("not seen in %s: %s. The page:\n%s", patience, what, text)
	return 0
}

// labels is what the edges of the map say, "90.2 of 90 %", as JavaScript.
const labels = `[...document.querySelectorAll("g.label text")].map(e => e.textContent)`

// close is JavaScript that is true where an edge of a weight has at most three points more or less of the calls.
func close(weight int) string {
	return fmt.Sprintf(`%s.some(l => { const m = /([\d.]+) of %d %%/.exec(l); return m && Math.abs(m[1] - %d) <= 3 })`, labels, weight, weight)
}

// TestDashboard follows what a user does with the map of the example.
func TestDashboard(t *testing.T) {
	dir, lab := startLab(t)
	load(t, lab)
	url, stop := serve(t, lab, "0")
	ctx := open(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(url+"#/map")); err != nil {
		t.Fatal(err)
	}
	see(t, ctx, "three workloads", `document.querySelectorAll("g.node").length == 3`)
	see(t, ctx, "nine tenths of the calls at the edge of weight 90", close(90))
	see(t, ctx, "a tenth at that of weight 10", close(10))

	t.Run("an_edit_is_seen_without_a_reload", func(t *testing.T) {
		weights := filepath.Join(dir, "weights.yaml")
		raw, err := os.ReadFile(weights)
		if err != nil {
			t.Fatal(err)
		}
		edited := strings.NewReplacer("weight: 90", "weight: 50", "weight: 10", "weight: 50").Replace(string(raw))
		if err := os.WriteFile(weights, []byte(edited), 0o644); err != nil {
			t.Fatal(err)
		}
		took := see(t, ctx, "the weight 50", labels+`.filter(l => / of 50 %/.test(l)).length == 2`)
		t.Logf("after %s", took)
		if took > 2*time.Second {
			t.Errorf("the edited weight is seen after %s", took)
		}
		see(t, ctx, "the shares", close(50))
	})
	t.Run("a_live_request", func(t *testing.T) {
		if err := chromedp.Do(ctx, chromedp.Navigate(url+"#/live?run=1&ns=myapp&resource=deploy%2Forders-service")); err != nil {
			t.Fatal(err)
		}
		see(t, ctx, "a call of the load", `document.querySelector("main").innerText.includes("GET /api/user/1")`)
	})
	t.Run("a_link_shows_the_same_again", func(t *testing.T) {
		const link = "#/map?window=900"
		if err := chromedp.Do(ctx, chromedp.Navigate("about:blank"), chromedp.Navigate(url+link)); err != nil {
			t.Fatal(err)
		}
		see(t, ctx, "quarter of an hour chosen", `[...document.querySelectorAll("button[aria-pressed=true]")].some(e => e.textContent == "15 min")`)
	})
	t.Run("a_server_that_comes_back", func(t *testing.T) {
		stop()
		see(t, ctx, "that the server has gone", `!!document.querySelector(".banner")`)
		port := url[strings.LastIndexByte(strings.TrimSuffix(url, "/"), ':')+1:]
		if _, err := strconv.Atoi(strings.TrimSuffix(port, "/")); err != nil {
			t.Fatal(err)
		}
		serve(t, lab, strings.TrimSuffix(port, "/"))
		see(t, ctx, "that it is back", `!document.querySelector(".banner")`)
	})
}
