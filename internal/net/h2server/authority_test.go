package h2server

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestPathAsAuthority: a gRPC library in Java that was told to call through a unix socket says its path where the host belongs. It is
// served, and the handler is told of no host.
func TestPathAsAuthority(t *testing.T) {
	w := start(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "host "+r.Host) })
	config := w.config.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patient)); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	fields := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "/etc/istio/proxy/XDS"}, {":path", "/"}} {
		fields.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.WriteSettings()
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			t.Fatalf("the request is refused: %s", f.ErrCode)
		case *http2.DataFrame:
			if got := string(f.Data()); got != "host " {
				t.Errorf("the handler says %q, want no host", got)
			}
			return
		}
	}
}
