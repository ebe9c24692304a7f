package lab_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab/demoapp"
)

// pythonApp is a pod of one program, with a sidecar or without, behind a Service of its name at port 80.
func pythonApp(name, ip, program string, args ...string) string {
	quote := strings.NewReplacer("\n", `\n`, `"`, `\"`, `\`, `\\`)
	command := []string{`"python3"`, `"-u"`, `"-c"`, `"` + quote.Replace(program) + `"`}
	for _, a := range args {
		command = append(command, `"`+a+`"`)
	}
	inject := ""
	if strings.HasSuffix(name, "-bare") {
		inject = `annotations: {fairlead.dev/inject: "false"}, `
	}
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `, namespace: shop, ` + inject + `labels: {app: ` + name + `}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: python
    command: [` + strings.Join(command, ", ") + `]
    ports: [{name: web, containerPort: 8080}]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---` + service(name, ip, "app: "+name, http80)
}

// retried is a VirtualService whose requests are retried up to twice, whatever they are.
func retried(name string) string {
	return virtualService(name, `
  http:
  - retries: {attempts: 2, retryOn: 5xx}
    route: [{destination: {host: `+name+`}}]`)
}

// total adds up the values of all series of a metric whose labels match.
func (m *mesh) total(t *testing.T, name, series string) (sum float64) {
	t.Helper()
	page := m.do(t, name, http.MethodGet, "127.0.0.1:15000", "/stats/prometheus").body
	for _, found := range regexp.MustCompile(`(?m)^`+series+` (\S+)$`).FindAllStringSubmatch(page, -1) {
		v, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return sum
}

// hop asks the next app, and answers what that does. It passes on what tells calls apart.
const hop = `
import http.server, sys, urllib.error, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        ask = urllib.request.Request(sys.argv[1], headers={"x-request-id": self.headers["x-request-id"]})
        try:
            with urllib.request.urlopen(ask) as answer: status = answer.status
        except urllib.error.HTTPError as e:
            status = e.code
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
`

// TestChainIsNoStorm: of three hops that retry what fails, one does, and its budget bounds it. Without either a leaf that fails
// would get 27 requests for one.
func TestChainIsNoStorm(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "leaf", replicas: 1}.String()+service("leaf", "", "app: leaf", http80)+
		pythonApp("first", "", hop, "http://second/")+pythonApp("second", "", hop, "http://leaf/status/503")+
		retried("first")+retried("second")+retried("leaf"))
	const n = 600
	begun := time.Now()
	r := m.call(t, client, "http://first/", "--count", strconv.Itoa(n), "--concurrency", "4", "--timeout", "30s")
	if r.Statuses["503"] != n {
		t.Fatalf("%+v, want 503 each time", r)
	}
	// The floor of the budget, 100 retries, is for ten seconds.
	most := float64(n + max(n/5, 100*(1+int(time.Since(begun)/(9*time.Second)))))
	const arrived = `istio_requests_total\{reporter="destination",[^}]*\}`
	got := map[string]float64{}
	for _, name := range []string{"first", "second", "deploy/leaf-v1"} {
		eventually(t, name+" to have counted", func() bool {
			got[name] = m.total(t, name, arrived)
			return got[name] >= n
		})
	}
	if got["first"] != n || got["second"] != n || got["deploy/leaf-v1"] > most || got["deploy/leaf-v1"] == n {
		t.Errorf("%d requests came to the apps as %v, want %d at each but the leaf, and at most %.0f there", n, got, n, most)
	}
}

// moody fails, or hangs in the second try of a request, until it is let go.
const moody = `
import http.server, threading
lock, tried, hangs, release = threading.Lock(), {}, threading.Event(), threading.Event()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        with lock:
            tried[self.path] = n = tried.get(self.path, 0) + 1
        status = 503
        if self.path == "/hangs":
            hangs.wait(); status = 200
        elif self.path == "/release":
            release.set(); status = 200
        elif self.path == "/hang" and n > 1:
            hangs.set(); release.wait(); status = 200
        self.send_response(status)
        self.send_header("X-Tries", str(n))
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
`

// TestRetryBudget: while one retry is under way and the budget is one, nothing else is retried.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	ips := map[string]string{"moody": "10.96.0.150", "moody-bare": "10.96.0.151"}
	var manifests strings.Builder
	manifests.WriteString(app{name: "client", replicas: 1}.String())
	for name, ip := range ips {
		manifests.WriteString(pythonApp(name, ip, moody) + retried(name) + object("networking.istio.io/v1", "DestinationRule", name, `
  host: `+name+`
  trafficPolicy: {retryBudget: {percent: 0, minRetryConcurrency: 1}}`))
	}
	m := startMesh(t, manifests.String(), withMesh("mesh.accessLog=json"))
	for name, ip := range ips {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var hanging sync.WaitGroup
			defer hanging.Wait()
			defer cancel()
			c := m.client(t, client, ip+":80")
			hanging.Go(func() {
				if a, err := request(ctx, c, http.MethodGet, "http://"+ip+"/hang"); err != nil || a.StatusCode != http.StatusOK || a.Header.Get("X-Tries") != "2" {
					t.Errorf("the request that is retried: %+v, %v", a.Response, err)
				}
			})
			m.do(t, client, http.MethodGet, ip+":80", "/hangs")
			fails := "/fails-" + name
			if a := m.do(t, client, http.MethodGet, ip+":80", fails); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("X-Tries") != "1" {
				t.Errorf("beside a retry: status %d after %s tries, want 1", a.StatusCode, a.Header.Get("X-Tries"))
			}
			if e := m.accessEntry(t, client, fails); e["response_flags"] != "UO" {
				t.Errorf("access log: %v", e)
			}
			m.do(t, client, http.MethodGet, ip+":80", "/release")
			hanging.Wait()
			if a := m.do(t, client, http.MethodGet, ip+":80", fails); a.Header.Get("X-Tries") != "4" {
				t.Errorf("with the budget free: the last of tries %s, want 4", a.Header.Get("X-Tries"))
			}
		})
	}
}

// annotated is a Service with annotations.
func annotated(name, ip, selector, annotations string) string {
	return strings.Replace(service(name, ip, selector, http80), "namespace: shop}", "namespace: shop, annotations: {"+annotations+"}}", 1)
}

// TestLinkerdAnnotations: retries and timeouts as the annotations of Services and routes say.
func TestLinkerdAnnotations(t *testing.T) {
	t.Parallel()
	const thrice = `retry.linkerd.io/http: "503", retry.linkerd.io/limit: "2"`
	var manifests strings.Builder
	manifests.WriteString(app{name: "client", replicas: 1}.String())
	ips := map[string]int{"server": 160, "server-bare": 170}
	at := func(name string, i int) string { return "10.96.0." + strconv.Itoa(ips[name]+i) }
	for name := range ips {
		manifests.WriteString(app{name: name, replicas: 1, bare: name == "server-bare"}.String() +
			annotated(name+"-retried", at(name, 0), "app: "+name, thrice) +
			annotated(name+"-once", at(name, 1), "app: "+name, thrice) +
			annotated(name+"-bounded", at(name, 2), "app: "+name, "timeout.linkerd.io/request: 300ms") +
			annotated(name+"-idle", at(name, 3), "app: "+name, "timeout.linkerd.io/idle: 2s") +
			annotated(name+"-response", at(name, 4), "app: "+name, "timeout.linkerd.io/response: 300ms, retry.linkerd.io/http: 5xx") +
			annotated(name+"-patience", at(name, 5), "app: "+name, "retry.linkerd.io/timeout: 300ms") +
			annotated(name+"-grpc", at(name, 6), "app: "+name, "timeout.linkerd.io/idle: 1h") + `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + name + `-once, namespace: shop, annotations: {retry.linkerd.io/limit: "0"}}
spec:
  parentRefs: [{group: "", kind: Service, name: ` + name + `-once}]
  rules: [{backendRefs: [{name: ` + name + `-once, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: ` + name + `-grpc, namespace: shop, annotations: {timeout.linkerd.io/request: 300ms}}
spec:
  parentRefs: [{group: "", kind: Service, name: ` + name + `-grpc}]
  rules: [{backendRefs: [{name: ` + name + `-grpc, port: 80}]}]
---`)
	}
	m := startMesh(t, manifests.String())
	for name := range ips {
		t.Run(name, func(t *testing.T) {
			for _, tt := range []struct {
				service, method, path, status string
				retries                       float64
				why                           string
			}{
				{"retried", "GET", "/status/503", "503", 2, "status"},
				{"retried", "POST", "/status/503", "503", 2, "status"},
				{"once", "GET", "/status/503", "503", 0, "status"},
				{"response", "GET", "/?delay=1h", "504", 0, "per_try_timeout"},
				{"patience", "GET", "/?delay=1h", "504", 1, "per_try_timeout"},
				{"patience", "POST", "/?delay=1h", "504", 1, "per_try_timeout"},
			} {
				host := name + "-" + tt.service
				series := `fairlead_retries_total{cluster="outbound|80||` + host + `.shop.svc.cluster.local",result="retried"}`
				reason := strings.NewReplacer("retries_total", "retry_reasons_total", `result="retried"`, `reason="`+tt.why+`"`).Replace(series)
				for _, version := range []string{"--http2=false", "--http2"} {
					before, reasons := m.metric(t, client, series), m.metric(t, client, reason)
					r := m.call(t, client, "http://"+host+tt.path, "--method", tt.method, version)
					if got := m.metric(t, client, series) - before; r.Statuses[tt.status] != 1 || got != tt.retries {
						t.Errorf("%s %s %s: %+v after %v retries, want %s after %v", tt.method, host, version, r, got, tt.status, tt.retries)
					}
					if got := m.metric(t, client, reason) - reasons; got != tt.retries {
						t.Errorf("%s %s %s: %v retries for %s, want %v", tt.method, host, version, got, tt.why, tt.retries)
					}
				}
			}
			r := m.call(t, client, "http://"+name+"-grpc"+demoapp.StreamMethod+"?count=2&interval=1h", "--grpc")
			if said := fmt.Sprint(r.Errors); r.OK != 0 || !strings.Contains(said, "Grpc-Status 4") {
				t.Errorf("a call of gRPC that takes too long: %+v", r)
			}
			for i, words := range map[int]string{2: "upstream request timeout", 3: "stream timeout"} {
				if a := m.do(t, client, http.MethodGet, at(name, i)+":80", "/?delay=1h"); a.StatusCode != http.StatusGatewayTimeout || !strings.HasPrefix(a.body, words) {
					t.Errorf("an app that hangs: status %d of %q, want %q", a.StatusCode, a.body, words)
				}
			}
			for _, host := range []string{"bounded", "idle"} {
				if r := m.call(t, client, "http://"+name+"-"+host+"/?delay=1h", "--http2"); r.Statuses["504"] != 1 {
					t.Errorf("an app that hangs, over HTTP/2: %+v", r)
				}
			}
			ip := at(name, 3)
			a, err := request(t.Context(), m.client(t, client, ip+":80"), http.MethodGet, "http://"+ip+"/stream?count=2&interval=1h")
			if err == nil || a.Response == nil || a.StatusCode != http.StatusOK {
				t.Errorf("an answer that stands still is not cut: %+v, %v", a.Response, err)
			}
		})
	}
}

// patient closes connections that have been idle for three seconds, and tells at another port who closed how many: itself, or its
// clients.
const patient = `
import socket, threading
lock, closed = threading.Lock(), {"mine": 0, "theirs": 0}
def head(c):
    data = b""
    while b"\r\n\r\n" not in data:
        part = c.recv(4096)
        if not part: return False
        data += part
    return True
def answer(c, body):
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
def serve(c):
    c.settimeout(3)
    asked, who = False, "mine"
    try:
        while head(c):
            asked = True
            answer(c, b"served")
        who = "theirs"
    except OSError: pass
    with lock:
        if asked: closed[who] += 1
    c.close()
def tell(c):
    c.settimeout(3)
    try:
        while head(c):
            with lock: body = "%(mine)d %(theirs)d" % closed
            answer(c, body.encode())
    except OSError: pass
    c.close()
def listen(port, do):
    with socket.create_server(("", port)) as s:
        while True:
            c, _ = s.accept()
            threading.Thread(target=do, args=(c,), daemon=True).start()
threading.Thread(target=listen, args=(8081, tell), daemon=True).start()
listen(8080, serve)
`

// TestLearntKeepAlive: where an app was seen to close connections that were idle for a time, its client's sidecar, or its own, lets
// them go before that.
func TestLearntKeepAlive(t *testing.T) {
	t.Parallel()
	ips := map[string]string{"patient": "10.96.0.152", "patient-bare": "10.96.0.153"}
	var manifests strings.Builder
	manifests.WriteString(app{name: "client", replicas: 1}.String() + app{name: "outsider", replicas: 1, bare: true}.String())
	for name, ip := range ips {
		manifests.WriteString(pythonApp(name, ip, patient))
	}
	m := startMesh(t, manifests.String())
	for name, ip := range ips {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := netip.AddrPortFrom(m.find(t, name).IPs[0], 8081).String()
			counts := func() (mine, theirs int) {
				first, second, _ := strings.Cut(m.do(t, "deploy/outsider-v1", http.MethodGet, told, "/").body, " ")
				mine, _ = strconv.Atoi(first)
				theirs, _ = strconv.Atoi(second)
				return mine, theirs
			}
			for round := range 6 {
				if a := m.do(t, client, http.MethodGet, ip+":80", "/"); a.body != "served" {
					t.Fatalf("status %d, %q", a.StatusCode, a.body)
				}
				mine, theirs := 0, 0
				eventually(t, "the connection to be closed", func() bool {
					mine, theirs = counts()
					return mine+theirs > round
				})
				if theirs > 0 {
					return
				}
			}
			t.Error("the app has closed six idle connections, and the sidecar none before it")
		})
	}
}
