package browser

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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
	return startLabIn(t, "browser", t.TempDir())
}

// startLabIn is startLab of a lab with a name, in a directory of labs.
func startLabIn(t *testing.T, name, state string) (dir string, lab []string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../examples/users-orders")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir), state} { // the sidecars of root's labs have users of their own
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lab = []string{"--name", name, "--state-dir", state}
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
