package kube

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/rest"
)

func TestSourceResumesAfterADisconnection(t *testing.T) {
	f := newFake(t)
	f.put(t, services, service("a"))
	f.put(t, services, service("b"))
	_, v, _ := run(t, f.config())
	v.until(t, "both", func() bool { return len(v.objects) == 2 })
	f.answer(services, http.StatusServiceUnavailable)
	f.disconnect()
	f.remove(services, "myapp/a")
	f.answer(services, 0)
	v.until(t, "b alone", func() bool { return v.refs() == "Service myapp/b" })
	if n := f.seen("LIST " + services); n != 1 {
		t.Errorf("%d lists of services, want 1: a watch can be resumed", n)
	}
}

func TestSourceListsAnewWhenTheVersionIsTooOld(t *testing.T) {
	f := newFake(t)
	f.put(t, services, service("a"))
	f.put(t, services, service("b"))
	f.page = 1
	_, v, _ := run(t, f.config())
	v.until(t, "both", func() bool { return len(v.objects) == 2 })
	f.answer(services, http.StatusServiceUnavailable)
	f.disconnect()
	f.remove(services, "myapp/a")
	f.put(t, services, service("c"))
	f.compact()
	f.mu.Lock()
	f.expire = true // and the second page of the first attempt is too old as well
	f.mu.Unlock()
	f.answer(services, 0)
	v.until(t, "b and c", func() bool { return v.refs() == "Service myapp/b, Service myapp/c" })
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.changes[1:] {
		for _, o := range c.Upserts {
			if o.Ref.Name == "b" {
				t.Errorf("%s came again, and had not changed", o.Ref)
			}
		}
	}
}

func TestSourceKeepsTheStateWhileTheServerIsAway(t *testing.T) {
	f := newFake(t)
	listener, err := net.Listen("tcp", "127.158.0.3:0") // an address of its own: its port is free whenever it is wanted, whatever else runs
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	s, v, log := run(t, &rest.Config{Host: "http://" + address}) // nobody there yet
	log.until(t, "the API server is away")
	if got := s.Problems(); len(got) != 1 || got[0].Ref.Kind != "APIServer" {
		t.Errorf("Problems = %v, want the API server", got)
	}
	f.put(t, services, service("a"))
	serve := func() *httptest.Server {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
		server.Listener.Close()
		server.Listener = l
		server.Start()
		return server
	}
	server := serve()
	v.until(t, "a", func() bool { return v.refs() == "Service myapp/a" })
	log.until(t, "the API server is back")

	server.Listener.Close()
	server.CloseClientConnections()
	f.disconnect()
	server.Close()
	f.put(t, services, service("b"))
	f.remove(services, "myapp/a")
	server = serve()
	t.Cleanup(func() {
		f.disconnect()
		server.Close()
	})
	v.until(t, "b alone", func() bool { return v.refs() == "Service myapp/b" })
	if got := s.configProblems(); len(got) != 0 {
		t.Errorf("problems = %v, want none", got)
	}
}

func TestSourceTakesBookmarks(t *testing.T) {
	f := newFake(t)
	f.put(t, services, service("a"))
	_, v, _ := run(t, f.config())
	v.until(t, "a", func() bool { return len(v.objects) == 1 })
	f.compact()
	f.bookmark(services) // from here on the watch can be resumed, though it saw nothing else
	f.put(t, services, service("b"))
	v.until(t, "b", func() bool { return len(v.objects) == 2 })
	f.disconnect()
	f.put(t, services, service("c"))
	v.until(t, "c", func() bool { return len(v.objects) == 3 })
	if n := f.seen("LIST " + services); n != 1 {
		t.Errorf("%d lists of services, want 1", n)
	}
}

func TestSourceDoesNotTakeAnotherAnswerForAnEmptyList(t *testing.T) {
	f := newFake(t)
	f.put(t, services, service("a"))
	_, v, log := run(t, f.config())
	v.until(t, "a", func() bool { return len(v.objects) == 1 })
	f.answer(services, http.StatusOK) // of a proxy, say: a success that says nothing
	f.disconnect()
	f.compact()
	log.until(t, "the API server is away")
	f.answer(services, 0)
	f.put(t, services, service("b"))
	v.until(t, "b", func() bool { return v.refs() == "Service myapp/a, Service myapp/b" })
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.changes {
		if len(c.Deletes) > 0 {
			t.Errorf("deleted: %v", c.Deletes)
		}
	}
}
