package lab_test

import (
	"net/http"
	"strings"
	"testing"
)

const reviewsIP = "10.96.0.95"

// outlierManifests: a client, and a server with two pods that answer 503 to whoever asks for it.
func outlierManifests() string {
	return app{name: "client", replicas: 1}.String() + app{name: "server", replicas: 2}.String() +
		service("reviews", reviewsIP, "app: server", http80, "") + `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 10s, maxEjectionPercent: 50}
---`
}

const accrualIP = "10.96.0.97"

// accrualManifests are the same pods behind a Service with Linkerd's annotations.
func accrualManifests() string {
	s := service("accrued", accrualIP, "app: server", http80, "")
	return app{name: "client", replicas: 1}.String() + app{name: "server", replicas: 2}.String() +
		strings.Replace(s, "namespace: shop}", `namespace: shop, annotations: {
  balancer.linkerd.io/failure-accrual: consecutive,
  balancer.linkerd.io/failure-accrual-consecutive-max-failures: "3",
  balancer.linkerd.io/failure-accrual-consecutive-min-penalty: 8s,
  balancer.linkerd.io/failure-accrual-consecutive-max-penalty: 8s}}`, 1)
}

// TestFailureAccrual: what Linkerd's annotations ask for. All pods may be out; each returns with a call that succeeds.
func TestFailureAccrual(t *testing.T) {
	t.Parallel()
	m := startMesh(t, accrualManifests())
	if r := m.call(t, client, "http://accrued/", "--count", "40"); r.OK != 40 || len(r.Pods) != 2 {
		t.Fatalf("before anything failed: %+v", r)
	}
	r := m.call(t, client, "http://accrued/?fail=1", "--count", "20")
	if r.OK != 0 || len(r.Pods) != 2 || r.Versions["v1"] != 6 {
		t.Errorf("20 failures: %+v, want 3 of them to reach each pod", r)
	}
	a := m.do(t, client, http.MethodGet, accrualIP+":80", "/")
	if a.StatusCode != http.StatusServiceUnavailable || strings.Count(a.body, "ejected by failure-accrual") != 2 {
		t.Errorf("with all pods out: %d %s", a.StatusCode, a.body)
	}
	for _, e := range m.dump(t, client).Endpoints {
		if strings.HasPrefix(e.Cluster, "outbound|80||accrued.") && (e.Outlier != "FAILED" || !strings.HasPrefix(e.OutlierReason, "3 failures in a row, until ")) {
			t.Errorf("the sidecar tells of %s: %s %s", e.Workload, e.Outlier, e.OutlierReason)
		}
	}
	eventually(t, "both pods to be back", func() bool {
		r := m.call(t, client, "http://accrued/", "--count", "40")
		return r.OK == 40 && len(r.Pods) == 2
	})
}

func TestOutliers(t *testing.T) {
	t.Parallel()
	m := startMesh(t, outlierManifests())
	// failed gives the pods whose check failed, and why.
	failed := func() map[string]string {
		out := map[string]string{}
		for _, e := range m.dump(t, client).Endpoints {
			if strings.HasPrefix(e.Cluster, "outbound|80||reviews.") && e.Outlier == "FAILED" {
				out[e.Workload] = e.OutlierReason
			}
		}
		return out
	}
	if r := m.call(t, client, "http://reviews/", "--count", "40"); r.OK != 40 || len(r.Pods) != 2 || len(failed()) != 0 {
		t.Fatalf("before anything failed: %+v, out: %v", r, failed())
	}
	m.call(t, client, "http://reviews/?fail=1", "--count", "20")
	out := failed()
	r := m.call(t, client, "http://reviews/", "--count", "40")
	if r.OK != 40 || len(r.Pods) != 1 || len(out) != 1 {
		t.Errorf("one of two may be ejected: %+v, out: %v", r, out)
	}
	for pod, why := range out {
		if r.Pods[pod] > 0 || !strings.HasPrefix(why, "3 errors in a row, until ") {
			t.Errorf("%s is out (%s) and was called: %+v", pod, why, r)
		}
	}
	within(t, 2*patience, "the pod to be back", func() bool {
		r := m.call(t, client, "http://reviews/", "--count", "40")
		return r.OK == 40 && len(r.Pods) == 2 && len(failed()) == 0
	})
}

// TestFailurePercentages: a pod of whose calls too many fail is out with the end of the interval, however many succeed in between.
func TestFailurePercentages(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 5}.String()+
		service("reviews", reviewsIP, "app: server", http80, "")+`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    outlierDetection: {consecutive5xxErrors: 0, failurePercentageThreshold: 20, interval: 10s, baseEjectionTime: 1h, maxEjectionPercent: 20}
---`)
	var why, out string
	within(t, 3*patience, "a pod to be out", func() bool { // of 50 calls that a pod has had in an interval
		m.call(t, client, "http://reviews/?fail=1", "--count", "100", "--concurrency", "8")
		if r := m.call(t, client, "http://reviews/", "--count", "200", "--concurrency", "8"); r.OK != 200 {
			t.Fatalf("%+v", r)
		}
		for _, e := range m.dump(t, client).Endpoints {
			if strings.HasPrefix(e.Cluster, "outbound|80||reviews.") && e.Outlier == "FAILED" {
				out, why = e.Workload, e.OutlierReason
			}
		}
		return out != ""
	})
	if !strings.Contains(why, " calls failed in 10s, until ") {
		t.Errorf("%s is out: %s", out, why)
	}
	if r := m.call(t, client, "http://reviews/", "--count", "100"); r.OK != 100 || len(r.Pods) != 4 || r.Pods[out] != 0 {
		t.Errorf("one of five may be out: %+v", r)
	}
}
