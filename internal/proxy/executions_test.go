package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/plan"
)

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
	// begun says that the answer has begun: it is the client's, broken, and there is no other.
	begun bool
}

var deaths = []death{
	{name: "closed_before_reading", onAccept: true},
	{name: "closed_after_the_head", die: func(dialect, *net.TCPConn) {}},
	{name: "closed_after_the_request", die: func(d dialect, _ *net.TCPConn) { d.rest() }},
	{name: "reset_after_the_request", die: func(d dialect, c *net.TCPConn) { d.rest(); c.SetLinger(0) }},
	{name: "half_a_response_head", die: func(d dialect, _ *net.TCPConn) { d.rest(); d.say(halfAHead) }},
	{name: "closed_in_the_body", die: func(d dialect, _ *net.TCPConn) { d.some() }},
	{name: "closed_after_an_interim_head", die: func(d dialect, _ *net.TCPConn) { d.rest(); d.say(interimHead) }},
	{name: "closed_in_the_answer", begun: true, die: func(d dialect, _ *net.TCPConn) { d.rest(); d.say(halfABody) }},
	{name: "stream_reset", http2: true, livesOn: true, die: func(d dialect, _ *net.TCPConn) { d.rest(); reset(d, http2.ErrCodeInternal) }},
	{name: "going_away_with_it", http2: true, die: func(d dialect, _ *net.TCPConn) { d.rest(); goAway(d, d.(*http2Dialect).id) }},
	{name: "refused_stream", http2: true, untouched: true, livesOn: true, die: func(d dialect, _ *net.TCPConn) { d.rest(); reset(d, http2.ErrCodeRefusedStream) }},
	{name: "going_away", http2: true, untouched: true, die: func(d dialect, _ *net.TCPConn) { d.rest(); goAway(d, 0) }},
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
		for _, path := range []struct{ caller, callee bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
			for i := range policies {
				p := policies[i]
				switch {
				case path.caller:
				case path.callee: // no proxy obeys it
					p.post, p.get, p.keyed, p.disowned = 1, 1, 1, 2
				case p.name != "no_policy":
					continue // no proxy knows it
				default:
					p.post, p.get, p.keyed = 1, 1, 1
				}
				t.Run(fmt.Sprintf("%s/meshed_caller=%t/meshed_callee=%t/%s", version, path.caller, path.callee, p.name), func(t *testing.T) {
					t.Parallel() // tries of one endpoint are apart
					for _, k := range []asking{
						{name: "post", method: "POST", want: p.post},
						{name: "streamed_post", method: "POST", want: p.post, streamed: true},
						{name: "put", method: "PUT", want: p.post},
						{name: "patch", method: "PATCH", want: p.post},
						{name: "delete", method: "DELETE", want: p.post},
						{name: "get", method: "GET", want: p.get},
						{name: "keyed_post", method: "POST", want: p.keyed, key: "1"},
					} {
						if k.want == 0 {
							continue // takes long without a shorter pause, and is the same as get
						}
						if !path.caller && p.name != "no_policy" && k.name != "post" && k.name != "get" {
							continue // that no proxy obeys it does not depend on more
						}
						t.Run(k.name, func(t *testing.T) {
							app, c, _ := mortalService(t, version, path.caller, path.callee, p.retries) // each with a budget of its own
							app.ask(t, c, k, p.disowned, !path.caller && !path.callee)
						})
					}
				})
			}
		}
	}
}

// mortalService is a service whose one app is mortal, a client of it, and the called sidecar.
func mortalService(t *testing.T, version string, meshedCaller, meshedCallee bool, retries string) (*mortal, *http.Client, *sidecar) {
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
	switch {
	case meshedCaller:
		entrance = m.entrance(orders, usersAddr())
	case !meshedCallee:
		entrance = at.String()
	}
	if app.http2 {
		return app, m.h2cClient(entrance), users
	}
	return app, m.dialled(entrance), users
}

// ask has the app die in every way, on a fresh connection and on one that was used before. alone is set where there is no
// mesh: then the client sees how the app died, and not 503.
func (a *mortal) ask(t *testing.T, c *http.Client, k asking, disowned int32, alone bool) {
	t.Helper()
	for i := range deaths {
		d := &deaths[i]
		if d.http2 && !a.http2 || d.untouched && alone {
			continue
		}
		for _, warm := range []bool{false, true} {
			a.death.Store(d)
			a.got.Store(0)
			if warm && !d.onAccept {
				// Where the app closes what is idle, this one may meet the end as well.
				if status, err := send(t, c, asking{method: "GET"}, "/warm"); (status != 200 || err != nil) && !d.afterWarm {
					t.Fatalf("%s: nothing to be warm: %d, %v", d.name, status, err)
				}
			}
			status, err := send(t, c, k, "/pay")
			got := a.got.Load()
			limit, answered := k.want, status == 503 && err == nil
			switch {
			case d.untouched:
				limit = disowned
			case d.begun:
				limit, answered = 1, err != nil
			}
			switch {
			case d.onAccept && got != 0:
				t.Errorf("%s warm=%t: got %d times by an app that reads nothing", d.name, warm, got)
			case d.onAccept:
				c.CloseIdleConnections() // one that was closed then is nothing to ask on for the next death
			case d.afterWarm:
				if status == 200 && got != 1 || got > 1 {
					t.Errorf("%s warm=%t: %d, and the app got it %d times", d.name, warm, status, got)
				}
			case alone:
				if got != limit || err == nil {
					t.Errorf("%s warm=%t: %d, %v, and the app got it %d times, want an error after %d", d.name, warm, status, err, got, limit)
				}
			default:
				if got != limit || !answered {
					t.Errorf("%s warm=%t: %d, %v, and the app got it %d times, want it to fail after %d", d.name, warm, status, err, got, limit)
				}
			}
		}
	}
}

// asking is a request that an app may die of, and how often it may get it.
type asking struct {
	name, method, key string
	want              int32
	streamed          bool // its body has no length
}

// send asks once, and gives the status of the answer, and what kept it from being whole.
func send(t *testing.T, c *http.Client, k asking, path string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), k.method, usersURL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(k.method, "P") {
		body := "amount=5"
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		if k.streamed {
			req.ContentLength = -1
		}
	}
	if k.key != "" {
		req.Header.Set("Idempotency-Key", k.key)
	}
	if req.Body == http.NoBody && c.Transport.(*http.Transport).Protocols == nil {
		req.Body = io.NopCloser(strings.NewReader("")) // as empty, but Go's client does not repeat it of its own accord
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// The mesh can have called sidecars send nothing once more: then what the app disowns is its caller's to repeat.
func TestInboundRetriesCanBeSwitchedOff(t *testing.T) {
	app, c, users := mortalService(t, "http2", false, true, "")
	app.death.Store(&deaths[slices.IndexFunc(deaths, func(d death) bool { return d.name == "refused_stream" })])
	for i, want := range []int32{2, 1, 2} {
		users.apply(&plan.MeshGlobal{NoInboundRetries: want == 1})
		app.got.Store(0)
		if status, err := send(t, c, asking{method: "POST"}, "/pay"); status != http.StatusServiceUnavailable || err != nil || app.got.Load() != want {
			t.Errorf("%d: %d, %v after %d tries, want 503 after %d", i, status, err, app.got.Load(), want)
		}
	}
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
			status, err := send(t, m.h2cClient(m.entrance(orders, usersAddr())), asking{method: "POST"}, "/pay")
			mu.Lock()
			defer mu.Unlock()
			if written != 1 || status < 500 || err != nil {
				t.Errorf("= %d, %v, written %d times, want an error after one", status, err, written)
			}
		})
	}
}
