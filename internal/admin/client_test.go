package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestClientReadsWhatHandlersServe: what is put in comes out at the other end, page by page.
func TestClientReadsWhatHandlersServe(t *testing.T) {
	at := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	dump := Dump{
		Pod: "orders-1", Namespace: "shop", Version: "1", Control: ControlDump{Connected: true, LastSync: at},
		Clusters: []ClusterDump{{Name: "outbound|80||users", Port: 80}}, Endpoints: []EndpointDump{{Address: "10.0.0.1:80", Weight: 1, MTLS: true}},
		Routes: []RouteDump{{Name: "80", Domains: []string{"users"}}}, Listeners: []ListenerDump{{Port: 15001}}, Secrets: []SecretDump{{Name: "default", NotAfter: at}},
	}
	proxies := []Proxy{{ID: "orders-1.shop", State: Refusing, ConnectedSince: at, AckedAt: &at, Names: map[string]int{"dst": 2}, Refused: []Refusal{{Resource: "dst/x", At: at}}}}
	problems := []Problem{{Severity: "error", Kind: "VirtualService", Object: "shop/users", Text: "all of it"}}
	sidecar := Sidecar{Metrics: page("a_total 1\n"), Dump: func() Dump { return dump }, Ready: func() string { return "" }}
	controller := Controller{
		Metrics: page("a_total 1\n"), Version: "1.2.3", Ready: func() string { return "" },
		Proxies: func() []Proxy { return proxies }, Problems: func() []Problem { return problems },
	}
	ask := func(h http.Handler) Client {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return Client{Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.Listener.Addr().String())
		}}
	}
	pod, replica := ask(sidecar.Admin()), ask(controller.Handler())
	if got, err := pod.Dump(t.Context()); err != nil {
		t.Error(err)
	} else if diff := cmp.Diff(&dump, got); diff != "" {
		t.Errorf("Dump (-want +got):\n%s", diff)
	}
	for _, c := range []Client{pod, replica} {
		if got, err := c.Metrics(t.Context()); err != nil || string(got) != "a_total 1\n" {
			t.Errorf("Metrics = %q, %v", got, err)
		}
	}
	envoy := http.NewServeMux()
	envoy.HandleFunc("GET /stats/prometheus", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "envoy_a 1\n") })
	if got, err := ask(envoy).Metrics(t.Context()); err != nil || string(got) != "envoy_a 1\n" {
		t.Errorf("Metrics of an Envoy = %q, %v", got, err)
	}
	if got, err := replica.Proxies(t.Context()); err != nil || !cmp.Equal(proxies, got) {
		t.Errorf("Proxies = %+v, %v", got, err)
	}
	if got, err := replica.Problems(t.Context()); err != nil || !cmp.Equal(problems, got) {
		t.Errorf("Problems = %+v, %v", got, err)
	}
	if got, err := replica.Version(t.Context()); err != nil || got != "1.2.3" {
		t.Errorf("Version = %q, %v", got, err)
	}
	_, err := ask(sidecar.Public()).Dump(t.Context())
	if e, ok := errors.AsType[*PageError](err); !ok || e.Code != http.StatusNotFound {
		t.Errorf("the public port has a dump: %v", err)
	}
}

// complaining is a connection whose far end is missing, as the first Read finds out.
type complaining struct {
	net.Conn
	complaint error
}

func (c complaining) Read([]byte) (int, error)    { return 0, c.complaint }
func (c complaining) Write(b []byte) (int, error) { return len(b), nil }
func (c complaining) Close() error                { return nil }

// TestClientSaysWhatTheConnectionSays: net/http would say of it that the transport's connection is broken.
func TestClientSaysWhatTheConnectionSays(t *testing.T) {
	want := errors.New("nothing listens on port 15000")
	c := Client{Dial: func(context.Context) (net.Conn, error) { return complaining{complaint: want}, nil }}
	if _, err := c.Dump(t.Context()); !errors.Is(err, want) || err.Error() != want.Error() {
		t.Errorf("Dump = %v, want %v", err, want)
	}
}

func TestMergeTakesTheNewerConnection(t *testing.T) {
	at := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	got := Merge(
		[]Proxy{{ID: "b", ConnectedSince: at.Add(time.Second), Version: "new"}, {ID: "c"}},
		[]Proxy{{ID: "a"}, {ID: "b", ConnectedSince: at, Version: "old"}},
	)
	want := []Proxy{{ID: "a"}, {ID: "b", ConnectedSince: at.Add(time.Second), Version: "new"}, {ID: "c"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Merge (-want +got):\n%s", diff)
	}
}
