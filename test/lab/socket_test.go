package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// socketServer serves HTTP at two Unix sockets, a file and an abstract one, and echoes bytes at a third, a file. Its arguments are
// their paths. The last thing that it does before it serves is to open a port, which says that it is ready.
const socketServer = `
import http.server, os, socket, socketserver, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = ("%s at %s for %s" % (self.path, self.server.server_address, self.headers["host"])).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self): return "socket"
class Echo(socketserver.StreamRequestHandler):
    def handle(self): self.wfile.write(b"echo " + self.rfile.read())
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer): daemon_threads = True
def serve(path, handler):
    server = Server(path.replace("@", "\0", 1), handler)
    if path[0] == "/": os.chmod(path, 0o777)
    server.server_address = path
    threading.Thread(target=server.serve_forever).start()
serve(sys.argv[1], Handler)
serve(sys.argv[2], Handler)
serve(sys.argv[3], Echo)
http.server.HTTPServer(("", 8080), http.server.SimpleHTTPRequestHandler).serve_forever()
`

// TestUnixSockets: hosts whose endpoints are Unix sockets of the caller's own pod are called like any other.
func TestUnixSockets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o777); err != nil { // the app and the sidecar are users of their own
			t.Fatal(err)
		}
	}
	file, abstract, echo := filepath.Join(dir, "http"), "@fairlead-story", filepath.Join(dir, "echo")
	entry := func(name, protocol, path string) string {
		return object("networking.istio.io/v1", "ServiceEntry", name, fmt.Sprintf(`
  hosts: [%s.example.com]
  ports: [{name: port, number: 80, protocol: %s}]
  resolution: STATIC
  endpoints: [{address: "unix://%s"}]`, name, protocol, path))
	}
	m := startMesh(t, pythonPod{
		name: "caller", program: socketServer, args: []string{file, abstract, echo},
		container: "readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}",
	}.String()+entry("file", "HTTP", file)+entry("abstract", "HTTP", abstract)+entry("echo", "TCP", echo)+entry("nobody", "HTTP", filepath.Join(dir, "nobody")),
		withMesh("mesh.accessLog=json"))
	call := func(script string) string {
		code, out, errOut := m.exec(t, "caller", "python3", "-c", script)
		if code != 0 {
			t.Fatalf("%s: %s", script, errOut)
		}
		return strings.TrimSpace(out)
	}
	get := func(host string) string {
		return call(`
import urllib.request, urllib.error
try: print(urllib.request.urlopen("http://` + host + `.example.com/x").read().decode())
except urllib.error.HTTPError as e: print(e.code, e.read().decode())`)
	}
	for host, path := range map[string]string{"file": file, "abstract": abstract} {
		want := fmt.Sprintf("/x at %s for %s.example.com", path, host)
		for range 2 { // the second goes by the connection of the first
			if got := get(host); got != want {
				t.Errorf("%s answers %q, want %q", host, got, want)
			}
		}
	}
	if got := call(`
import socket
s = socket.create_connection(("echo.example.com", 80))
s.sendall(b"bytes")
s.shutdown(socket.SHUT_WR)
print(s.makefile().read())`); got != "echo bytes" {
		t.Errorf("bytes: %q", got)
	}
	if got := get("nobody"); !strings.HasPrefix(got, "503 ") || !strings.Contains(got, filepath.Join(dir, "nobody")) {
		t.Errorf("a socket that is not there: %q", got)
	} else if strings.Contains(got, "::") {
		t.Errorf("a socket is shown as an address: %q", got)
	}
	if out := m.cli(t, "proxy-config", "endpoints", "caller", "-n", "shop"); len(keep(out, file, "outbound|80||file.example.com")) != 1 {
		t.Errorf("proxy-config endpoints does not have %s:\n%s", file, out)
	}
	m.awaitLog(t, "caller", `"upstream_host":"`+file+`"`)
}
