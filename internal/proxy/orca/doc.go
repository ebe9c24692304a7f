// Package orca reads the load that an app reports with its answers (Open Request Cost Aggregation, xds.data.orca.v3), which
// is what weights of backendUtilization come from.
//
// In: the fields of an answer, its head or its trailers. Out: a Report, by value; nothing is allocated. The formats are
// those that Envoy reads: "endpoint-load-metrics-bin" with a message in base64, as gRPC sends it, or "endpoint-load-metrics"
// with "BIN ", "TEXT " or "JSON " in front. What does not parse is no report; fields are passed on as they came.
//
// It is a package of its own because it is a parser of what strangers write, with a fuzz target, and knows no balancing.
package orca
