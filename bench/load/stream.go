package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
)

const (
	// streamPath is the call whose messages come back as they are.
	streamPath = "/bench.Echo/Stream"
	// messageLen is a message with gRPC's five bytes before it.
	messageLen = 5 + 128
	// underWay is how many messages of a stream are under way at a time.
	underWay = 8
)

// stream makes calls on one connection that stay open, and sends a message for each that has come back.
func (g *generator) stream(int) error {
	nc, err := net.Dial("tcp", g.addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	client := h2.NewClient(nc, h2.Options{})
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	calls := make(chan error, g.conns)
	for range g.conns {
		go func() { calls <- g.call(client) }()
	}
	for range g.conns {
		if err := <-calls; err != nil {
			g.fail(err)
		}
	}
	cancel()
	<-ended //nolint:errcheck // ended by us
	return nil
}

// call is one stream.
func (g *generator) call(client *h2.Client) error {
	s, err := client.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	r := httpx.Request{Method: []byte("POST"), Scheme: []byte("http"), Authority: []byte(g.addr), Path: []byte(streamPath), ContentLength: -1}
	r.Fields.AddString("content-type", "application/grpc")
	r.Fields.AddString("te", "trailers")
	if err := s.Send(&r); err != nil {
		return err
	}
	c := &caller{s: s}
	defer func() { g.note(c.took) }()
	if err := c.send(underWay); err != nil {
		return err
	}
	var answer httpx.Response
	if err := s.Receive(&answer); err != nil {
		return err
	}
	if answer.Status != 200 {
		return fmt.Errorf("answer %d", answer.Status)
	}
	for !g.over() {
		n, err := c.receive()
		if err == nil {
			err = c.send(n)
		}
		if err != nil {
			return err
		}
	}
	if err := s.End(nil); err != nil {
		return err
	}
	for err == nil {
		_, err = c.receive()
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	if c.sent != len(c.took) {
		return fmt.Errorf("%d messages came back of %d", len(c.took), c.sent)
	}
	return nil
}

// caller counts the messages of a stream.
type caller struct {
	s    *h2.Stream
	buf  [underWay * messageLen]byte
	rest int // bytes of a message that has not come whole
	sent int
	at   [underWay]time.Time // when those under way were sent
	took []time.Duration
}

func (c *caller) send(n int) error {
	if n == 0 {
		return nil
	}
	clear(c.buf[:n*messageLen])
	now := time.Now()
	for i := range n {
		c.buf[i*messageLen+4] = messageLen - 5
		c.at[c.sent%underWay] = now
		c.sent++
	}
	if _, err := c.s.Write(c.buf[:n*messageLen]); err != nil {
		return err
	}
	return c.s.Flush()
}

// receive reads once and gives how many messages are whole with that.
func (c *caller) receive() (int, error) {
	n, err := c.s.Read(c.buf[:])
	if err != nil {
		return 0, err
	}
	whole := (c.rest + n) / messageLen
	c.rest = (c.rest + n) % messageLen
	now := time.Now()
	for range whole {
		c.took = append(c.took, now.Sub(c.at[len(c.took)%underWay]))
	}
	return whole, nil
}
