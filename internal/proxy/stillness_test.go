package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// TestStillExchanges are those of which no byte moves: they end, whichever side is to blame, and those that move slowly do not.
func TestStillExchanges(t *testing.T) {
	const limit = 1500 * time.Millisecond // the app must have read what it is asked within it
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		orders.limits.put(plan.Limits{StreamIdle: limit})
		users.limits.put(plan.Limits{StreamIdle: limit})
		orders.apply(service(model.HTTP, e)...)
		var begun, ended atomic.Int64 // of what the app was asked and does not answer whole
		m.rawServer(app(users), func(c *net.TCPConn) {
			r := bufio.NewReader(c)
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				if req.URL.Path != "/slow" {
					begun.Add(1)
				}
				switch req.URL.Path {
				case "/quiet":
				case "/begun":
					fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")
				case "/slow":
					fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
					tick := time.NewTicker(limit / 5)
					for range 10 {
						<-tick.C
						fmt.Fprint(c, "x")
					}
					tick.Stop()
					continue
				case "/full":
					fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
					io.Copy(c, io.LimitReader(zeros{}, 1e9))
				}
				io.Copy(io.Discard, r)
				ended.Add(1)
				return
			}
		})
		ask := func(request string) (*bufio.Reader, *http.Response, error) {
			c := dial(t, m.entrance(orders, usersAddr()))
			fmt.Fprint(c, request)
			r := bufio.NewReader(c)
			resp, err := http.ReadResponse(r, nil)
			return r, resp, err
		}
		givenUp := func(what string) {
			t.Helper()
			eventually(t, what+": the app's connection is given up as well", func() bool { return begun.Load() > 0 && ended.Load() == begun.Load() })
		}
		get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: users\r\n\r\n" }

		_, resp, err := ask(get("/quiet"))
		if err != nil || resp.StatusCode != 504 || !strings.Contains(resp.Header.Get("Proxy-Status"), "stream timeout") {
			t.Errorf("no answer: %v %+v, want 504", err, resp)
		}
		givenUp("no answer")
		_, resp, err = ask("POST /quiet HTTP/1.1\r\nHost: users\r\nContent-Length: 100000\r\n\r\nbegun")
		if err != nil || resp.StatusCode != 408 {
			t.Errorf("half a request: %v %+v, want 408", err, resp)
		}
		givenUp("half a request")
		if _, resp, err = ask(get("/begun")); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); string(got) != "begun" || !errors.Is(err, io.ErrUnexpectedEOF) && !isReset(err) {
			t.Errorf("half an answer: %q, %v, want a cut", got, err)
		}
		givenUp("half an answer")
		if _, resp, err = ask(get("/slow")); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); len(got) != 10 || err != nil {
			t.Errorf("a slow answer: %q, %v, want all of it", got, err)
		}
		if _, resp, err = ask("POST / HTTP/1.1\r\nHost: users\r\nContent-Length: 10\r\n\r\nfew"); err != nil || resp.StatusCode != 408 || !resp.Close {
			t.Errorf("a request that is not even begun upstream: %v %+v, want 408 and the end of its connection", err, resp)
		}
		if status, err := askHTTP2(t, m.entrance(orders, usersAddr()), 10, "few"); err != nil || status != 408 {
			t.Errorf("the same of HTTP/2: %v %d, want 408", err, status)
		}
		if status, err := askHTTP2(t, m.plainly(users, app(users)), 10, "few"); err != nil || status != 408 {
			t.Errorf("the same of a caller without a sidecar: %v %d, want 408", err, status)
		}
		if _, _, err = ask(get("/full")); err != nil {
			t.Fatal(err)
		}
		givenUp("an answer of which the client reads nothing")

		expectMetric(t, orders, `response_code="504"`)
		eventually(t, "the flag of the sidecar that was the first to give up", func() bool {
			want := []string{`response_code="408",response_flags="SI"`}
			return hasLine(metricsOf(t, orders), want) || hasLine(metricsOf(t, users), want)
		})
	})
}

// askHTTP2 sends a POST whose body is shorter than it says, and gives the status of the answer.
func askHTTP2(t runner, addr string, length int64, part string) (int, error) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	body, more := io.Pipe()
	defer more.Close()
	go io.WriteString(more, part)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/", body)
	if err != nil {
		return 0, err
	}
	req.Host, req.ContentLength = "users", length
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
