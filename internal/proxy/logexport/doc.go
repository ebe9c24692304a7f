// Package logexport sends access logs to collectors, by OTLP.
//
// In: records of calls, and what Telemetry objects say of them. Out: batches of log records to a [otlp.Sender].
//
// A call is encoded once, into a place of a bounded ring, by the goroutine that has carried it; one goroutine for each collector
// sends. Where the collector is away, slow, or does not take what it is sent, what finds no place is dropped and counted: a call never
// waits. All methods are safe for concurrent use. To debug: fairlead_access_log_records_dropped_total, and the sidecar's log.
package logexport
