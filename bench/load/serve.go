package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

// The first byte of a TCP connection says what the server is to do with it.
const (
	askEcho = 'E'
	askSink = 'S'
)

// serve answers until the process is ended.
func serve(h2addr, tcpaddr string) error {
	over := make(chan error, 2)
	go func() { over <- listen(h2addr, serveHTTP2()) }()
	go func() { over <- listen(tcpaddr, serveTCP) }()
	return <-over
}

func listen(addr string, serve func(net.Conn)) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go serve(c)
	}
}

// serveHTTP2 answers with the body and the trailers of a gRPC call that went well. The codec is the product's: whatever
// serves is the same for all that are compared, and must cost less than each of them.
func serveHTTP2() func(net.Conn) {
	pool, workers := new(h2.Pool), h2.NewWorkers(0)
	return func(c net.Conn) {
		defer c.Close()
		server := h2.NewServer(c, h2.Options{Pool: pool, Workers: workers, MaxConcurrentStreams: 1000, Handler: answer})
		_ = server.Serve(context.Background()) // the client going away is its end
	}
}

func answer(s *h2.ServerStream) {
	if string(s.Request().Path) == streamPath {
		echo(s)
		return
	}
	if string(s.Request().Method) == "GET" {
		page(s)
		return
	}
	var body [4096]byte
	n := 0
	for n < len(body) {
		m, err := s.Read(body[n:])
		n += m
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return
		}
	}
	var r httpx.Response
	r.Status, r.ContentLength = 200, -1
	r.Fields.AddString("content-type", "application/grpc")
	if s.Respond(&r) != nil {
		return
	}
	if _, err := s.Write(body[:n]); err != nil {
		return
	}
	var t httpx.Fields
	t.AddString("grpc-status", "0")
	_ = s.End(&t) // the client that has gone needs no trailers
}

// page answers without gRPC: one KB.
func page(s *h2.ServerStream) {
	var r httpx.Response
	r.Status, r.ContentLength = 200, 1024
	r.Fields.AddString("content-type", "text/plain")
	if s.Respond(&r) != nil {
		return
	}
	var body [1024]byte
	for i := range body {
		body[i] = 'x'
	}
	if _, err := s.Write(body[:]); err == nil {
		_ = s.End(nil) // the client that has gone needs no end
	}
}

// echo sends back what comes as it comes.
func echo(s *h2.ServerStream) {
	var r httpx.Response
	r.Status, r.ContentLength = 200, -1
	r.Fields.AddString("content-type", "application/grpc")
	if s.Respond(&r) != nil || s.Flush() != nil {
		return
	}
	var buf [4096]byte
	for {
		n, err := s.Read(buf[:])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return
		}
		if _, err := s.Write(buf[:n]); err != nil || s.Flush() != nil {
			return
		}
	}
	var t httpx.Fields
	t.AddString("grpc-status", "0")
	_ = s.End(&t) // the client that has gone needs no trailers
}

func serveTCP(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 256<<10)
	n, err := c.Read(buf)
	if err != nil {
		return
	}
	if buf[0] == askEcho {
		if _, err := c.Write(buf[:n]); err == nil {
			_, _ = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, buf[:4096]) // until the client ends
		}
		return
	}
	total := uint64(n)
	for err == nil {
		n, err = c.Read(buf)
		total += uint64(n)
	}
	_, _ = c.Write(binary.BigEndian.AppendUint64(nil, total)) // a client that does not wait counts nothing
}
