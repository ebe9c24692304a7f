package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// dialect is the server's side of a connection in one version of HTTP, as far as an app needs it that dies.
type dialect interface {
	// head reads the head of the next request and gives its path.
	head() (path string, err error)
	// rest reads the body of that request.
	rest() error
	// some reads the beginning of that body.
	some() error
	// answer sends 200 without a body.
	answer()
	// say sends less than an answer.
	say(saying)
}

// saying is how far an answer gets.
type saying int

const (
	interimHead saying = iota + 1 // 103 and no more
	halfAHead
	halfABody
)

type http1Dialect struct {
	c   net.Conn
	r   *bufio.Reader
	req *http.Request
}

func (d *http1Dialect) head() (string, error) {
	var err error
	if d.req, err = http.ReadRequest(d.r); err != nil {
		return "", err
	}
	return d.req.URL.Path, nil
}

func (d *http1Dialect) rest() error {
	_, err := io.Copy(io.Discard, d.req.Body)
	return err
}

func (d *http1Dialect) answer() { io.WriteString(d.c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }

func (d *http1Dialect) say(p saying) {
	io.WriteString(d.c, map[saying]string{
		interimHead: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
		halfAHead:   "HTTP/1.1 200 OK\r\nContent-Le",
		halfABody:   "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun",
	}[p])
}

func (d *http1Dialect) some() error {
	_, err := d.req.Body.Read(make([]byte, 1))
	return err
}

type http2Dialect struct {
	c     net.Conn
	f     *http2.Framer
	id    uint32
	ended bool
}

func newHTTP2Dialect(c net.Conn) (dialect, error) {
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return nil, err
	}
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return &http2Dialect{c: c, f: f}, nil
}

// frame reads the next frame that is about a request.
func (d *http2Dialect) frame() (http2.Frame, error) {
	for {
		frame, err := d.f.ReadFrame()
		if err != nil {
			return nil, err
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				d.f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			d.f.WritePing(true, f.Data)
		case *http2.MetaHeadersFrame, *http2.DataFrame:
			return frame, nil
		}
	}
}

func (d *http2Dialect) head() (string, error) {
	for {
		frame, err := d.frame()
		if err != nil {
			return "", err
		}
		if f, ok := frame.(*http2.MetaHeadersFrame); ok {
			d.id, d.ended = f.StreamID, f.StreamEnded()
			return f.PseudoValue("path"), nil
		}
	}
}

func (d *http2Dialect) rest() error {
	for !d.ended {
		frame, err := d.frame()
		if err != nil {
			return err
		}
		if f, ok := frame.(*http2.DataFrame); ok {
			d.ended = f.StreamEnded()
		}
	}
	return nil
}

func (d *http2Dialect) some() error {
	if d.ended {
		return nil
	}
	_, err := d.frame()
	return err
}

func (d *http2Dialect) status(code string, end bool) {
	var block bytes.Buffer
	hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: code})
	d.f.WriteHeaders(http2.HeadersFrameParam{StreamID: d.id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
}

func (d *http2Dialect) answer() { d.status("200", true) }

func (d *http2Dialect) say(p saying) {
	switch p {
	case interimHead:
		d.status("103", false)
	case halfAHead:
		d.c.Write([]byte{0, 0, 9, 1})
	case halfABody:
		d.status("200", false)
		d.f.WriteData(d.id, false, []byte("begun"))
	}
}

// reset and goAway say of a request what HTTP/2 alone can: by the code whether it was acted on, by the last stream which were.
func reset(d dialect, code http2.ErrCode) {
	h := d.(*http2Dialect)
	h.f.WriteRSTStream(h.id, code)
}

func goAway(d dialect, last uint32) { d.(*http2Dialect).f.WriteGoAway(last, http2.ErrCodeNo, nil) }
