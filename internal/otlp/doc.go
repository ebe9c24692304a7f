// Package otlp gathers what a sidecar reports, spans and log records, and sends it to a collector in batches: by OpenTelemetry's
// protocol over gRPC or HTTP, or as a list in JSON as Zipkin takes it.
//
// In: items that are encoded already, put into a bounded queue without a lock or a wait. Out: requests, through whoever knows
// the way to the collector. What finds the queue full is dropped and counted, as is what a collector does not take; nothing a
// collector does makes the queue grow, or whoever adds to it wait.
//
// A Queue is safe for any number of goroutines that add; its Exporter is one goroutine. [Outputs] are the queues and exporters of the
// collectors in use: how they begin and end, and what they have counted. It never reads configuration, and
// opens no connection. To debug: [Exporter.Counts], and one line in the log when sending begins to fail and when it works again.
package otlp
