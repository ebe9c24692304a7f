// Package traffic has the values in which sidecars report who called whom, how often and how fast: one Edge for each peer,
// service, route, backend and protocol, and a Sample of what went over it in a while.
//
// Values only: no I/O, no goroutines, nothing shared. A report goes from sidecar to control plane as [Report.Append] writes
// it; [Decode] reads it and refuses what is too large. Samples are added to each other without loss, so any number of steps,
// sidecars and replicas can be put together, and quantiles are read off the sum.
package traffic
