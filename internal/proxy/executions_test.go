package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/plan"
)

// dialect is the server's side of a connection in one version of HTTP, as far as an app needs it that dies.
type dialect interface {
	// head reads the head of the next request and gives its path.
	head() (path string, err error)
	// rest reads the body of that request.
	rest() error
	// answer sends 200 without a body, half the first bytes of a response head.
	answer()
	half()
	// disown says that the request was not acted on, where the version can.
	disown(goAway bool)
}

type http1Dialect struct {
	c   net.Conn
	r   *bufio.Reader
	req *http.Request
}

func (d *http1Dialect) head() (string, error) {
	var err error
	if d.req, err = http.ReadRequest(d.r); err != nil {
		return "", err
	}
	return d.req.URL.Path, nil
}

func (d *http1Dialect) rest() error {
	_, err := io.Copy(io.Discard, d.req.Body)
	return err
}

func (d *http1Dialect) answer()   { io.WriteString(d.c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
func (d *http1Dialect) half()     { io.WriteString(d.c, "HTTP/1.1 200 OK\r\nContent-Le") }
func (*http1Dialect) disown(bool) {}

type http2Dialect struct {
	c     net.Conn
	f     *http2.Framer
	id    uint32
	ended bool
}

func newHTTP2Dialect(c net.Conn) (dialect, error) {
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return nil, err
	}
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return &http2Dialect{c: c, f: f}, nil
}

// frame reads the next frame that is about a request.
func (d *http2Dialect) frame() (http2.Frame, error) {
	for {
		frame, err := d.f.ReadFrame()
		if err != nil {
			return nil, err
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				d.f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			d.f.WritePing(true, f.Data)
		case *http2.MetaHeadersFrame, *http2.DataFrame:
			return frame, nil
		}
	}
}

func (d *http2Dialect) head() (string, error) {
	for {
		frame, err := d.frame()
		if err != nil {
			return "", err
		}
		if f, ok := frame.(*http2.MetaHeadersFrame); ok {
			d.id, d.ended = f.StreamID, f.StreamEnded()
			return f.PseudoValue("path"), nil
		}
	}
}

func (d *http2Dialect) rest() error {
	for !d.ended {
		frame, err := d.frame()
		if err != nil {
			return err
		}
		if f, ok := frame.(*http2.DataFrame); ok {
			d.ended = f.StreamEnded()
		}
	}
	return nil
}

func (d *http2Dialect) answer() {
	var block bytes.Buffer
	hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	d.f.WriteHeaders(http2.HeadersFrameParam{StreamID: d.id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
}

func (d *http2Dialect) half() { d.c.Write([]byte{0, 0, 9, 1}) }

func (d *http2Dialect) disown(goAway bool) {
	if goAway {
		d.f.WriteGoAway(0, http2.ErrCodeNo, nil)
		return
	}
	d.f.WriteRSTStream(d.id, http2.ErrCodeRefusedStream)
}

// death is where an app dies that is asked for /pay.
type death struct {
	name string
	// die gets a request whose head has been read.
	die func(d dialect, c *net.TCPConn)
	// onAccept dies before anything is read, afterWarm once a request for /warm was answered.
	onAccept, afterWarm bool
	// http2 says that only this version can express it.
	http2 bool
	// untouched says that the app has certainly not acted on the request: every method may be tried again.
	untouched bool
	// livesOn says that the connection takes further requests.
	livesOn bool
}

var deaths = []death{
	{name: "closed_before_reading", onAccept: true},
	{name: "closed_after_the_head", die: func(dialect, *net.TCPConn) {}},
	{name: "closed_after_the_request", die: func(d dialect, _ *net.TCPConn) { d.rest() }},
	{name: "reset_after_the_request", die: func(d dialect, c *net.TCPConn) { d.rest(); c.SetLinger(0) }},
	{name: "half_a_response_head", die: func(d dialect, _ *net.TCPConn) { d.rest(); d.half() }},
	{name: "refused_stream", http2: true, untouched: true, livesOn: true, die: func(d dialect, _ *net.TCPConn) { d.rest(); d.disown(false) }},
	{name: "going_away", http2: true, untouched: true, die: func(d dialect, _ *net.TCPConn) { d.rest(); d.disown(true) }},
	// The last one: the connection may end under the next request.
	{name: "closed_while_idle", afterWarm: true, die: func(d dialect, _ *net.TCPConn) { d.rest(); d.answer() }},
}

// mortal is an app that dies as its death says, and counts the requests for /pay that it has got.
type mortal struct {
	http2 bool
	death atomic.Pointer[death]
	got   atomic.Int32
}

func (a *mortal) serve(c *net.TCPConn) {
	if a.death.Load().onAccept {
		return
	}
	var d dialect = &http1Dialect{c: c, r: bufio.NewReader(c)}
	if a.http2 {
		var err error
		if d, err = newHTTP2Dialect(c); err != nil {
			return
		}
		io.WriteString(c, "\x00\x00\x00\x04\x00\x00\x00\x00\x00") // SETTINGS, all as they are
	}
	for {
		path, err := d.head()
		if err != nil {
			return
		}
		death := a.death.Load()
		if path == "/pay" {
			if death.onAccept { // accepted while another death was in force: this one comes late, and acts on nothing
				return
			}
			a.got.Add(1)
			death.die(d, c)
			if death.livesOn {
				continue
			}
			return
		}
		d.rest()
		d.answer()
		if death.afterWarm {
			return
		}
	}
}

// policies are what a user may write about retries, with how often a request that was written is sent in all: by
// whether it may be repeated for its own sake.
var policies = []struct {
	name, retries              string
	post, get, keyed, disowned int32
}{
	{name: "no_policy", post: 1, get: 3, disowned: 3},
	{name: "attempts_0", retries: "retries: {attempts: 0}", post: 1, get: 1, keyed: 1, disowned: 1},
	{name: "attempts_3", retries: "retries: {attempts: 3, backoff: 1ms}", post: 1, get: 4, keyed: 4, disowned: 4},
	{name: "before_request", retries: "retries: {attempts: 2, retryOn: reset-before-request, backoff: 1ms}", post: 1, get: 3, keyed: 3, disowned: 3},
	{name: "reset", retries: "retries: {attempts: 2, retryOn: reset, backoff: 1ms}", post: 3, get: 3, keyed: 3, disowned: 3},
	{name: "5xx", retries: "retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}", post: 2, get: 2, keyed: 2, disowned: 2},
	{name: "gateway_error", retries: "retries: {attempts: 1, retryOn: gateway-error, backoff: 1ms}", post: 2, get: 2, keyed: 2, disowned: 2},
	// Conditions on answers, which there is none of.
	{
		name:    "answers",
		retries: "retries: {attempts: 1, retryOn: '503,retriable-4xx,retriable-headers,retriable-status-codes,envoy-ratelimited,unavailable,cancelled,internal,deadline-exceeded,resource-exhausted,http3-post-connect-failure', backoff: 1ms}",
		post:    1, get: 2, keyed: 2, disowned: 2,
	},
}

const usersDestination = "dst/myapp/users-service.myapp.svc.cluster.local:8080"

// payManifests describe a service whose one pod is at addr.
func payManifests(addr netip.AddrPort, meshed bool, port, retries string) string {
	containers := "[{name: app, image: app}]"
	if meshed {
		containers = "[{name: app, image: app}, {name: fairlead-proxy, image: fairlead-proxy}]"
	}
	out := fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: users-service, namespace: myapp}
spec: {clusterIP: %s, selector: {app: users}, ports: [{name: %s, port: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: users-1, namespace: myapp, labels: {kubernetes.io/service-name: users-service}}
addressType: IPv4
ports: [{name: %s, port: %d}]
endpoints: [{addresses: [%s], conditions: {ready: true}, targetRef: {kind: Pod, name: users, namespace: myapp}}]
---
apiVersion: v1
kind: Pod
metadata: {name: users, namespace: myapp, labels: {app: users}}
spec: {serviceAccountName: users, containers: %s}
status: {podIP: %s, podIPs: [{ip: %s}], phase: Running}
`, vip, port, port, addr.Port(), addr.Addr(), containers, addr.Addr(), addr.Addr())
	if retries != "" {
		out += fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: users, namespace: myapp}
spec:
  hosts: [users-service]
  http: [{%s, route: [{destination: {host: users-service}}]}]
`, retries)
	}
	return out
}

// A request is carried out at most once unless its method, its sender or the user's policy says that it may be
// repeated: whatever the app does, whichever sidecars there are, and also on connections that were used before.
func TestExecutions(t *testing.T) {
	for _, version := range []string{"http", "http2"} {
		for _, path := range []struct{ caller, callee bool }{{true, true}, {true, false}, {false, true}} {
			for i := range policies {
				p := policies[i]
				if !path.caller {
					if p.name != "no_policy" {
						continue // no proxy obeys it
					}
					p.post, p.get, p.keyed, p.disowned = 1, 1, 1, 2
				}
				t.Run(fmt.Sprintf("%s/meshed_caller=%t/meshed_callee=%t/%s", version, path.caller, path.callee, p.name), func(t *testing.T) {
					t.Parallel() // tries of one endpoint are apart
					for _, kind := range []struct {
						name, method, key string
						want              int32
					}{{"post", "POST", "", p.post}, {"put", "PUT", "", p.post}, {"delete", "DELETE", "", p.post}, {"get", "GET", "", p.get}, {"keyed_post", "POST", "1", p.keyed}} {
						if kind.want == 0 {
							continue // takes long without a shorter pause, and is the same as get
						}
						t.Run(kind.name, func(t *testing.T) {
							app, c := mortalService(t, version, path.caller, path.callee, p.retries) // each with a budget of its own
							app.ask(t, c, kind.method, kind.key, kind.want, p.disowned)
						})
					}
				})
			}
		}
	}
}

// mortalService is a service whose one app is mortal, and a client of it.
func mortalService(t *testing.T, version string, meshedCaller, meshedCallee bool, retries string) (*mortal, *http.Client) {
	t.Helper()
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	app := &mortal{http2: version == "http2"}
	app.death.Store(&deaths[0])
	at := netip.AddrPortFrom(users.ip, 8080)
	m.rawServer(at, app.serve)
	rs := compiletest.Resources(t, payManifests(at, meshedCallee, version, retries), usersDestination, "in/myapp/users")
	users.apply(rs[len(rs)-1])
	if got := rs[0].(*plan.EndpointShard).Endpoints[0].Meshed; got != meshedCallee {
		t.Fatalf("meshed = %t: the manifest does not say what is tested", got)
	}
	orders.apply(rs[:len(rs)-1]...)
	entrance := m.plainly(users, at)
	if meshedCaller {
		entrance = m.entrance(orders, usersAddr())
	}
	if app.http2 {
		return app, m.h2cClient(entrance)
	}
	return app, m.dialled(entrance)
}

// ask has the app die in every way, on a fresh connection and on one that was used before.
func (a *mortal) ask(t *testing.T, c *http.Client, method, key string, want, disowned int32) {
	t.Helper()
	for i := range deaths {
		d := &deaths[i]
		if d.http2 && !a.http2 {
			continue
		}
		for _, warm := range []bool{false, true} {
			a.death.Store(d)
			a.got.Store(0)
			if warm && !d.onAccept {
				send(t, c, "GET", "/warm", "")
			}
			status := send(t, c, method, "/pay", key)
			got := a.got.Load()
			switch limit := want; {
			case d.onAccept && got != 0:
				t.Errorf("%s warm=%t: got %d times by an app that reads nothing", d.name, warm, got)
			case d.onAccept:
			case d.afterWarm:
				if status == 200 && got != 1 || got > 1 {
					t.Errorf("%s warm=%t: %d, and the app got it %d times", d.name, warm, status, got)
				}
			default:
				if d.untouched {
					limit = disowned
				}
				if got != limit || status != 503 {
					t.Errorf("%s warm=%t: %d, and the app got it %d times, want 503 and %d", d.name, warm, status, got, limit)
				}
			}
		}
	}
}

func send(t *testing.T, c *http.Client, method, path, key string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, usersURL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if method == "POST" || method == "PUT" {
		body := "amount=5"
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// An app that speaks HTTP/1.1 only is written to once by an HTTP/2 caller: that it does not answer in HTTP/2 is no sign
// that it did nothing.
func TestExecutionsOfHTTP2ToAnHTTP1App(t *testing.T) {
	for _, meshed := range []bool{true, false} {
		t.Run(fmt.Sprintf("meshed_callee=%t", meshed), func(t *testing.T) {
			m := newMesh(t)
			orders, users := m.sidecar("orders"), m.sidecar("users")
			m.meshed(users)
			at := netip.AddrPortFrom(users.ip, 8080)
			var mu sync.Mutex
			written := 0
			m.rawServer(at, func(c *net.TCPConn) {
				io.CopyN(io.Discard, c, int64(len(http2.ClientPreface)))
				f := http2.NewFramer(io.Discard, c)
				for {
					frame, err := f.ReadFrame()
					if err != nil {
						return
					}
					if frame.Header().Type == http2.FrameHeaders {
						break
					}
				}
				mu.Lock()
				written++
				mu.Unlock()
				io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			})
			orders.apply(compiletest.Resources(t, payManifests(at, meshed, "http2", ""), usersDestination)...)
			status := send(t, m.h2cClient(m.entrance(orders, usersAddr())), "POST", "/pay", "")
			mu.Lock()
			defer mu.Unlock()
			if written != 1 || status < 500 {
				t.Errorf("= %d, written %d times, want an error after one", status, written)
			}
		})
	}
}
