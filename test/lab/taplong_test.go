package lab_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

// holding answers when it is let go.
const holding = `
import http.server, threading
release = threading.Event()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/release":
            release.set()
        elif self.path == "/held":
            release.wait()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
`

// TestTapOfARequestThatHangs: it is shown from both ends while it hangs, and its end once it has one.
func TestTapOfARequestThatHangs(t *testing.T) {
	t.Parallel()
	const ip = "10.96.0.145"
	m := startMesh(t, app{name: "client", replicas: 1}.String()+pythonApp("server", ip, holding))
	tap, objects := m.tap(t, "po", "-n", "shop"), m.tap(t, "po", "-n", "shop", "-o", "json")
	answered := m.tap(t, "po", "-n", "shop", "--status", "200")
	for _, direction := range []string{"proxy=out", "proxy=in "} {
		m.warm(t, tap, "/warm", "req ", direction)
		m.warm(t, answered, "/warm", "req ", direction)
	}
	eventually(t, "the objects of a call from both ends", func() bool {
		m.do(t, client, http.MethodGet, ip+":80", "/warm")
		return len(objects.lines(`"proxyDirection": "INBOUND"`)) > 0 && len(objects.lines(`"proxyDirection": "OUTBOUND"`)) > 0
	})

	c := m.client(t, client, ip+":80")
	var hanging sync.WaitGroup
	defer hanging.Wait()
	hanging.Go(func() {
		if a, err := request(t.Context(), c, http.MethodGet, "http://"+ip+"/held"); err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("the request that hangs: %+v, %v", a.Response, err)
		}
	})
	ids := map[string]string{}
	for _, direction := range []string{"proxy=out", "proxy=in "} {
		eventually(t, "the request that hangs to be shown, "+direction, func() bool { return len(tap.lines("req ", direction, " tls=true ", ":path=/held")) == 1 })
		ids[direction] = strings.Fields(tap.lines("req ", direction, ":path=/held")[0])[1]
	}
	eventually(t, "its objects", func() bool { return len(objects.lines(`"path": "/held"`)) == 2 })
	for direction, id := range ids {
		if lines := tap.lines(id + " "); len(lines) != 1 {
			t.Errorf("%s: while it hangs there is %q", direction, lines)
		}
	}
	if lines := answered.lines(":path=/held"); len(lines) != 0 {
		t.Errorf("a status that nobody knows yet is shown: %q", lines)
	}

	m.do(t, client, http.MethodGet, ip+":80", "/release")
	hanging.Wait()
	for direction, id := range ids {
		eventually(t, "its end, "+direction, func() bool { return len(tap.lines("end "+id+" ", direction)) == 1 })
		if rsp, req := tap.lines("rsp "+id+" ", ":status=200"), tap.lines("req "+id+" "); len(rsp) != 1 || len(req) != 1 {
			t.Errorf("%s: answers %q, requests %q; want one of each", direction, rsp, req)
		}
	}
	eventually(t, "the tap of answers to show it", func() bool { return len(answered.lines("req ", ":path=/held")) == 2 })
	if lines := objects.lines(`"path": "/held"`); len(lines) != 2 {
		t.Errorf("its objects begin %d times, want once from each end", len(lines))
	}
}
