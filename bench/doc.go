// Command bench measures the pair of sidecars beside pairs of other proxies: the same client, the same server, the same
// machine, the same minute.
//
//	client namespace {load generator, proxy A} ── veth ── server namespace {proxy B, server}
//
// In: the binaries of this tree, nginx, HAProxy and Envoy, and the cells of [matrix]. Out: a [Run], a JSON file from
// which [Markdown] and [Page] are made; they show nothing else.
//
// How it measures: proxies on CPU 1, generator and server on CPU 0; with two workers, all on both. Each cell has rounds; in
// each round every peer runs once, in random order, and ours before each two of them and at the end, so that a peer is
// compared with what ours took shortly before and after. CPU is that of the processes' own clocks. A block in which other
// processes took more than 5 % of the machine is run once more, and left out where that does not help. Ratios are geometric
// means over rounds with a 95 % bootstrap interval. Clients take ports again after a second, or what opens thousands of
// connections a second would measure its own search for one. Idle connections come to proxies that have answered
// a request before, and eight seconds have passed since; their memory is read eight seconds after the last one was opened.
//
// What runs when: see [schedule]. Two rounds of each cell have their time reserved, those with goals first; further ones run while
// -within allows. What was measured is kept, in one file, whether the time ends, or the run by Ctrl-C, or SIGKILL (then
// -report makes the reports); the reports say how many rounds each cell has, and which cells have none. A peer that cannot take
// the requests of a cell, or fails twice in it, is left out of its later rounds with the reason.
//
// Latencies are asked for at a part of what the slowest contestant takes in the same run, by the same generator with as many connections: a
// rate that is too much for somebody compares queues. See [intended].
//
// Single cells that were measured later go into the results of the tree with -into; see [put].
//
// What two generators say of the same: -check.
//
// What it does not say: anything about more than one machine. Its two processors are shared by everything
// that takes part, so latencies are those of a busy machine. What the client's half pays for a handshake is not
// measured: our sidecars keep a connection, and cannot be told to make one for each request.
//
// Debugging: -keep leaves the lab and the directory with all configurations and logs.
package main
