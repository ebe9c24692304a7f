package appprobe_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/appprobe"
)

const path = "/app-health/app/readyz"

// patient is the time of a probe that is to succeed, or to fail by itself: a busy machine may take longer than the second that Kubernetes gives.
const patient = 20 * time.Second

var loopback = netip.MustParseAddr("127.0.0.1")

func dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr.String())
}

func handler(tb testing.TB, log *bytes.Buffer, p appprobe.Probe) *appprobe.Handler {
	tb.Helper()
	h, err := appprobe.New(appprobe.Options{
		Probes: map[string]appprobe.Probe{path: p}, PodIP: loopback, Dial: dial,
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// ask is the kubelet.
func ask(h http.Handler, path string) (status int, body string) {
	r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
	r.Header.Set("User-Agent", "kube-probe/1.36")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func portOf(tb testing.TB, s *httptest.Server) uint16 {
	tb.Helper()
	return netip.MustParseAddrPort(s.Listener.Addr().String()).Port()
}

// app is an HTTP app with a page per case.
func app() http.Handler {
	mux := http.NewServeMux()
	for _, code := range []int{200, 204, 302, 399, 400, 404, 503} {
		mux.HandleFunc(fmt.Sprintf("/%d", code), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/200", http.StatusFound) })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/503", http.StatusFound) })
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	mux.HandleFunc("/elsewhere", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://login.invalid/", http.StatusFound)
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 1<<20)) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/seen", func(w http.ResponseWriter, r *http.Request) {
		want := http.Header{"X-Token": {"a", "b"}, "User-Agent": {"kube-probe/1.36"}, "Accept": {"*/*"}, "Connection": {"close"}}
		if diff := cmp.Diff(want, r.Header); diff != "" || r.Host != "app.example" || r.URL.RawQuery != "full=1" {
			http.Error(w, r.Host+" "+r.URL.String()+diff, http.StatusBadRequest)
		}
	})
	mux.HandleFunc("/own", func(w http.ResponseWriter, r *http.Request) {
		if r.UserAgent() != "mine" || r.Header["Accept"] != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	return mux
}

func TestHTTP(t *testing.T) {
	plain, secure := httptest.NewServer(app()), httptest.NewTLSServer(app())
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	tests := []struct {
		name, path, body string
		scheme           string
		headers          []appprobe.Header
		status           int
	}{
		{name: "success", path: "/200", status: 200},
		{name: "without a slash", path: "200", status: 200},
		{name: "success without a body", path: "/204", status: 200},
		{name: "a redirect to nowhere is success", path: "/302", status: 200},
		{name: "the last status that is success", path: "/399", status: 200},
		{name: "the first that is not", path: "/400", status: 400, body: "HTTP status 400 Bad Request"},
		{name: "missing", path: "/404", status: 404, body: "HTTP status 404 Not Found"},
		{name: "unavailable", path: "/503", status: 503, body: "HTTP status 503 Service Unavailable"},
		{name: "a redirect on the same host is followed", path: "/here", status: 200},
		{name: "and decides", path: "/broken", status: 503, body: "HTTP status 503 Service Unavailable"},
		{name: "redirects in a circle", path: "/round", status: 503, body: "more than 10 redirects"},
		{name: "a redirect to another host is success", path: "/elsewhere", status: 200},
		{name: "a large body", path: "/large", status: 200},
		{name: "too slow", path: "/slow", status: 503, body: "no answer within 50ms"},
		{name: "certificates are not verified", path: "/200", scheme: "HTTPS", status: 200},
		{name: "plain HTTP to a TLS port", path: "/200", scheme: "tls", status: 400, body: "HTTP status 400 Bad Request"},
		{
			name: "headers, host and query", path: "/seen?full=1", status: 200,
			headers: []appprobe.Header{{Name: "X-Token", Value: "a"}, {Name: "x-token", Value: "b"}, {Name: "Host", Value: "app.example"}},
		},
		{
			name: "headers of its own", path: "/own", status: 200,
			headers: []appprobe.Header{{Name: "User-Agent", Value: "mine"}, {Name: "accept", Value: ""}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &appprobe.HTTPGet{Port: portOf(t, plain), Path: tt.path, Headers: tt.headers}
			timeout := patient
			switch {
			case tt.scheme == "tls": // of the server, not of the probe
				p.Port = portOf(t, secure)
			case tt.scheme != "":
				p.Port, p.Scheme = portOf(t, secure), tt.scheme
			case tt.path == "/slow":
				timeout = 50 * time.Millisecond
			}
			h := handler(t, new(bytes.Buffer), appprobe.Probe{HTTP: p, Timeout: timeout})
			want := tt.body
			if want == "" {
				want = "OK"
			}
			if status, body := ask(h, path); status != tt.status || body != want {
				t.Errorf("= %d %q, want %d %q", status, body, tt.status, want)
			}
		})
	}
}

func TestHostByName(t *testing.T) {
	s := httptest.NewServer(app())
	t.Cleanup(s.Close)
	for _, host := range []string{"localhost", "127.0.0.1"} {
		h := handler(t, new(bytes.Buffer), appprobe.Probe{HTTP: &appprobe.HTTPGet{Host: host, Port: portOf(t, s), Path: "/200"}, Timeout: patient})
		if status, body := ask(h, path); status != 200 {
			t.Errorf("%s = %d %q", host, status, body)
		}
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := handler(t, new(bytes.Buffer), appprobe.Probe{TCP: &appprobe.TCPSocket{Port: netip.MustParseAddrPort(l.Addr().String()).Port()}, Timeout: patient})
	if status, body := ask(h, path); status != 200 {
		t.Errorf("= %d %q", status, body)
	}
	l.Close()
	if status, body := ask(h, path); status != 503 || !strings.Contains(body, "connection refused") {
		t.Errorf("with nobody there = %d %q", status, body)
	}
}

// healthServer answers Check with the bytes of a response, and a gRPC status.
func healthServer(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := new(bytes.Buffer)
		body.ReadFrom(r.Body)
		if r.URL.Path != "/grpc.health.v1.Health/Check" || r.Header.Get("Te") != "trailers" || r.UserAgent() != "kube-probe/1.36" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		service := ""
		if b := body.Bytes(); len(b) > 7 && int(binary.BigEndian.Uint32(b[1:])) == len(b)-5 {
			service = string(b[7:])
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		reply := map[string][]byte{"": {8, 1}, "sick": {8, 2}, "newer": {18, 1, 'x', 8, 1}, "unset": {}, "broken": {8}, "odd": {8, 9}}[service]
		switch service {
		case "unknown":
			w.Header().Set("Grpc-Status", "5")
			return
		case "unimplemented":
			w.Header().Set("Grpc-Status", "12")
			return
		case "web":
			w.Header().Del("Trailer")
			return
		case "hang":
			<-r.Context().Done()
			return
		}
		w.Write(append([]byte{0, 0, 0, 0, byte(len(reply))}, reply...))
		w.Header().Set("Grpc-Status", "0")
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func TestGRPC(t *testing.T) {
	s := healthServer(t)
	tests := []struct {
		name, service string
		status        int
		body          string
	}{
		{"serving", "", 200, "OK"},
		{"a field that we do not know", "newer", 200, "OK"},
		{"not serving", "sick", 503, "health status NOT_SERVING"},
		{"nothing said", "unset", 503, "health status UNKNOWN"},
		{"a status that we do not know", "odd", 503, "health status 9"},
		{"half an answer", "broken", 503, "unexpected EOF"},
		{"unknown service", "unknown", 503, "the app does not know the service (gRPC status 5)"},
		{"no health service", "unimplemented", 503, "the app does not implement grpc.health.v1.Health"},
		{"no gRPC", "web", 503, "the answer is not gRPC: it has no grpc-status"},
		{"too slow", "hang", 503, "no answer within 1s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := appprobe.Probe{GRPC: &appprobe.GRPC{Port: portOf(t, s), Service: tt.service}, Timeout: patient}
			if tt.service == "hang" {
				p.Timeout = 0
			}
			h := handler(t, new(bytes.Buffer), p)
			if status, body := ask(h, path); status != tt.status || body != tt.body {
				t.Errorf("= %d %q, want %d %q", status, body, tt.status, tt.body)
			}
		})
	}
	t.Run("an app that speaks HTTP/1.1", func(t *testing.T) {
		plain := httptest.NewServer(app())
		t.Cleanup(plain.Close)
		h := handler(t, new(bytes.Buffer), appprobe.Probe{GRPC: &appprobe.GRPC{Port: portOf(t, plain)}, Timeout: patient})
		if status, body := ask(h, path); status != 503 {
			t.Errorf("= %d %q", status, body)
		}
	})
}

func TestUnknownPathAndMethod(t *testing.T) {
	h := handler(t, new(bytes.Buffer), appprobe.Probe{TCP: &appprobe.TCPSocket{Port: 1}})
	if status, _ := ask(h, "/app-health/app/livez"); status != 404 {
		t.Errorf("unknown path: %d", status)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, http.NoBody))
	if w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
}

// The kubelet does not look at the status of a hook: one that does not reach the app must not look answered.
// TestACrowdSharesOneProbe is 200 clients that ask at once, of whom the kubelet is one.
func TestACrowdSharesOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes, answer := 0, make(chan struct{})
		h, err := appprobe.New(appprobe.Options{
			Probes: map[string]appprobe.Probe{path: {TCP: &appprobe.TCPSocket{Port: 80}, Timeout: time.Minute}}, PodIP: loopback,
			Dial: func(context.Context, netip.AddrPort) (net.Conn, error) {
				probes++
				<-answer
				conn, _ := net.Pipe()
				return conn, nil
			},
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		gone, leave := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() { // asks first, and does not wait for the outcome
			defer close(left)
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(gone, http.MethodGet, path, http.NoBody))
		}()
		synctest.Wait()
		leave()
		<-left
		const crowd = 200
		statuses := make(chan int, crowd)
		for range crowd {
			go func() {
				status, _ := ask(h, path)
				statuses <- status
			}()
		}
		synctest.Wait()
		close(answer)
		for range crowd {
			if status := <-statuses; status != http.StatusOK {
				t.Fatalf("status %d, want 200 for everybody", status)
			}
		}
		if probes != 1 {
			t.Errorf("the app was probed %d times, want once", probes)
		}
	})
}

func TestHooks(t *testing.T) {
	busy := httptest.NewServer(app())
	t.Cleanup(busy.Close)
	probes := map[string]appprobe.Probe{
		"/app-health/app/poststartz": {HTTP: &appprobe.HTTPGet{Port: portOf(t, busy), Path: "/404"}, Timeout: patient},
		"/app-health/app/prestopz":   {HTTP: &appprobe.HTTPGet{Port: 1, Path: "/"}},
	}
	h, err := appprobe.New(appprobe.Options{Probes: probes, PodIP: loopback, Dial: dial, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	sidecar := httptest.NewServer(h)
	t.Cleanup(sidecar.Close)
	resp, err := sidecar.Client().Get(sidecar.URL + "/app-health/app/poststartz")
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("an app that answers: %v, %v", resp, err)
	}
	resp.Body.Close()
	if resp, err := sidecar.Client().Get(sidecar.URL + "/app-health/app/prestopz"); err == nil {
		resp.Body.Close()
		t.Errorf("an app that is not there: %v", resp)
	}
}

func TestChangesAreLoggedOnce(t *testing.T) {
	status := 503
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(s.Close)
	log := new(bytes.Buffer)
	h := handler(t, log, appprobe.Probe{HTTP: &appprobe.HTTPGet{Port: portOf(t, s), Path: "/"}})
	for _, status = range []int{200, 503, 503, 200, 200} {
		ask(h, path)
	}
	want := []string{"app probe fails", "app probe passes again"}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("log:\n%s", log)
	}
	for i, line := range lines {
		if !strings.Contains(line, want[i]) || !strings.Contains(line, "probe="+path) {
			t.Errorf("line %d = %q, want %q", i, line, want[i])
		}
	}
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name, path string
		probe      appprobe.Probe
		want       string
	}{
		{"nothing to do", path, appprobe.Probe{}, "app probe /app-health/app/readyz: it has 0 of httpGet, tcpSocket and grpc, want one"},
		{
			"two things", path,
			appprobe.Probe{TCP: &appprobe.TCPSocket{Port: 1}, GRPC: &appprobe.GRPC{Port: 1}},
			"app probe /app-health/app/readyz: it has 2 of httpGet, tcpSocket and grpc, want one",
		},
		{"no port", path, appprobe.Probe{GRPC: &appprobe.GRPC{}}, "app probe /app-health/app/readyz: its port is 0"},
		{
			"odd scheme", path,
			appprobe.Probe{HTTP: &appprobe.HTTPGet{Port: 1, Scheme: "ftp"}},
			`app probe /app-health/app/readyz: its scheme "ftp" is neither http nor https`,
		},
		{
			"odd path", "/healthz",
			appprobe.Probe{TCP: &appprobe.TCPSocket{Port: 1}},
			"app probe /healthz: the path does not begin with /app-health/",
		},
		{
			"backwards", path,
			appprobe.Probe{TCP: &appprobe.TCPSocket{Port: 1}, Timeout: -time.Second},
			"app probe /app-health/app/readyz: its timeout -1s is negative",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := appprobe.New(appprobe.Options{
				Probes: map[string]appprobe.Probe{tt.path: tt.probe}, PodIP: loopback, Dial: dial, Logger: slog.New(slog.DiscardHandler),
			})
			if err == nil || err.Error() != tt.want {
				t.Errorf("New() = %v, want %s", err, tt.want)
			}
		})
	}
}
