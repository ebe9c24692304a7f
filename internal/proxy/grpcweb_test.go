package proxy

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// webFrame is a frame of gRPC-Web: a message, or with flag 0x80 the trailers, which are part of the body.
func webFrame(flag byte, payload string) string {
	n := len(payload)
	return string([]byte{flag, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + payload
}

// encoded is a frame as a content type has it: each of -text is Base64 of its own.
func encoded(contentType, frame string) string {
	if strings.HasPrefix(contentType, "application/grpc-web-text") {
		return base64.StdEncoding.EncodeToString([]byte(frame))
	}
	return frame
}

// webServer answers each request with its message twice, a frame at a time, and then as its path says: by trailers, or by death.
func webServer(t testing.TB, received chan<- string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		contentType := r.Header.Get("Content-Type")
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		received <- fmt.Sprintf("%s %s %s %q", contentType, r.Header.Get("X-Grpc-Web"), r.Header.Get("Grpc-Timeout"), body)
		w.Header().Set("Content-Type", contentType)
		for range 2 {
			w.Write(body)
			http.NewResponseController(w).Flush()
		}
		if r.URL.Path == "/dies" {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, encoded(contentType, webFrame(0x80, "grpc-status:5\r\ngrpc-message:none\r\n")))
	}
}

// gRPC-Web is HTTP of its own and passes as it is, in both of its forms and in both versions of HTTP; it is not taken for
// gRPC, whose status its clients would not find: what breaks is cut, and what fails is an HTTP error.
func TestGRPCWebPassesThrough(t *testing.T) {
	for _, protocol := range []model.Protocol{model.HTTP, model.GRPCWeb, model.Undeclared} {
		inPairs(t, protocol, func(t runner, p *pair) {
			received := make(chan string, 1)
			p.m.bothApp(app(p.users), webServer(t, received))
			for _, c := range []*http.Client{p.m.dialled(p.entrance), p.m.h2cClient(p.entrance)} {
				for _, contentType := range []string{"application/grpc-web+proto", "application/grpc-web", "application/grpc-web-text", "application/grpc-web-text+proto"} {
					message := encoded(contentType, webFrame(0, "\x08\x96\x01\x00\xff"))
					resp, body, err := p.askWeb(t, c, "/shop.Users/Get", contentType, message)
					want := message + message + encoded(contentType, webFrame(0x80, "grpc-status:5\r\ngrpc-message:none\r\n"))
					if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != contentType || body != want || len(resp.Trailer) > 0 || resp.Header.Get("Grpc-Status") != "" {
						t.Errorf("%s: %v, %d %v %q %v, want %q", contentType, err, resp.StatusCode, resp.Header, body, resp.Trailer, want)
					}
					if got, want := awaited(t, received), fmt.Sprintf("%s 1 1H %q", contentType, message); got != want {
						t.Errorf("the app got %s, want %s", got, want)
					}
					if _, body, err := p.askWeb(t, c, "/dies", contentType, message); err == nil || !strings.HasPrefix(message+message, body) {
						t.Errorf("%s: an answer that breaks off is %q, %v, want a cut", contentType, body, err)
					}
					awaited(t, received)
				}
			}
			for s, there := range map[*sidecar]bool{p.orders: p.caller, p.users: p.callee} {
				if there {
					expectMetric(t, s, "istio_requests_total", `request_protocol="http"`, `response_code="200",response_flags="-"`)
				}
			}
			if !p.caller {
				return
			}
			p.orders.apply(service(protocol, []plan.Endpoint{}...)...)
			for _, c := range []*http.Client{p.m.dialled(p.entrance), p.m.h2cClient(p.entrance)} {
				resp, body, err := p.askWeb(t, c, "/", "application/grpc-web+proto", "")
				if err != nil || resp.StatusCode != 503 || resp.Header.Get("Grpc-Status") != "" || !strings.Contains(body, "no healthy upstream") {
					t.Errorf("without endpoints: %v, %d %v %q, want 503", err, resp.StatusCode, resp.Header, body)
				}
			}
		})
	}
}

func (*pair) askWeb(t testing.TB, c *http.Client, path, contentType, message string) (resp *http.Response, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, usersURL+path, bytes.NewReader([]byte(message)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Grpc-Web", "1")
	req.Header.Set("Grpc-Timeout", "1H")
	if resp, err = c.Do(req); err != nil {
		return &http.Response{}, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp, string(raw), err
}
