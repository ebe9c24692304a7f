//go:build kube

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Whoever restarts a deployment must not be noticed by its callers, whichever side it is on.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	n := meshed(t, "restart")
	n.apply(t, server("users", 4))
	n.startClient(t)
	n.rollout(t, "deployment/users")
	for round := range 3 {
		wait := n.load(t, "client", "http://users:8080/", "--rate", "100", "--for", "30s", "--concurrency", "4")
		n.kubectl(t, "rollout", "restart", "deployment/users")
		n.rollout(t, "deployment/users")
		noneFailed(t, fmt.Sprintf("restart %d", round+1), wait())
	}
}

// The deployment in the middle of a chain restarts: it is server and client at once.
func TestRollingRestartInTheMiddle(t *testing.T) {
	t.Parallel()
	n := meshed(t, "middle")
	n.apply(t, server("users", 2), orders)
	n.startClient(t)
	n.rollout(t, "deployment/users", "deployment/orders")
	for round := range 3 {
		wait := n.load(t, "client", "http://orders:8080/", "--rate", "100", "--for", "30s", "--concurrency", "4")
		n.kubectl(t, "rollout", "restart", "deployment/orders")
		n.rollout(t, "deployment/orders")
		noneFailed(t, fmt.Sprintf("restart %d", round+1), wait())
	}
}

// orders is an app of Python's standard library that asks users for every request.
const orders = `
apiVersion: v1
kind: Service
metadata: {name: orders}
spec:
  selector: {app: orders}
  ports: [{name: http, port: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: orders}
spec:
  replicas: 2
  selector:
    matchLabels: {app: orders}
  template:
    metadata:
      labels: {app: orders}
    spec:
      containers:
        - name: app
          image: docker.io/library/python:3-slim
          imagePullPolicy: IfNotPresent
          command: [python3, -u, -c]
          args:
            - |
              import http.server, signal, threading, urllib.request
              class Orders(http.server.BaseHTTPRequestHandler):
                  protocol_version = "HTTP/1.1"
                  def do_GET(self):
                      with urllib.request.urlopen("http://users:8080/") as answer:
                          body = answer.read()
                      self.send_response(200)
                      self.send_header("Content-Length", str(len(body)))
                      self.end_headers()
                      self.wfile.write(body)
                  def log_message(self, *args): pass
              class Server(http.server.ThreadingHTTPServer):
                  daemon_threads = False
              server = Server(("", 8080), Orders)
              signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
              server.serve_forever()
              server.server_close()
          readinessProbe:
            tcpSocket: {port: 8080}
            periodSeconds: 1
`

func TestScaleToZeroAndBack(t *testing.T) {
	t.Parallel()
	n := meshed(t, "scale")
	n.apply(t, server("users", 0))
	n.startClient(t)
	for _, replicas := range []int{1, 10, 0, 1} {
		n.kubectl(t, "scale", "deployment/users", fmt.Sprintf("--replicas=%d", replicas))
		if replicas == 0 {
			eventually(t, "no endpoint is left", func() (string, bool) {
				r := n.call(t, "client", "http://users:8080/")
				return fmt.Sprint(r.Statuses, r.Errors), r.Statuses["503"] == 1
			})
			continue
		}
		n.rollout(t, "deployment/users")
		noneFailed(t, fmt.Sprintf("%d replicas", replicas), n.call(t, "client", "http://users:8080/", "--count", "200", "--rate", "100"))
		n.answeredBy(t, "http://users:8080/", replicas)
	}
}

// All pods of a node vanish at once, without a drain.
func TestPodsDeletedAtOnce(t *testing.T) {
	t.Parallel()
	n := meshed(t, "vanish")
	n.apply(t, server("users", 4))
	n.startClient(t)
	n.rollout(t, "deployment/users")
	names := strings.Fields(n.kubectl(t, "get", "pods", "-l", "app=users", "-o", "jsonpath={.items[*].metadata.name}"))
	wait := n.load(t, "client", "http://users:8080/", "--rate", "50", "--for", "20s", "--concurrency", "4")
	n.kubectl(t, append([]string{"delete", "pod", "--grace-period=0", "--force"}, names[:2]...)...)
	noneFailed(t, "two of four pods killed", wait())
}

func TestJobEnds(t *testing.T) {
	t.Parallel()
	n := meshed(t, "job")
	n.apply(t, server("users", 1))
	n.rollout(t, "deployment/users")
	n.apply(t, `
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: app
          image: fairlead.dev/demo-app:1
          args: [call, http://users:8080/, --count, "10"]
`)
	n.kubectl(t, "wait", "--for=condition=Complete", "job/once", "--timeout=60s")
}

// The app's own init containers have the network that the app will have.
func TestInitContainerCallsService(t *testing.T) {
	t.Parallel()
	n := meshed(t, "init")
	n.apply(t, server("users", 1))
	n.rollout(t, "deployment/users")
	n.apply(t, strings.Replace(client, "  containers:\n", `  initContainers:
    - name: migrate
      image: fairlead.dev/demo-app:1
      args: [get, "http://users:8080/"]
  containers:
`, 1))
	n.kubectl(t, "wait", "--for=condition=Ready", "pod/client", "--timeout=90s")
	if out := n.kubectl(t, "logs", "client", "-c", "migrate"); !strings.Contains(out, "URI=spiffe://cluster.local/ns/"+n.name+"/sa/default") {
		t.Errorf("the init container called without the mesh: %s", out)
	}
}

func TestStatefulSetByPodName(t *testing.T) {
	t.Parallel()
	n := meshed(t, "stateful")
	n.apply(t, `
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  clusterIP: None
  selector: {app: db}
  ports: [{name: http, port: 8080}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  podManagementPolicy: Parallel
  selector:
    matchLabels: {app: db}
  template:
    metadata:
      labels: {app: db}
    spec:
      containers:
        - {name: app, image: "fairlead.dev/demo-app:1", args: [--name, db]}
`)
	n.startClient(t)
	n.rollout(t, "statefulset/db")
	for _, pod := range []string{"db-0", "db-1"} {
		r := n.call(t, "client", "http://"+pod+".db:8080/", "--count", "5")
		noneFailed(t, pod, r)
		if r.Pods[pod] != 5 {
			t.Errorf("%s.db was answered by %v", pod, r.Pods)
		}
		if who := n.caller(t, "http://"+pod+".db:8080/"); !strings.Contains(who, "/ns/"+n.name+"/sa/default") {
			t.Errorf("%s saw the caller as %q, want a SPIFFE ID", pod, who)
		}
	}
}

// caller gives the identity of the client pod as the server is told it: proof of mutual TLS.
func (n *namespace) caller(t *testing.T, url string) string {
	t.Helper()
	out := n.kubectl(t, "exec", "client", "-c", "app", "--", "/fairlead", "demo-app", "get", url)
	var echo struct{ Headers map[string][]string }
	if err := json.Unmarshal([]byte(out), &echo); err != nil {
		t.Fatalf("%s: %v: %s", url, err, out)
	}
	return strings.Join(echo.Headers["X-Forwarded-Client-Cert"], ",")
}

// A server that speaks first must not wait for the client to say what it speaks.
func TestServerSpeaksFirst(t *testing.T) {
	t.Parallel()
	n := meshed(t, "mysql")
	n.apply(t, server("users", 1), strings.ReplaceAll(orders, "replicas: 2", "replicas: 1"))
	n.rollout(t, "deployment/users", "deployment/orders")
	out, err := n.python(t, "deployment/orders", `
import socket
s = socket.create_connection(("users", 3306), 5); s.settimeout(5)
print(s.recv(100).decode())`)
	if err != nil || !strings.Contains(out, "5.7.0-demo") {
		t.Errorf("greeting = %q, %v", out, err)
	}
}

// What an app may do with the API server is not what may be done by whoever gets into its sidecar.
func TestAPITokenIsTheAppsAlone(t *testing.T) {
	t.Parallel()
	n := meshed(t, "token")
	n.startClient(t)
	out := n.kubectl(t, "get", "pod", "client", "-o", `jsonpath={range .spec['initContainers','containers'][*]}{.name}{range .volumeMounts[?(@.mountPath=="/var/run/secrets/kubernetes.io/serviceaccount")]}={.name}{end} {end}`)
	for mounted := range strings.FieldsSeq(out) {
		container, volume, _ := strings.Cut(mounted, "=")
		if hasToken := strings.HasPrefix(volume, "kube-api-access-"); hasToken != (container == "app") {
			t.Errorf("container %s mounts %q where the token for the API belongs: %s", container, volume, out)
		}
	}
}
