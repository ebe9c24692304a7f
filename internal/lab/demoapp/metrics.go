package demoapp

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// metricsPath is where the app's own metrics are.
const metricsPath = "/metrics"

// durations is what the app measures of itself: the histogram http_request_duration_seconds by status, which many
// libraries write, and which Flagger asks for where its provider names no mesh.
type durations struct {
	mu       sync.Mutex
	byStatus map[int]*histogram
}

// durationBounds gives the upper bounds of the buckets in seconds, those that Prometheus' clients have by default.
func durationBounds() []float64 {
	return []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
}

type histogram struct {
	// buckets are not cumulative; the last is for what is above every bound.
	buckets [12]uint64
	sum     float64
}

// measure wraps the app's routes: every answer is counted but those of the metrics and of the probe.
func (d *durations) measure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case metricsPath:
			d.page(w)
			return
		case "/healthz":
			next.ServeHTTP(w, r)
			return
		}
		begun := time.Now()
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(seen, r)
		d.observe(seen.status, time.Since(begun))
	})
}

func (d *durations) observe(status int, took time.Duration) {
	seconds, bounds, i := took.Seconds(), durationBounds(), 0
	for i < len(bounds) && seconds > bounds[i] {
		i++
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.byStatus[status]
	if h == nil {
		h = &histogram{}
		d.byStatus[status] = h
	}
	h.buckets[i]++
	h.sum += seconds
}

// page is the text format of Prometheus.
func (d *durations) page(w http.ResponseWriter) {
	const name = "http_request_duration_seconds"
	var b bytes.Buffer
	bounds := durationBounds()
	fmt.Fprintf(&b, "# HELP %[1]s Time that answers took.\n# TYPE %[1]s histogram\n", name)
	d.mu.Lock()
	for status, h := range d.byStatus {
		var total uint64
		for i, n := range h.buckets {
			total += n
			bound := "+Inf"
			if i < len(bounds) {
				bound = fmt.Sprint(bounds[i])
			}
			fmt.Fprintf(&b, "%s_bucket{status=\"%d\",le=\"%s\"} %d\n", name, status, bound, total)
		}
		fmt.Fprintf(&b, "%[1]s_sum{status=\"%[2]d\"} %[3]g\n%[1]s_count{status=\"%[2]d\"} %[4]d\n", name, status, h.sum, total)
	}
	d.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter]. Informational answers are not the answer.
func (w *statusWriter) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets [http.ResponseController] flush and take over the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
