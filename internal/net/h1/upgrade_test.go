package h1

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func TestUpgradeBothWays(t *testing.T) {
	tests := []struct {
		name   string
		change func(*httpx.Request)
		answer httpx.Response
	}{
		{"websocket", func(r *httpx.Request) { r.Upgrade = []byte("websocket") }, httpx.Response{Status: 101, Upgrade: []byte("websocket")}},
		{"connect", func(r *httpx.Request) { r.Method, r.Authority = []byte("CONNECT"), []byte("b:1") }, httpx.Response{Status: 200}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := tcpPair(t)
			inBackground(t, func() {
				err := serve(b, Options{}, func(x *Exchange) error {
					if err := x.Respond(&tt.answer); err != nil {
						return err
					}
					if _, err := io.Copy(struct{ io.Writer }{x}, struct{ io.Reader }{x}); err != nil {
						return err
					}
					return x.End(nil)
				})
				if !errors.Is(err, io.EOF) {
					t.Errorf("serve = %v", err)
				}
			})
			c := NewClient(a, Options{})
			x, err := c.Exchange()
			if err != nil {
				t.Fatal(err)
			}
			r := request("GET", "/")
			tt.change(r)
			var resp httpx.Response
			if err := errors.Join(x.Send(r), x.Flush(), x.Receive(&resp)); err != nil {
				t.Fatal(err)
			}
			if resp.Status != tt.answer.Status || !bytes.Equal(resp.Upgrade, tt.answer.Upgrade) {
				t.Fatalf("response %d upgrade %q", resp.Status, resp.Upgrade)
			}
			for _, s := range []string{"one", strings.Repeat("two", 10000)} {
				if _, err := x.Write([]byte(s)); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(s))
				if _, err := io.ReadFull(x, got); err != nil || string(got) != s {
					t.Fatalf("echo of %d bytes: %v", len(s), err)
				}
			}
			if err := x.End(nil); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(x); len(rest) != 0 || err != nil {
				t.Errorf("after our end: %q, %v", rest, err)
			}
			x.Close()
			if c.Reusable() {
				t.Error("reusable after an upgrade")
			}
		})
	}
}

// TestDeathAfterTheSwitch: a process that is killed does not end a connection that left HTTP, although its kernel closes
// it, and ends it in an orderly way once both sides have ended theirs.
func TestDeathAfterTheSwitch(t *testing.T) {
	upgrade := request("GET", "/")
	upgrade.Upgrade = []byte("websocket")
	connect := request("CONNECT", "")
	connect.Authority = []byte("b:1")
	for _, tt := range []struct {
		name   string
		ask    *httpx.Request
		answer httpx.Response
	}{
		{"websocket", upgrade, httpx.Response{Status: 101, Upgrade: []byte("websocket")}},
		{"connect", connect, httpx.Response{Status: 200}},
	} {
		for _, dying := range []string{"client", "server"} {
			t.Run(tt.name+"_of_the_"+dying, func(t *testing.T) {
				a, b := tcpPair(t)
				server, c := NewServer(b, Options{}), NewClient(a, Options{})
				answered := make(chan error, 1)
				inBackground(t, func() {
					x, err := server.Next()
					if err == nil {
						err = errors.Join(x.Respond(&tt.answer), x.Flush())
					}
					answered <- err
				})
				x, err := c.Exchange()
				if err != nil {
					t.Fatal(err)
				}
				var resp httpx.Response
				if err := errors.Join(x.Send(tt.ask), x.Flush(), x.Receive(&resp), <-answered); err != nil {
					t.Fatal(err)
				}
				dead, left := a, b
				if dying == "server" {
					dead, left = b, a
				}
				dead.Close() // as the kernel does
				if _, err := left.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the other side sees %v, want a reset", err)
				}
			})
		}
	}
}
