//go:build prometheus

package lab_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
)

// bucketFactor is how much wider a native bucket of schema 3 is than the one before it.
const bucketFactor = 1.0906

// TestPrometheusNativeHistograms: a real Prometheus that takes native histograms gets them, and knows by them what the client has
// measured.
func TestPrometheusNativeHistograms(t *testing.T) {
	const ip = "10.96.0.150"
	own := ofPrometheus(t)
	if err := replaceFile(own, "prometheus.yml", `
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- {job_name: sidecars, metrics_path: /stats/prometheus, file_sd_configs: [{files: [sidecars.json], refresh_interval: 1s}]}
`); err != nil {
		t.Fatal(err)
	}
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1, args: `--latency, "120ms"`}.String()+
		service("server", ip, "app: server", http80)+prometheusPod(own, "--enable-feature=native-histograms"), withMesh("mesh.nativeHistograms=true"))
	m.scrape(t, own, "client", "server")

	const calls = 40
	r := m.call(t, "deploy/client-v1", "--count", strconv.Itoa(calls), "http://server.shop/")
	if r.OK != calls {
		t.Fatalf("%d of %d calls answered: %v %v", r.OK, calls, r.Statuses, r.Errors)
	}
	for _, reporter := range []string{"source", "destination"} {
		series := fmt.Sprintf(`istio_request_duration_milliseconds{reporter=%q,destination_workload="server-v1",response_code="200"}`, reporter)
		eventually(t, "all calls to be counted", func() bool {
			n, ok := m.number(t, "histogram_count("+series+")")
			return ok && n == calls
		})
		// The sidecar takes no longer than the client has waited, and no less than the app has; half of the calls are within a bucket of that.
		if p50 := m.awaitNumber(t, "histogram_quantile(0.5, "+series+")"); p50 < 120/bucketFactor || p50 > r.P50*bucketFactor {
			t.Errorf("by %s half of the calls took at most %.1f ms; the app takes 120, and the client has measured %.1f", reporter, p50, r.P50)
		}
		if sum := m.awaitNumber(t, "histogram_sum("+series+") / histogram_count("+series+")"); sum < 120 || sum > r.Max {
			t.Errorf("by %s a call took %.1f ms; the app takes 120, and the client has measured %.1f at most", reporter, sum, r.Max)
		}
	}
	if n := m.awaitNumber(t, `histogram_count(istio_response_bytes{reporter="source",response_code="200"})`); n != calls {
		t.Errorf("%v sizes are counted, want %d", n, calls)
	}
	// What is no histogram is as in text.
	for query, want := range map[string]float64{
		`count(up == 1)`:                               2,
		`count(istio_build{component="proxy"})`:        2,
		`sum(istio_requests_total{reporter="source"})`: calls,
		// Not kept unless Prometheus is told to.
		`count(istio_request_duration_milliseconds_bucket) or vector(0)`: 0,
	} {
		eventually(t, fmt.Sprintf("%s to be %v", query, want), func() bool { // one scrape may be late, and then nothing is known of a sidecar
			got, ok := m.number(t, query)
			return ok && got == want
		})
	}
}

// awaitNumber is number once there is one: after a scrape that was late there is none until the next.
func (m *mesh) awaitNumber(t *testing.T, query string) (n float64) {
	t.Helper()
	eventually(t, "a number for "+query, func() (ok bool) {
		n, ok = m.number(t, query)
		return ok
	})
	return n
}

// number gives Prometheus' answer where it is one number.
func (m *mesh) number(t *testing.T, query string) (float64, bool) {
	t.Helper()
	var result []struct{ Value [2]any }
	if err := json.Unmarshal([]byte(m.ask(t, query)), &result); err != nil || len(result) != 1 {
		return 0, false
	}
	text, _ := result[0].Value[1].(string)
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil
}
