package main

import (
	"fmt"
	"time"
)

// Kind is what a cell does.
type Kind string

// The kinds.
const (
	KindHTTP1   Kind = "http1"   // keep-alive connections, closed loop, by wrk
	KindOpen    Kind = "open"    // requests at intended times
	KindNewConn Kind = "newconn" // a connection for each request
	KindGRPC    Kind = "grpc"    // unary calls on one connection, by h2load
	KindStream  Kind = "stream"  // messages on calls that stay open, both ways
	KindNewTCP  Kind = "newtcp"
	KindPing    Kind = "ping"
	KindBulk    Kind = "bulk"
	KindIdle    Kind = "idle"  // connections that wait: memory, no CPU
	KindHTTP2   Kind = "http2" // requests of an app that speaks HTTP/2, by h2load
	// KindHandshake is a connection with mutual TLS for each request, to the server's half alone.
	KindHandshake Kind = "handshake"
	// KindReady is how long the client's half takes from its start to an answer: ms, no CPU.
	KindReady Kind = "ready"
)

// once reports whether what a cell measures is not for each request: it has blocks, but none of ours between those of others.
func (k Kind) once() bool { return k == KindIdle || k == KindReady }

// port is which of the server's ports a kind calls.
func (k Kind) port() string {
	switch k {
	case KindGRPC, KindStream:
		return "h2"
	case KindNewTCP, KindPing, KindBulk:
		return "tcp"
	case KindHTTP2:
		return "http2"
	case KindHandshake:
		return "tls"
	case KindHTTP1, KindOpen, KindNewConn, KindIdle, KindReady:
	}
	return "http"
}

// Cell is one row of the matrix.
type Cell struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Kind  Kind   `json:"kind"`
	Path  string `json:"path,omitempty"`
	// Conns is how many connections, or streams of one connection.
	Conns int `json:"conns"`
	// Rate is requests a second where they come at intended times.
	Rate int `json:"rate,omitempty"`
	// Part is of what the slowest contestant takes, where the rate is found out by the run.
	Part float64 `json:"part,omitempty"`
	// Workers is how many threads each proxy has, and processors all share. One is a processor of the proxies' own.
	Workers int `json:"workers"`
	// Seconds is how long a block is where it differs from the others.
	Seconds int `json:"seconds,omitempty"`
	// Quick cells are those of BENCH=quick.
	Quick bool `json:"-"`
}

// Unit is what the CPU of a cell is counted in.
func (c *Cell) Unit() string {
	switch c.Kind {
	case KindBulk:
		return "s/GB"
	case KindIdle:
		return "KB/connection"
	case KindReady:
		return "ms"
	case KindHTTP1, KindOpen, KindNewConn, KindGRPC, KindStream, KindNewTCP, KindPing, KindHTTP2, KindHandshake:
	}
	return "µs"
}

// matrix gives every cell. Those of two workers come last: they have labs of their own.
func matrix() []Cell {
	h1 := func(path string, conns int, quick Quick) Cell {
		return Cell{
			ID: fmt.Sprintf("h1%s-c%d", dashed(path), conns), Title: fmt.Sprintf("HTTP/1.1 %s, %s", size(path), plural(conns, "connection")),
			Kind: KindHTTP1, Path: path, Conns: conns, Quick: bool(quick), Workers: 1,
		}
	}
	rest := func(kind Kind, conns int, id, title string, quick Quick) Cell {
		path := ""
		switch kind.port() {
		case "http", "http2", "tls":
			path = "/1k"
		}
		return Cell{ID: id, Title: title, Kind: kind, Path: path, Conns: conns, Quick: bool(quick), Workers: 1}
	}
	return []Cell{
		// First, while nobody holds memory of an earlier load.
		rest(KindIdle, 1000, "idle-1000", "1,000 idle connections", true),
		manyIdle(descriptors()),
		h1("/1k", 1, true), h1("/1k", 8, true), h1("/1k", 64, true), h1("/1k", 1000, false),
		h1("/0", 1, false), h1("/0", 8, false), h1("/0", 64, false),
		h1("/64k", 1, false), h1("/64k", 8, false), h1("/64k", 64, false), h1("/1m", 4, false),
		open(1000, true), partly(0.5), partly(0.8),
		rest(KindNewConn, 8, "newconn", "a new connection per HTTP/1.1 request, 8 at a time", true),
		rest(KindHandshake, 8, "handshake", "a new connection with mutual TLS per request, 8 at a time, to the server's half alone", false),
		rest(KindHTTP2, 1, "h2-1", "HTTP/2 1 KB, 1 stream", false),
		rest(KindHTTP2, 64, "h2-64", "HTTP/2 1 KB, 64 streams", false),
		rest(KindGRPC, 1, "grpc-1", "gRPC unary 1 KB, 1 stream", false),
		rest(KindGRPC, 64, "grpc-64", "gRPC unary 1 KB, 64 streams", true),
		rest(KindStream, 8, "grpc-stream", "gRPC streaming 128 B both ways, 8 streams with 8 messages under way each", true),
		rest(KindNewTCP, 8, "tcp-new", "a new TCP connection per 128 B echo, 8 at a time", false),
		rest(KindPing, 8, "tcp-ping", "TCP 128 B ping-pong, 8 connections", true),
		rest(KindBulk, 1, "tcp-bulk-1", "TCP bulk, 1 stream", true),
		rest(KindBulk, 8, "tcp-bulk-8", "TCP bulk, 8 streams", false),
		rest(KindReady, 1, "ready", "the client's half, from its start to its first answer", true),
		twice(h1("/1k", 64, false)),
		twice(rest(KindGRPC, 64, "grpc-64", "gRPC unary 1 KB, 64 streams", false)),
		twice(rest(KindBulk, 8, "tcp-bulk-8", "TCP bulk, 8 streams", false)),
	}
}

// manyIdle is a cell of 10,000 idle connections, or of as many as fit into the descriptors of a process: a sidecar of ours keeps three
// fifths of them for where connections lead to, and a quarter of the rest for other doors than that of the app.
func manyIdle(descriptors int) Cell {
	const wanted, spare = 10000, 100
	n := min(wanted, descriptors*2/5*3/4-spare)
	title := fmt.Sprintf("%d,%03d idle connections", n/1000, n%1000)
	if n < wanted {
		title += fmt.Sprintf(", as many as fit into %d descriptors for each process", descriptors)
	}
	return Cell{ID: "idle-10000", Title: title, Kind: KindIdle, Path: "/1k", Conns: n, Workers: 1}
}

// open is a cell of requests at intended times.
func open(rate int, quick Quick) Cell {
	return Cell{
		ID: fmt.Sprintf("open-%d", rate), Title: fmt.Sprintf("%d requests/s at intended times, 16 connections", rate),
		Kind: KindOpen, Path: "/1k", Conns: 16, Rate: rate, Quick: bool(quick), Workers: 1,
	}
}

// partly is such a cell at a part of what the slowest contestant takes.
func partly(part float64) Cell {
	return Cell{
		ID: fmt.Sprintf("open-%.0fpc", part*100), Title: fmt.Sprintf("%.0f %% of what the slowest takes, at intended times, 16 connections", part*100),
		Kind: KindOpen, Path: "/1k", Conns: 16, Part: part, Workers: 1,
	}
}

// longRun is the cell of -long: half of what the slowest peer can take, for so long that its p99.9 means something.
func longRun(length time.Duration) Cell {
	c := partly(0.5)
	c.ID, c.Title, c.Conns = "long", fmt.Sprintf("half of what the slowest takes with 64 connections, at intended times, %s", length), 64
	c.Seconds = int(length.Seconds())
	return c
}

// twice is a cell with two workers.
func twice(c Cell) Cell {
	c.ID, c.Title, c.Workers = c.ID+"-w2", c.Title+", two workers", 2
	return c
}

// Quick marks the cells of the short run.
type Quick bool

func dashed(path string) string { return "-" + path[1:] }

func size(path string) string {
	return map[string]string{"/0": "0 B", "/1k": "1 KB", "/64k": "64 KB", "/1m": "1 MB"}[path]
}

func plural(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
