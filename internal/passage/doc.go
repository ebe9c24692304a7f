// Package passage is a gateway between networks: it passes TLS connections on to workloads of its own network by the server name of
// the client's greeting, and ends none of them (docs/adr/0028-networks.md).
//
// In: connections from other networks, and what the control plane says of the hosts that they name. Out: bytes to workloads,
// counters, and whether it is ready.
//
// A [Gateway] is made by New and serves in Run until its context ends; then it is not ready, listens on for a while, and waits for
// the connections that it has. One goroutine of discovery's client calls Apply; connections read the table under its lock.
//
// It never answers for a workload: what it cannot pass on it resets before a byte, and counts by reason. It holds no key and no
// certificate.
//
// To debug it: the counters at :15020/metrics, fairlead_passage_refused_total by reason above all, and the log at level debug, which
// has a line for each refusal.
package passage
