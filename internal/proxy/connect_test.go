package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/net/h2"
	"fairlead.dev/fairlead/internal/net/httpx"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy/call"
)

// forwardProxy is an app that takes CONNECT, tells what it was asked for, and echoes.
func forwardProxy(c *net.TCPConn) {
	in := bufio.NewReader(c)
	req, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nAsked: %s %s %s %s\r\n\r\n", req.Method, req.RequestURI, req.Proto, req.Header.Get(call.TargetField))
	io.Copy(c, in)
}

// An app's CONNECT goes to the app that it calls, whatever its target is, and what follows goes both ways.
func TestConnectOfAnApp(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.rawServer(app(users), forwardProxy)
		for _, protocol := range []model.Protocol{model.HTTP, model.Undeclared} {
			orders.apply(service(protocol, e)...)
			entrances := map[string]string{"meshed caller": m.entrance(orders, usersAddr()), "plain caller": m.plainly(users, app(users))}
			for caller, addr := range entrances {
				for _, target := range []string{"www.example.com:443", app(users).Addr().String() + ":9999", app(users).String()} {
					for _, version := range []string{"1.1", "1.0"} {
						c := dial(t, addr)
						fmt.Fprintf(c, "CONNECT %s HTTP/%s\r\nHost: %s\r\n%s: 9999/h1\r\n\r\n", target, version, target, call.TargetField)
						in := bufio.NewReader(c)
						resp, err := http.ReadResponse(in, &http.Request{Method: "CONNECT"})
						if err != nil {
							t.Fatal(err)
						}
						if got, want := resp.Header.Get("Asked"), "CONNECT "+target+" HTTP/1.1"; resp.StatusCode != 200 || got != want {
							t.Errorf("%s, %s, HTTP/%s: %d, the app was asked %q, want %q", protocol, caller, version, resp.StatusCode, got, want)
							continue
						}
						fmt.Fprint(c, "hello\n")
						expectLine(t, in, "hello\n")
						c.CloseWrite()
						if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
							t.Errorf("at the end: %q, %v", rest, err)
						}
					}
				}
			}
		}
	})
}

// So does one in HTTP/2 (RFC 9113 §8.5).
func TestConnectOfAnAppInHTTP2(t *testing.T) {
	flavours(t, func(t runner, m *mesh, orders, users *sidecar, e plan.Endpoint) {
		m.h2cApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Asked", r.Method+" "+r.Host)
			http.NewResponseController(w).Flush()
			in := bufio.NewReader(r.Body)
			line, _ := in.ReadString('\n')
			fmt.Fprint(w, line)
		}))
		orders.apply(service(model.HTTP2, e)...)
		client := h2.NewClient(dial(t, m.entrance(orders, usersAddr())), h2.Options{})
		done := make(chan error)
		go func() { done <- client.Run(t.Context()) }()
		s, err := client.Open()
		if err != nil {
			t.Fatal(err)
		}
		var req httpx.Request
		req.Method, req.Authority, req.ContentLength = []byte("CONNECT"), []byte(app(users).String()), -1
		var resp httpx.Response
		if err := errors.Join(s.Send(&req), s.Flush(), s.Receive(&resp)); err != nil {
			t.Fatal(err)
		}
		if want := "CONNECT " + app(users).String(); resp.Status != 200 || string(resp.Fields.Get("asked")) != want {
			t.Errorf("%d, the app was asked %q, want %q", resp.Status, resp.Fields.Get("asked"), want)
		}
		if _, err := io.WriteString(s, "hello\n"); err != nil {
			t.Fatal(err)
		}
		s.Flush()
		expectLine(t, bufio.NewReader(s), "hello\n")
		s.End(nil)
		s.Close()
		client.Shutdown(t.Context())
		<-done
	})
}
