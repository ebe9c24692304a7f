// Package appmetrics reads the page of metrics that a pod's app shows to Prometheus, in Prometheus' place: what scrapes
// the sidecar gets the app's page behind the sidecar's own, so that one target per pod is enough and mutual TLS does not
// keep Prometheus, which has no certificate of the mesh, from the app.
//
// In: where the page is, as the pod's annotations said, and a way to dial past the redirection. Out: its lines, in the
// text format 0.0.4, to a writer, as they arrive: the page is never held in memory.
//
// What is written is always a valid continuation of a valid page. Lines that are not valid are left out, and so are
// those of the mesh's own metrics, which an app cannot speak for; two gauges at the end say how it went. A page may have
// up to 16 MiB, a line up to 64 KiB, and everything up to ten seconds; at most eight are read at once, further askers
// wait for their turn, within their time.
//
// A Page may be used from any goroutine. To debug: GET /stats/prometheus on port 15020; fairlead_app_metrics_up and
// fairlead_app_metrics_dropped_lines are at its end, and the sidecar's log says why when the page begins to fail.
package appmetrics
