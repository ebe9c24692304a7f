package main

import "fmt"

// Kind is what a cell does.
type Kind string

// The kinds.
const (
	KindHTTP1   Kind = "http1"   // keep-alive connections, closed loop, by wrk
	KindOpen    Kind = "open"    // requests at intended times
	KindNewConn Kind = "newconn" // a connection for each request
	KindGRPC    Kind = "grpc"    // unary calls on one connection, by h2load
	KindNewTCP  Kind = "newtcp"
	KindPing    Kind = "ping"
	KindBulk    Kind = "bulk"
	KindIdle    Kind = "idle" // connections that wait: memory, no CPU
)

// port is which of the server's three ports a kind calls.
func (k Kind) port() string {
	switch k {
	case KindGRPC:
		return "h2"
	case KindNewTCP, KindPing, KindBulk:
		return "tcp"
	case KindHTTP1, KindOpen, KindNewConn, KindIdle:
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
	case KindHTTP1, KindOpen, KindNewConn, KindGRPC, KindNewTCP, KindPing:
	}
	return "µs"
}

// matrix gives every cell.
func matrix() []Cell {
	h1 := func(path string, conns int, quick Quick) Cell {
		return Cell{
			ID: fmt.Sprintf("h1%s-c%d", dashed(path), conns), Title: fmt.Sprintf("HTTP/1.1 %s, %s", size(path), plural(conns, "connection")),
			Kind: KindHTTP1, Path: path, Conns: conns, Quick: bool(quick),
		}
	}
	return []Cell{
		// First, while nobody holds memory of an earlier load.
		{ID: "idle-1000", Title: "1,000 idle connections", Kind: KindIdle, Path: "/1k", Conns: 1000, Quick: true},
		h1("/1k", 1, true), h1("/1k", 8, true), h1("/1k", 64, true), h1("/1k", 1000, false),
		h1("/0", 1, false), h1("/0", 64, false),
		h1("/64k", 1, false), h1("/64k", 64, false), h1("/1m", 4, false),
		{ID: "open-1000", Title: "1,000 requests/s at intended times, 16 connections", Kind: KindOpen, Path: "/1k", Conns: 16, Rate: 1000},
		{ID: "open-5000", Title: "5,000 requests/s at intended times, 16 connections", Kind: KindOpen, Path: "/1k", Conns: 16, Rate: 5000},
		{ID: "newconn", Title: "a new connection per HTTP/1.1 request, 8 at a time", Kind: KindNewConn, Path: "/1k", Conns: 8, Quick: true},
		{ID: "grpc-1", Title: "gRPC unary 1 KB, 1 stream", Kind: KindGRPC, Conns: 1},
		{ID: "grpc-64", Title: "gRPC unary 1 KB, 64 streams", Kind: KindGRPC, Conns: 64, Quick: true},
		{ID: "tcp-new", Title: "a new TCP connection per 128 B echo, 8 at a time", Kind: KindNewTCP, Conns: 8},
		{ID: "tcp-ping", Title: "TCP 128 B ping-pong, 8 connections", Kind: KindPing, Conns: 8},
		{ID: "tcp-bulk-1", Title: "TCP bulk, 1 stream", Kind: KindBulk, Conns: 1, Quick: true},
		{ID: "tcp-bulk-8", Title: "TCP bulk, 8 streams", Kind: KindBulk, Conns: 8},
	}
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
