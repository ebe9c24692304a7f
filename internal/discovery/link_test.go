package discovery

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// echo is a Handler that gives back what comes over its links, in capitals.
type echo struct {
	*recorder

	ended chan error
}

func (e echo) Observe(_ context.Context, link *Link) error {
	for {
		message, err := link.Receive()
		if err != nil {
			e.ended <- err
			return err
		}
		if err := link.Send([]byte(strings.ToUpper(string(message)))); err != nil {
			e.ended <- err
			return err
		}
	}
}

// asked is what a server has to do with its links.
func asked(answers chan<- string, questions ...string) setting {
	return func(o *ServerOptions) {
		o.Observe = func(_ context.Context, client ClientIdentity, link *Link) error {
			for _, q := range questions {
				if err := link.Send([]byte(q)); err != nil {
					return err
				}
				answer, err := link.Receive()
				if err != nil {
					return err
				}
				answers <- client.Pod + " " + string(answer)
			}
			_, err := link.Receive()
			answers <- "over"
			return err
		}
	}
}

func TestLink(t *testing.T) {
	source := newFakeSource()
	answers := make(chan string, 4)
	w := start(t, source, asked(answers, "one", strings.Repeat("x", 300_000), ""))
	e := echo{newRecorder(), make(chan error, 4)}
	c := w.client(t, e)
	run(t, c)
	c.Subscribe("dst/myapp/users:8080")
	await(t, c, "dst/myapp/users:8080")
	for _, want := range []string{"orders-1 ONE", "orders-1 " + strings.Repeat("X", 300_000), "orders-1 "} {
		if got := <-answers; got != want {
			t.Fatalf("the client answered %.40q, want %.40q", got, want)
		}
	}
	// A server that ends has its links end too, in order.
	w.server.Close()
	if got := <-answers; got != "over" {
		t.Fatalf("%.40q, want the end of the link", got)
	}
	// Which side of the client's call hears of it first is left open.
	if err := <-e.ended; !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, context.Canceled) {
		t.Errorf("the client's end is over with %v", err)
	}
}

// A link that ends is opened anew while the conversation goes on; one to a control plane that knows none is not.
func TestLinkIsOpenedAnew(t *testing.T) {
	began := make(chan struct{})
	w := start(t, newFakeSource(), func(o *ServerOptions) {
		o.Observe = func(context.Context, ClientIdentity, *Link) error { began <- struct{}{}; return nil }
	})
	e := echo{newRecorder(), make(chan error, 4)}
	run(t, w.client(t, e))
	<-began
	<-began

	old := start(t, newFakeSource())
	c := old.client(t, e)
	tr, err := c.transport()
	if err != nil {
		t.Fatal(err)
	}
	defer tr.CloseIdleConnections()
	(&beside{&c.remote, e, tr, old.addr}).run(t.Context()) // returns
}

// TestLinkMayBeSilent: the time that a client has for a message is over with the message.
func TestLinkMayBeSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan string, 4)
		l := newPipeListener()
		w := serve(t, l, newFakeSource(), func(o *ServerOptions) {
			o.Observe = func(_ context.Context, _ ClientIdentity, link *Link) error {
				for _, q := range []string{"one", "two"} {
					if err := link.Send([]byte(q)); err != nil {
						answers <- err.Error()
						return err
					}
					answer, err := link.Receive()
					answers <- string(answer)
					if err != nil {
						return err
					}
					sleep(time.Minute)
				}
				return nil
			}
		})
		c := w.client(t, echo{newRecorder(), make(chan error, 4)}, func(o *ClientOptions) { o.Dial = l.Dial })
		stop := run(t, c)
		defer func() { stop(); w.stop() }()
		if one, two := <-answers, <-answers; one != "ONE" || two != "TWO" {
			t.Errorf("the client answered %q, and a minute later %q", one, two)
		}
	})
}
