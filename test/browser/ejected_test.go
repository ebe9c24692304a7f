package browser

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// outliers makes one failure eject an endpoint, for longer than any test takes: nothing here depends on when it is looked at.
const outliers = `
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 1h, maxEjectionPercent: 100}
  subsets:`

// ejection has the sidecar of orders-service eject an endpoint of users-service, by one call that fails, and take it back by an
// edit: the pages of the Service and of the workload say so.
func ejection(t *testing.T, ctx context.Context, lab []string, rules string, visit func(*testing.T, string)) {
	t.Helper()
	original, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(original), "\n  subsets:", outliers, 1)
	if edited == string(original) {
		t.Fatalf("no subsets in %s:\n%s", rules, original)
	}
	if err := os.WriteFile(rules, []byte(edited), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(rules, original, 0o644); err != nil {
			t.Error(err)
		}
	})
	visit(t, "#/workloads/service/myapp/users-service")
	fail := append(append([]string{"lab", "exec", "deploy/orders-service", "-n", "myapp"}, lab...), "--",
		"sh", "-c", "fairlead demo-app call 'http://users-service:8080/api/user/1?fail=1' --count 1 || true")
	endpoints := append([]string{"proxy-config", "endpoints", "deploy/orders-service", "-n", "myapp"}, lab...)
	// What fails before the sidecar has the rule ejects nothing.
	for deadline := time.Now().Add(patience); !strings.Contains(command(t, endpoints...), "FAILED"); {
		if time.Now().After(deadline) {
			t.Fatalf("no endpoint is ejected:\n%s", command(t, endpoints...))
		}
		command(t, fail...)
	}
	const ejected = rows + `.filter(r => /ejected 1 errors? in a row, until .*\(by myapp\/orders-service-/.test(r))`
	see(t, ctx, "an endpoint that is ejected, why and by whom", ejected+`.length > 0`)
	see(t, ctx, "the others", rows+`.some(r => /\bhealthy/.test(r))`)
	workload, err := chromedp.Run(ctx, chromedp.Evaluate[string](ejected+`.map(r => /users-v[12]/.exec(r)[0])[0]`))
	if err != nil {
		t.Fatal(err)
	}
	const pods = `[...document.querySelectorAll("main table")].filter(t => t.caption?.textContent == "Pods").flatMap(t => [...t.tBodies[0].rows]).map(r => r.innerText)`
	visit(t, "#/workloads/workload/myapp/deployment/"+workload)
	see(t, ctx, "its pod", pods+`.some(r => /\bejected\b/.test(r))`)
	if err := os.WriteFile(rules, original, 0o644); err != nil {
		t.Fatal(err)
	}
	see(t, ctx, "that its pod is back", pods+`.length > 0 && `+pods+`.every(r => /\bhealthy\b/.test(r))`)
	visit(t, "#/workloads/service/myapp/users-service")
	see(t, ctx, "that the endpoint is back", rows+`.length > 0 && !`+rows+`.some(r => /ejected/.test(r))`)
}
