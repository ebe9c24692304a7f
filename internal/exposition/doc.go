// Package exposition says a page of metrics in Prometheus' protobuf form: length-delimited messages
// io.prometheus.client.MetricFamily (https://prometheus.io/docs/instrumenting/exposition_formats), the only one that native
// histograms can be said in.
//
// In: a page in the text format 0.0.4, in pieces as it is written, and between its lines histograms that have native buckets.
// Out: messages, each written as soon as its family has ended or 32 KiB of it are there: a family that is longer comes in
// several messages of its name. Nothing of a page is kept beyond that.
//
// The text must be valid, as the sidecar's own is, and an app's behind the filter of appmetrics; a line that is not is left out.
// Series are those that the text makes, with the same labels, except that a Prometheus writes the bounds of histograms in its own
// way ("1.0" for "1"). Lines of a histogram or a summary that do not make a whole one are said one by one, untyped.
//
// The wire format is written by hand: what serves pages links no protobuf library. One Writer serves one page, and is used by
// one goroutine at a time. To debug: curl the page without the header Accept gives the text that is translated.
package exposition
