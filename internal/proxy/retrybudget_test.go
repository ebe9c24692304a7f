package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/compile/compiletest"
)

// failingApp answers 503 to everything, and counts.
type failingApp struct {
	got atomic.Int32
	// hold says what the n-th request waits for, nil for nothing.
	hold func(n int32) chan struct{}
	// seen, where it is not nil, is told of each.
	seen func(*http.Request)
}

func (a *failingApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := a.got.Add(1)
	io.Copy(io.Discard, r.Body)
	if a.hold != nil {
		<-a.hold(n)
	}
	if a.seen != nil {
		a.seen(r)
	}
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprint(w, "the app is sorry")
}

// retryingService is a service whose only app fails, called by the policy of a user, and a client of it.
func retryingService(t *testing.T, retries, rule string) (*failingApp, *http.Client, *sidecar) {
	t.Helper()
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	app := new(failingApp)
	at := netip.AddrPortFrom(users.ip, 8080)
	m.plainApp(at, app)
	manifests := payManifests(at, true, "http", retries)
	if rule != "" {
		manifests += fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users, namespace: myapp}
spec: {host: users-service, trafficPolicy: {%s}}
`, rule)
	}
	orders.apply(compiletest.Resources(t, manifests, usersDestination)...)
	return app, m.client(orders), orders
}

// A client whose request runs out of attempts, or of budget, gets what the app has answered last, and the flags say so.
func TestRetriesEndWithTheAnswerOfTheApp(t *testing.T) {
	app, c, orders := retryingService(t, "retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}", "")
	const requests, floor, span = 110, 100, 10 * time.Second // a fifth of the requests is less than the floor of a span
	begun := time.Now()
	for range requests {
		if resp, body := get(t, c, "/"); resp.StatusCode != 503 || body != "the app is sorry" {
			t.Fatalf("= %d %q", resp.StatusCode, body)
		}
	}
	retried := int(app.got.Load()) - requests
	refused := requests - retried
	if quick := time.Since(begun) < span/2; retried < floor || refused < 0 || quick && retried > floor {
		t.Errorf("the app got %d requests and %d retries in %v, want %d retries in %v", requests, retried, time.Since(begun), floor, span)
	}
	expectMetric(t, orders, "istio_requests_total", `response_flags="URX"`, fmt.Sprintf("} %d", retried))
	if refused > 0 {
		expectMetric(t, orders, "istio_requests_total", `response_flags="UO"`, fmt.Sprintf("} %d", refused))
	}
	var b strings.Builder
	if err := orders.directory.WriteMetrics(&b); err != nil {
		t.Fatal(err)
	}
	const name = `fairlead_retries_total{cluster="outbound|8080||users-service.myapp.svc.cluster.local",result=`
	for result, n := range map[string]int{"retried": retried, "limit_reached": retried, "over_budget": refused} {
		if want := fmt.Sprintf("%s%q} %d\n", name, result, n); n > 0 && !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}

func TestRetryBudgetOfADestinationRule(t *testing.T) {
	app, c, _ := retryingService(t, "retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}", "retryBudget: {percent: 20, minRetryConcurrency: 2}")
	const requests, retries = 20, 4 // at a time
	first, second := make(chan struct{}), make(chan struct{})
	app.hold = func(n int32) chan struct{} {
		if n <= requests {
			return first
		}
		return second
	}
	var calls sync.WaitGroup
	answered := new(atomic.Int32)
	for range requests {
		calls.Go(func() {
			get(t, c, "/")
			answered.Add(1)
		})
	}
	eventually(t, "all requests are with the app", func() bool { return app.got.Load() == requests })
	close(first)
	eventually(t, "those beyond the budget are answered", func() bool { return answered.Load() == requests-retries })
	close(second)
	calls.Wait()
	if got := app.got.Load(); got != requests+retries {
		t.Errorf("the app got %d requests, want %d and %d retries", got, requests, retries)
	}
}

// Where all endpoints are full, what their sidecars turn away is not multiplied by the attempts: such retries wait, and the
// budget counts them, although nothing was carried out.
func TestRetriesOfWhatIsTurnedAwayHaveABudget(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	at := netip.AddrPortFrom(users.ip, 8080)
	entered, leave := make(chan struct{}, 1), make(chan struct{})
	m.bothApp(at, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	}))
	manifests := payManifests(at, true, "http2", "retries: {attempts: 2, backoff: 1ms}")
	orders.apply(compiletest.Resources(t, manifests, usersDestination)...)
	users.apply(compiletest.Resources(t, manifests+`---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: users, namespace: myapp}
spec: {host: users-service, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}}
`, "in/myapp/users")...)
	c := m.h2cClient(m.entrance(orders, usersAddr()))
	var calls sync.WaitGroup
	defer calls.Wait()
	defer close(leave)
	calls.Go(func() { send(t, c, asking{method: "POST"}, "/pay") })
	<-entered
	const requests = 150
	start := time.Now()
	for range requests {
		if status, err := send(t, c, asking{method: "POST"}, "/pay"); status != http.StatusServiceUnavailable || err != nil {
			t.Fatalf("= %d, %v", status, err)
		}
	}
	var b strings.Builder
	if err := users.directory.WriteMetrics(&b); err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`overflows_total\{.*setting="http.http2MaxRequests"\} (\d+)\n`).FindStringSubmatch(b.String())
	if found == nil {
		t.Fatalf("no count of what was turned away in\n%s", b.String())
	}
	least, most := withRetries(requests, 0), withRetries(requests, time.Since(start))
	if n, _ := strconv.ParseInt(found[1], 10, 64); n < least || n > most {
		t.Errorf("%d tries of %d requests were turned away, want %d to %d", n, requests, least, most)
	}
	expectMetric(t, orders, "istio_requests_total", `response_flags="UO,URX"`)
}
