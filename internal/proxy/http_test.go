package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func TestHTTPFeatures(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		mux := http.NewServeMux()
		mux.HandleFunc("/hints", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			fmt.Fprint(w, "hinted")
		})
		mux.HandleFunc("/length", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5")
			w.Header().Set("X-Method", r.Method)
			fmt.Fprint(w, "12345")
		})
		mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("X-Length", strconv.FormatInt(r.ContentLength, 10))
			io.Copy(w, r.Body)
		})
		mux.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
			sum := sha256.New()
			io.Copy(sum, r.Body)
			w.Header().Set("Trailer", "X-Sum, X-Sent")
			fmt.Fprint(w, "body")
			w.Header().Set("X-Sum", hex.EncodeToString(sum.Sum(nil)))
			w.Header().Set("X-Sent", r.Trailer.Get("X-Sent"))
		})
		mux.HandleFunc("/nothing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		mux.HandleFunc("/cached", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"1"`)
			w.WriteHeader(http.StatusNotModified)
		})
		m.plainApp(app(users), mux)
		orders.apply(service(model.HTTP, e)...)
		addr := m.entrance(orders, usersAddr())
		c := m.dialled(addr)

		t.Run("early_hints", func(t *testing.T) { earlyHints(runner{t}, c) })
		t.Run("head_keeps_the_length", func(t *testing.T) {
			resp, body := fetch(t, c, "HEAD", "/length", "")
			if resp.ContentLength != 5 || body != "" || resp.Header.Get("X-Method") != "HEAD" {
				t.Errorf("= %d %q %v", resp.ContentLength, body, resp.Header)
			}
		})
		t.Run("no_content", func(t *testing.T) {
			for path, status := range map[string]int{"/nothing": 204, "/cached": 304} {
				if resp, body := fetch(t, c, "GET", path, ""); resp.StatusCode != status || body != "" {
					t.Errorf("%s = %d %q", path, resp.StatusCode, body)
				}
			}
		})
		t.Run("expect_continue", func(t *testing.T) { expectContinue(runner{t}, addr) })
		t.Run("trailers_both_ways", func(t *testing.T) { trailers(runner{t}, c) })
		t.Run("pipelining", func(t *testing.T) { pipelining(runner{t}, addr) })
		t.Run("large_bodies", func(t *testing.T) {
			for _, n := range []int{scratch - 1, scratch, scratch + 1, 10 << 20} {
				blob := strings.Repeat("0123456789abcdef", n/16+1)[:n]
				if resp, body := fetch(t, c, "POST", "/echo", blob); resp.Header.Get("X-Length") != strconv.Itoa(n) || body != blob {
					t.Errorf("%d bytes: %d came back, length seen %s", n, len(body), resp.Header.Get("X-Length"))
				}
			}
		})
	})
}

func earlyHints(t runner, c *http.Client) {
	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, " ", h.Get("Link")))
		return nil
	}})
	req, _ := http.NewRequestWithContext(ctx, "GET", usersURL+"/hints", http.NoBody)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || string(body) != "hinted" || len(hints) != 1 || hints[0] != "103 </style.css>; rel=preload" {
		t.Errorf("= %d %q, hints %q", resp.StatusCode, body, hints)
	}
}

func expectContinue(t runner, addr string) {
	for _, length := range []int{4, scratch + 1} {
		c := dial(t, addr)
		r := bufio.NewReader(c)
		fmt.Fprintf(c, "POST /echo HTTP/1.1\r\nHost: users\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", length)
		expectLine(t, r, "HTTP/1.1 100 Continue\r\n")
		expectLine(t, r, "\r\n")
		blob := strings.Repeat("x", length)
		fmt.Fprint(c, blob)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(body) != blob {
			t.Errorf("= %d, %d bytes", resp.StatusCode, len(body))
		}
		c.Close()
	}
}

func trailers(t runner, c *http.Client) {
	pr, pw := io.Pipe()
	req, _ := http.NewRequest("POST", usersURL+"/trailers", pr)
	req.Trailer = http.Header{"X-Sent": nil}
	go func() {
		io.WriteString(pw, "in ")
		io.WriteString(pw, "pieces")
		req.Trailer.Set("X-Sent", "at the end")
		pw.Close()
	}()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	want := fmt.Sprintf("%x", sha256.Sum256([]byte("in pieces")))
	if err != nil || string(body) != "body" || resp.Trailer.Get("X-Sum") != want || resp.Trailer.Get("X-Sent") != "at the end" {
		t.Errorf("= %q %v, trailers %v", body, err, resp.Trailer)
	}
}

func pipelining(t runner, addr string) {
	c := dial(t, addr)
	var all bytes.Buffer
	for i := range 10 {
		fmt.Fprintf(&all, "POST /echo HTTP/1.1\r\nHost: users\r\nContent-Length: 1\r\n\r\n%d", i)
	}
	c.Write(all.Bytes())
	r := bufio.NewReader(c)
	for i := range 10 {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(i, err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != strconv.Itoa(i) {
			t.Errorf("answer %d = %q", i, body)
		}
	}
}

// An app that has heard enough answers while the client still sends.
func TestEarlyAnswer(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), func(c *net.TCPConn) {
			r := bufio.NewReader(c)
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch")
			io.Copy(io.Discard, r) // a polite one: it lets the client finish
		})
		orders.apply(service(model.HTTP, e)...)
		c := dial(t, m.entrance(orders, usersAddr()))
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: users\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(body) != "much" || err != nil {
			t.Errorf("= %d %q %v", resp.StatusCode, body, err)
		}
	})
}

// What arrives is passed on at once, however little it is, and whether the other side still sends or not.
func TestStreamingBothWays(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.plainApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctl := http.NewResponseController(w)
			ctl.EnableFullDuplex()
			w.WriteHeader(200)
			ctl.Flush()
			in := bufio.NewReader(r.Body)
			for {
				line, err := in.ReadString('\n')
				fmt.Fprint(w, line)
				ctl.Flush()
				if err != nil {
					return
				}
			}
		}))
		orders.apply(service(model.HTTP, e)...)
		c := dial(t, m.entrance(orders, usersAddr()))
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: users\r\nTransfer-Encoding: chunked\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(resp.Body)
		for range 5 {
			fmt.Fprint(c, "5\r\nping\n\r\n")
			expectLine(t, r, "ping\n")
		}
		fmt.Fprint(c, "0\r\n\r\n")
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	})
}

// A body that is cut off must not look complete.
func TestCutResponse(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), func(c *net.TCPConn) {
			http.ReadRequest(bufio.NewReader(c))
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		})
		orders.apply(service(model.HTTP, e)...)
		resp, err := m.dialled(m.entrance(orders, usersAddr())).Get(usersURL + "/")
		if err == nil { // the end may overtake the beginning, which is as well
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("%q looked complete", body)
			}
		}
		eventually(t, "counted", func() bool { return strings.Contains(metricsOf(t, orders), `response_flags="UC"`) })
	})
}

// A client that goes away in the middle takes its upstream request with it.
func TestClientGoesAway(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		gone := make(chan struct{})
		m.plainApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					break
				}
			}
			close(gone)
		}))
		orders.apply(service(model.HTTP, e)...)
		c := dial(t, m.entrance(orders, usersAddr()))
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: users\r\n\r\n")
		io.ReadFull(c, make([]byte, 100<<10))
		c.Close()
		<-gone
		eventually(t, "counted", func() bool { return strings.Contains(metricsOf(t, orders), `response_flags="DC"`) })
	})
}

func TestMalformedRequests(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.serveApp(users, says("ok"))
	orders.apply(service(model.HTTP, users.endpoint(8080))...)
	out := m.entrance(orders, usersAddr())
	in := m.plainly(users, app(users))
	tests := []struct {
		name, request string
		status        int
	}{
		{"two_lengths", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
		{"smuggling", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"too_large", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 70<<10) + "\r\n\r\n", 431},
	}
	for _, tt := range tests {
		for side, addr := range map[string]string{"outbound": out, "inbound": in} {
			t.Run(tt.name+"_"+side, func(t *testing.T) {
				c := dial(t, addr)
				fmt.Fprint(c, tt.request)
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != tt.status || !strings.Contains(resp.Header.Get("Proxy-Status"), "error=http_request_error") {
					t.Errorf("= %d, Proxy-Status %q", resp.StatusCode, resp.Header.Get("Proxy-Status"))
				}
				s := orders
				if side == "inbound" {
					s = users
				}
				eventually(t, "counted", func() bool {
					return strings.Contains(metricsOf(t, s), fmt.Sprintf(`response_code="%d",response_flags="DPE"`, tt.status))
				})
			})
		}
	}
}
