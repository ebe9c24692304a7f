package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
)

// pair is a client and an app, with or without a sidecar each.
type pair struct {
	m              *mesh
	orders, users  *sidecar
	caller, callee bool   // have a sidecar
	entrance       string // where the client's connections arrive
}

// inPairs runs a test for every pair. The one without any sidecar is what the others are compared with: a test that fails
// there expects what HTTP does not give.
func inPairs(t *testing.T, protocol model.Protocol, test func(t runner, p *pair)) {
	t.Helper()
	for _, caller := range []bool{true, false} {
		for _, callee := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/meshed_caller=%t/meshed_callee=%t", protocol, caller, callee), func(t *testing.T) {
				m := newMesh(t)
				p := &pair{m: m, orders: m.sidecar("orders"), users: m.sidecar("users"), caller: caller, callee: callee}
				m.meshed(p.users)
				e := p.users.endpoint(8080)
				if !callee {
					e = plainEndpoint(app(p.users))
				}
				p.orders.apply(service(protocol, e)...)
				switch {
				case caller:
					p.entrance = m.entrance(p.orders, usersAddr())
				case callee:
					p.entrance = m.plainly(p.users, app(p.users))
				default:
					p.entrance = app(p.users).String()
				}
				test(runner{t}, p)
			})
		}
	}
}

const expectant = "POST / HTTP/1.1\r\nHost: users\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

// askedApp is an app that sends what reply says when it has the head of a request, and then reads the body, says it back,
// and takes the next request.
func (p *pair) askedApp(reply string, heads chan<- http.Header) {
	p.m.rawServer(app(p.users), func(c *net.TCPConn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			heads <- req.Header
			io.WriteString(c, reply)
			body, err := io.ReadAll(req.Body)
			if err != nil || strings.Contains(reply, "Content-Length") {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
}

// awaited receives what must come.
func awaited[T any](tb testing.TB, c <-chan T) T {
	tb.Helper()
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case v := <-c:
		return v
	case <-t.C:
		tb.Fatal("nothing came")
		panic("unreachable")
	}
}

// The app is asked, with the head and before any of the body; what it answers, and all that it says before, reaches the
// client, and the connection lives on.
func TestTheAppIsAskedForTheBody(t *testing.T) {
	inPairs(t, model.HTTP, func(t runner, p *pair) {
		heads := make(chan http.Header, 2)
		p.askedApp("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", heads)
		c := dial(t, p.entrance)
		r := bufio.NewReader(c)
		for range 2 {
			io.WriteString(c, expectant)
			if h := awaited(t, heads); h.Get("Expect") != "100-continue" {
				t.Fatalf("the app is not asked: %v", h)
			}
			for _, line := range []string{"HTTP/1.1 103 Early Hints\r\n", "Link: </a>\r\n", "\r\n", "HTTP/1.1 100 Continue\r\n", "\r\n"} {
				expectLine(t, r, line)
			}
			io.WriteString(c, "hello")
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); string(body) != "hello" || resp.Close || err != nil {
				t.Fatalf("= %q, %v, close %t", body, err, resp.Close)
			}
		}
	})
}

// An app may never answer the question: the client then sends the body when it has waited long enough.
func TestAnExpectationThatIsNotAnswered(t *testing.T) {
	inPairs(t, model.HTTP, func(t runner, p *pair) {
		heads := make(chan http.Header, 1)
		p.askedApp("", heads)
		c := dial(t, p.entrance)
		io.WriteString(c, expectant)
		awaited(t, heads) // and so much for waiting
		io.WriteString(c, "hello")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(body) != "hello" {
			t.Errorf("= %d %q", resp.StatusCode, body)
		}
	})
}

// A client of HTTP/1.0 knows no interim responses (RFC 9110 §15.2).
func TestHTTP10GetsNoContinue(t *testing.T) {
	inPairs(t, model.HTTP, func(t runner, p *pair) {
		if !p.caller && !p.callee {
			return // this app sends it to everybody
		}
		heads := make(chan http.Header, 1)
		p.askedApp("HTTP/1.1 100 Continue\r\n\r\n", heads)
		c := dial(t, p.entrance)
		io.WriteString(c, "POST / HTTP/1.0\r\nHost: users\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
		expectLine(t, bufio.NewReader(c), "HTTP/1.1 200 OK\r\n")
	})
}

// The app's refusal comes instead of its 100. A client that waited sends nothing more, and the connection ends
// (RFC 9110 §10.1.1); one that sends the body all the same reads the answer too.
func TestARefusedExpectation(t *testing.T) {
	inPairs(t, model.HTTP, func(t runner, p *pair) {
		heads := make(chan http.Header, 1)
		const refusal = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
		p.askedApp(refusal, heads)
		for _, sends := range []bool{false, true} {
			c := dial(t, p.entrance)
			io.WriteString(c, expectant)
			awaited(t, heads)
			r := bufio.NewReader(c)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if sends {
				io.WriteString(c, "hello")
			}
			if body, err := io.ReadAll(resp.Body); resp.StatusCode != 417 || string(body) != "no" || !resp.Close || err != nil {
				t.Errorf("sends=%t: = %d %q, close %t, %v", sends, resp.StatusCode, body, resp.Close, err)
			}
			c.CloseWrite()
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("sends=%t: the connection ends with %v", sends, err)
			}
		}
	})
}

// A client that waits for the app's word is answered where the app dies instead.
func TestAnExpectationOfAnAppThatDies(t *testing.T) {
	inPairs(t, model.HTTP, func(t runner, p *pair) {
		if !p.caller && !p.callee {
			return
		}
		p.m.rawServer(app(p.users), func(c *net.TCPConn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				c.SetLinger(0)
			}
		})
		c := dial(t, p.entrance)
		io.WriteString(c, expectant)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 503 || !resp.Close {
			t.Errorf("= %d, close %t", resp.StatusCode, resp.Close)
		}
	})
}

// tally counts what is read of a body.
type tally struct {
	io.Reader

	n atomic.Int64
}

func (c *tally) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// What net/http does at both ends, over HTTP/1.1 and HTTP/2: an upload that is refused is not sent, one that is not
// arrives whole.
func TestExpectationsOfRealClients(t *testing.T) {
	for _, protocol := range []model.Protocol{model.HTTP, model.HTTP2} {
		inPairs(t, protocol, func(t runner, p *pair) {
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor == 1 && r.Header.Get("Expect") == "" { // HTTP/2's server keeps it to itself
					t.Error("the app was not asked")
				}
				switch r.URL.Path {
				case "/refused":
					w.WriteHeader(http.StatusUnauthorized)
				case "/moved":
					http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
				default:
					n, err := io.Copy(io.Discard, r.Body)
					fmt.Fprint(w, n, " ", err)
				}
			})
			client := p.m.dialled(p.entrance)
			if protocol == model.HTTP2 {
				p.m.h2cApp(app(p.users), handler)
				client = p.m.h2cClient(p.entrance)
				client.Transport.(*http.Transport).ExpectContinueTimeout = patience
			} else {
				p.m.plainApp(app(p.users), handler)
			}
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			for _, size := range []int{1, 2 * scratch, 3 << 20} {
				for _, path := range []string{"/taken", "/refused", "/moved", "/taken"} {
					var interim []int
					ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
						interim = append(interim, code)
						return nil
					}})
					body := &tally{Reader: strings.NewReader(strings.Repeat("x", size))}
					req, err := http.NewRequestWithContext(ctx, http.MethodPut, usersURL+path, body)
					if err != nil {
						t.Fatal(err)
					}
					req.ContentLength = int64(size)
					req.Header.Set("Expect", "100-continue")
					resp, err := client.Do(req)
					if err != nil {
						t.Fatalf("%s of %d bytes: %v", path, size, err)
					}
					answer, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil {
						t.Fatal(err)
					}
					switch path {
					case "/taken":
						if want := fmt.Sprint(size, " <nil>"); string(answer) != want || !slices.Equal(interim, []int{100}) {
							t.Errorf("%d bytes = %d %q after %v, want %q after [100]", size, resp.StatusCode, answer, interim, want)
						}
					default:
						if resp.StatusCode < 300 || len(interim) > 0 || body.n.Load() > 0 {
							t.Errorf("%s of %d bytes = %d after %v, %d bytes sent", path, size, resp.StatusCode, interim, body.n.Load())
						}
					}
				}
			}
		})
	}
}
