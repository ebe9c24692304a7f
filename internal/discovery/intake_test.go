package discovery

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// conversing counts goroutines that are in the server's side of a conversation.
func conversing() int {
	b := make([]byte, 4<<20)
	n := 0
	for stack := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
		if strings.Contains(stack, "discovery.(*stream).") || strings.Contains(stack, "discovery.(*intake).") || strings.Contains(stack, "discovery.(*Server).serveStream") {
			n++
		}
	}
	return n
}

// response gives what the server says until it has said everything for now, as one response.
func (c *rawClient) response() *Response {
	c.t.Helper()
	all := &Response{}
	for !all.Synced {
		b, err := readFrame(c.body, maxMessage)
		if err != nil {
			c.t.Fatal(err)
		}
		r, err := parseResponse(b)
		if err != nil {
			c.t.Fatal(err)
		}
		all.Nonce, all.Synced, all.Resources = r.Nonce, r.Synced, append(all.Resources, r.Resources...)
	}
	return all
}

// TestQuietConversationsHaveNoGoroutine: a goroutine, and its stack, for each sidecar would be most of what it takes.
func TestQuietConversationsHaveNoGoroutine(t *testing.T) {
	source := newFakeSource()
	source.set(t, "host/users", users("a"))
	w := start(t, source)
	const n = 20
	clients := make([]*rawClient, n)
	for i := range clients {
		clients[i] = w.raw(t, fmt.Sprintf("quiet-%d", i))
		if err := clients[i].send(&Request{Node: &Node{}, Subscribe: []string{"host/users"}}); err != nil {
			t.Fatal(err)
		}
		if r := clients[i].response(); len(r.Resources) != 1 {
			t.Fatalf("the first answer has %d resources", len(r.Resources))
		}
	}
	eventually(t, "no conversation has a goroutine", func() bool { return conversing() == 0 })
	source.set(t, "host/users", users("b"))
	for _, c := range clients {
		r := c.response()
		if err := c.send(&Request{Ack: r.Nonce}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all have acknowledged", func() bool {
		acked := 0
		for _, status := range w.server.Status() {
			if status.Acked == status.Sent {
				acked++
			}
		}
		return acked == n
	})
	eventually(t, "no conversation has a goroutine after an event", func() bool { return conversing() == 0 })
}

// TestRequestsInPieces: a request whose bytes come one by one, and several that come at once, are carried out, each once and in order.
func TestRequestsInPieces(t *testing.T) {
	source := newFakeSource()
	for _, name := range []string{"a", "b", "c"} {
		d := users(name)
		d.Name = "dst/myapp/" + name + ":80"
		source.set(t, "host/"+name, d)
	}
	w := start(t, source)
	c := w.raw(t, "slow")
	bytewise := func(r *Request) {
		b, err := frame(r)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			if _, err := c.requests.Write(b[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	bytewise(&Request{Node: &Node{}, Subscribe: []string{"host/a"}})
	first := c.response()
	if len(first.Resources) != 1 {
		t.Fatalf("the first answer has %d resources", len(first.Resources))
	}
	bytewise(&Request{Ack: first.Nonce})
	bytewise(&Request{Subscribe: []string{"host/b"}})
	second := c.response()
	if len(second.Resources) != 1 || second.Resources[0].Name != "dst/myapp/b:80" {
		t.Fatalf("the second answer is %v", second.Resources)
	}
	var together []byte
	for _, r := range []*Request{{Ack: second.Nonce}, {Subscribe: []string{"host/c"}}, {Unsubscribe: []string{"host/c"}}, {Subscribe: []string{"host/c"}}} {
		b, err := frame(r)
		if err != nil {
			t.Fatal(err)
		}
		together = append(together, b...)
	}
	if _, err := c.requests.Write(together); err != nil {
		t.Fatal(err)
	}
	for {
		r := c.response()
		has := false
		for i := range r.Resources {
			has = has || (r.Resources[i].Name == "dst/myapp/c:80" && r.Resources[i].Version != "")
		}
		if has {
			break
		}
	}
	c.requests.Close()
	if _, err := io.Copy(io.Discard, c.body); err != nil {
		t.Fatal(err)
	}
	if err := c.end(); err != nil {
		t.Errorf("the conversation ended with %v", err)
	}
	eventually(t, "nothing is watched", func() bool { return source.watches() == 0 })
}
