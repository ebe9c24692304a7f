package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/netio"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// crossing is a request of a peer that breaks every rule of HTTP/2 it likes, on its way to an app that speaks HTTP/1.1.
type crossing struct {
	method, path, authority string
	name, value             string
	length                  string // content-length, "" for none
	body                    string
	trailer                 string
	called                  string // the app's address and port
}

// encode is the request in frames, after the preface.
func (c *crossing) encode() []byte {
	var out, block bytes.Buffer
	out.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&out, nil)
	fr.AllowIllegalWrites = true
	fr.WriteSettings()
	enc := hpack.NewEncoder(&block)
	add := func(name, value string) { enc.WriteField(hpack.HeaderField{Name: name, Value: value}) }
	add(":method", c.method)
	if c.method != "CONNECT" {
		add(":scheme", "http")
		add(":path", c.path)
	}
	add(":authority", c.authority)
	add(call.TargetField, c.called+"/h1")
	add(c.name, c.value)
	if c.length != "" {
		add("content-length", c.length)
	}
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: c.body == "" && c.trailer == ""})
	if c.body != "" {
		fr.WriteData(1, c.trailer == "", []byte(c.body))
	}
	if c.trailer != "" {
		block.Reset()
		add(c.trailer, c.value)
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	}
	return out.Bytes()
}

// recorder is an app that takes one request per connection as net/http reads it and keeps what came in bytes.
type recorder struct{ wires chan []byte }

// serve answers the first request and then reads on, for whatever else may have been smuggled behind it.
func (r *recorder) serve(_ context.Context, c net.Conn) {
	var wire bytes.Buffer
	defer c.Close()
	defer func() { r.wires <- wire.Bytes() }()
	in := bufio.NewReader(io.TeeReader(c, &wire))
	req, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	io.Copy(io.Discard, req.Body)
	io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	c.(interface{ CloseWrite() error }).CloseWrite()
	io.Copy(io.Discard, in)
}

// FuzzDowngrade: whatever comes in HTTP/2 arrives in HTTP/1.1 as the one message that it was, or not at all, and its
// sender is never left without an answer.
func FuzzDowngrade(f *testing.F) {
	f.Add("GET", "/", "a", "x-a", "b", "", "", "")
	f.Add("POST", "/a?b#c", "a:80", "te", "trailers", "3", "abc", "x-t")
	f.Add("OPTIONS", "*", "", "expect", "100-continue", "", "12345", "")
	f.Add("GET", "/ HTTP/1.1\r\nX: y\r\n\r\nGET /", "[::1]:8", "x", "\x1b", "", "", "")
	f.Add("CONNECT", "", "a:1", "content-length", "1", "", "x", "")
	f.Add("CONNECT", "", "a", "host", "b", "", "", "")
	f.Add("POST", "/", "a", "transfer-encoding", "chunked", "5", "0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "")
	f.Add("POST", "/", "a", "connection", "x-a", "5", "abc", "")
	f.Add("GET /x", "/", "a b", "x\r\ny", "b\r\nc: d", "", "", "content-length")
	f.Add("POST", "/", "a\x00", "x", "\x00", "18446744073709551617", "abc", "transfer-encoding")
	f.Add("HEAD", "/", "u@a", "x", "\xff", "0", "", "host")

	m := newMesh(f)
	app := &recorder{wires: make(chan []byte)}
	var dials atomic.Int32
	users := m.sidecar("users", func(o *Options) {
		dial := o.Dial
		o.Dial = func(ctx context.Context, d netio.Dialer, addr netip.AddrPort) (net.Conn, error) {
			c, err := dial(ctx, d, addr)
			if err == nil {
				dials.Add(1)
			}
			return c, err
		}
	})
	m.listen(netip.AddrPortFrom(users.ip, 8080), app.serve)
	users.apply(&plan.InboundPolicy{Name: "in/myapp/users"})
	// The door for peers, without the TLS.
	door := netip.AddrPortFrom(m.ip(), portMesh)
	served := make(chan struct{})
	m.listen(door, func(ctx context.Context, c net.Conn) {
		defer func() { served <- struct{}{} }()
		who := &call.Caller{Remote: remoteAddr(c), Identity: "spiffe://cluster.local/ns/a/sa/b", Sidecar: true, Share: &share{of: &users.overload.shares}}
		h2.NewServer(c, h2.Options{Handler: func(s *h2.ServerStream) { users.inbound.stream(ctx, s, who, users.ip) }}).Serve(ctx)
	})

	f.Fuzz(func(t *testing.T, method, path, authority, name, value, length, body, trailer string) {
		c := crossing{method, path, authority, name, value, length, body, trailer, netip.AddrPortFrom(users.ip, 8080).String()}
		if len(c.encode()) > 8000 || name == call.TargetField || trailer == call.TargetField {
			return
		}
		conn := dial(t, door.String())
		conn.SetLinger(0) // no TIME_WAIT
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write(c.encode()); err != nil {
			t.Fatal(err)
		}
		answered := outcomeOf(conn)
		conn.Close()
		var wires [][]byte
		for done := false; !done || len(wires) < int(dials.Load()); {
			select {
			case <-served:
				done = true
			case wire := <-app.wires:
				wires = append(wires, wire)
			}
		}
		dials.Store(0)
		if answered == "nothing" || answered == "200" && len(wires) != 1 {
			t.Fatalf("%+v: answered %s, %d connections", c, answered, len(wires))
		}
		for _, wire := range wires {
			c.compare(t, wire)
		}
	})
}

// outcomeOf waits for the end of stream 1: its status, or how it was refused.
func outcomeOf(conn net.Conn) string {
	fr := http2.NewFramer(io.Discard, conn)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return "nothing"
			}
			return "closed"
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return f.ErrCode.String()
		case *http2.GoAwayFrame:
			return f.ErrCode.String()
		}
	}
}

// compare reads what the app got as net/http does, and wants it to be what was sent.
func (c *crossing) compare(t *testing.T, wire []byte) {
	if len(wire) == 0 {
		return // an aborted upload
	}
	in := bufio.NewReader(bytes.NewReader(wire))
	req, err := http.ReadRequest(in)
	if err != nil {
		if strings.Contains(err.Error(), "invalid URL escape") || strings.Contains(err.Error(), "parse \"") {
			return // percent-encoding is not checked on the way
		}
		t.Fatalf("%+v: the app cannot read it: %v\n%q", c, err, wire)
	}
	path := c.path
	if c.method == "CONNECT" {
		path = c.authority
	}
	if req.Method != c.method || req.RequestURI != path {
		t.Fatalf("%+v arrives as %s %s", c, req.Method, req.RequestURI)
	}
	if c.authority != "" && req.Host != c.authority {
		t.Fatalf("%+v arrives for %q", c, req.Host)
	}
	got, err := io.ReadAll(req.Body)
	if c.method == "CONNECT" {
		return // what follows is the tunnel's
	}
	if err == nil && string(got) != c.body {
		t.Fatalf("%+v: the app takes %q for its body\n%q", c, got, wire)
	}
	if n, numeric := strconv.Atoi(c.length); err == nil && c.length != "" && (numeric != nil || n != len(c.body)) {
		t.Fatalf("%+v: a body of another length than declared looks complete\n%q", c, wire)
	}
	if rest, _ := io.ReadAll(in); err == nil && len(rest) > 0 {
		t.Fatalf("%+v: behind the request follows %q", c, rest)
	}
}
