package lab_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// spanSink is a Zipkin server that prints what it is sent, and by whom.
const spanSink = `
import http.server, json
class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        spans = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps({"path": self.path, "by": self.headers.get("x-forwarded-client-cert", ""), "spans": spans}), flush=True)
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("", 9411), Sink).serve_forever()
`

// zipkinPod is the pod collector of namespace shop, and its Service.
func zipkinPod() string {
	return pythonPod{name: "collector", program: spanSink, container: "readinessProbe: {tcpSocket: {port: 9411}, periodSeconds: 1}"}.String() +
		service("collector", "10.96.11.3", "app: collector", "{name: http, port: 9411}")
}

// sentSpan is a span as Zipkin's API has it.
type sentSpan struct {
	TraceID, ID, ParentID, Kind string
	Tags                        map[string]string
}

// sentSpans reads what a collector has printed: the spans, and who sent them.
func (m *mesh) sentSpans(t *testing.T, collector string) (spans []sentSpan, senders []string) {
	t.Helper()
	for line := range strings.Lines(read(t, m.LogPath(pod(collector), "app"))) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		var request struct {
			Path, By string
			Spans    []sentSpan
		}
		if err := json.Unmarshal([]byte(line), &request); err != nil {
			t.Fatalf("the collector has printed %q: %v", line, err)
		}
		spans, senders = append(spans, request.Spans...), append(senders, request.By)
	}
	return spans, senders
}

// tracesOf says what spans there are of the calls to a path: how many of each kind, and of the called side how many that have a
// caller's for their parent.
func tracesOf(spans []sentSpan, path string) string {
	callers := map[string]string{} // traces by spans
	var client, server, children int
	for _, s := range spans {
		if strings.HasSuffix(s.Tags["http.url"], path) && s.Kind == "CLIENT" {
			callers[s.ID] = s.TraceID
			client++
		}
	}
	for _, s := range spans {
		if strings.HasSuffix(s.Tags["http.url"], path) && s.Kind == "SERVER" {
			server++
			if trace, ok := callers[s.ParentID]; ok && trace == s.TraceID {
				children++
			}
		}
	}
	return fmt.Sprintf("%d CLIENT, %d SERVER, %d of those behind a CLIENT", client, server, children)
}

// TestTraces: every request has one span of its caller's sidecar and one of the called one, where there are such; the collector gets
// them over the mesh, from sidecars that it knows by their identity, and that it is away harms nobody.
func TestTraces(t *testing.T) {
	t.Parallel()
	const calls = 20
	others := app{name: "client", replicas: 1}.String() + app{name: "outsider", replicas: 1, bare: true}.String() +
		app{name: "server", replicas: 1}.String() + app{name: "plain", replicas: 1, bare: true}.String() +
		service("server", "10.96.11.1", "app: server", "{name: http, port: 8080, targetPort: web}, {name: http2-web, port: 8082, targetPort: web}") +
		service("plain", "10.96.11.2", "app: plain", "{name: http, port: 8080, targetPort: web}, {name: http2-web, port: 8082, targetPort: web}")
	m := startMesh(t, others+zipkinPod(), withMesh("tracing.zipkin.endpoint=collector.shop:9411", "tracing.sampling=100",
		`tracing.customTags={asked: {formatter: {value: "%REQ(:METHOD)% %REQ(x-gone)%%RESPONSE_CODE%"}}}`))

	want := map[string]string{}
	for _, from := range []struct {
		name   string
		meshed bool
	}{{client, true}, {outsider, false}} {
		for _, to := range []struct {
			address string
			meshed  bool
		}{{"10.96.11.1", true}, {"10.96.11.2", false}} {
			for protocol, args := range map[string][]string{"8080": nil, "8082": {"--http2"}} {
				path := fmt.Sprintf("/%v-%v-%s", from.meshed, to.meshed, protocol)
				r := m.call(t, from.name, append(args, "http://"+to.address+":"+protocol+path, "--count", strconv.Itoa(calls))...)
				if r.OK != calls {
					t.Fatalf("%s: %+v", path, r)
				}
				counts := map[bool]int{true: calls}
				want[path] = fmt.Sprintf("%d CLIENT, %d SERVER, %d of those behind a CLIENT",
					counts[from.meshed], counts[to.meshed], counts[from.meshed && to.meshed])
			}
		}
	}
	for path, what := range want {
		eventually(t, path+": "+what, func() bool {
			spans, _ := m.sentSpans(t, "collector")
			return tracesOf(spans, path) == what
		})
	}
	spans, senders := m.sentSpans(t, "collector")
	if slices.ContainsFunc(spans, func(s sentSpan) bool { return strings.Contains(s.Tags["http.url"], "9411") }) {
		t.Error("there are spans of the sending of spans")
	}
	for _, s := range spans {
		if s.Tags["asked"] != "GET 200" {
			t.Errorf("span %+v has a tag %q by its format, want GET 200", s, s.Tags["asked"])
		}
	}
	for _, by := range senders {
		if !strings.Contains(by, "URI=spiffe://cluster.local/ns/shop/sa/") {
			t.Errorf("the collector was sent spans by %q, want a sidecar that proves who it is", by)
		}
	}

	m.write(t, "all.yaml", others)
	if r := m.call(t, client, "http://10.96.11.1:8080/away", "--count", "2000", "--concurrency", "8"); r.OK != 2000 {
		t.Errorf("without the collector: %+v", r)
	}
}
