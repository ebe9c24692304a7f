package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
)

// A request body that breaks its framing is answered 400, and the connection ends, as long as nothing else was answered;
// the app sees the request broken off and not ended.
func TestABrokenChunkIsAnswered(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: users\r\nTransfer-Encoding: chunked\r\n\r\n"
	bodies := []struct{ name, first, rest string }{
		{"at_once", "5\r\nhello\r\nxyz\r\n", ""},
		{"while_the_app_waits", "5\r\nhello\r\n", "xyz\r\n"},
		{"longer_than_its_size", "5\r\nhello\r\n", "2\r\nabcd\r\n"},
		{"in_the_trailers", "5\r\nhello\r\n", "0\r\nbad trailer\r\n\r\n"},
	}
	for _, tt := range bodies {
		inPairs(t, model.HTTP, func(t runner, p *pair) {
			if !p.caller && !p.callee {
				return
			}
			t.Run(tt.name, func(t *testing.T) {
				begun, seen := make(chan struct{}, 1), make(chan error, 1)
				p.m.rawServer(app(p.users), func(c *net.TCPConn) {
					req, err := http.ReadRequest(bufio.NewReader(c))
					if err != nil {
						return
					}
					io.ReadFull(req.Body, make([]byte, 5))
					begun <- struct{}{}
					_, err = io.Copy(io.Discard, req.Body)
					seen <- err
				})
				c := dial(t, p.entrance)
				io.WriteString(c, head+tt.first)
				if tt.rest != "" {
					awaited(t, begun)
					io.WriteString(c, tt.rest)
				}
				r := bufio.NewReader(c)
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if resp.StatusCode != 400 || !resp.Close || err != nil || !strings.Contains(string(body), "bad request") {
					t.Errorf("= %d %q, close %t, %v", resp.StatusCode, body, resp.Close, err)
				}
				c.CloseWrite()
				if _, err := r.ReadByte(); err != io.EOF {
					t.Errorf("the connection ends with %v", err)
				}
				if tt.rest != "" {
					if err := awaited(t, seen); err == nil {
						t.Error("the app takes the request for whole")
					}
				}
				s := p.orders
				if !p.caller {
					s = p.users
				}
				expectMetric(t, s, "istio_requests_total", fmt.Sprintf(`response_code="%d",response_flags="DPE"`, 400))
			})
		})
	}
}
