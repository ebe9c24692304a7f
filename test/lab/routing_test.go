package lab_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Addresses of the Services in TestRouting.
const (
	webIP     = "10.96.0.20"
	splitIP   = "10.96.0.21"
	headersIP = "10.96.0.22"
	pathsIP   = "10.96.0.23"
	slowIP    = "10.96.0.24"
	flakyIP   = "10.96.0.25"
	brokenIP  = "10.96.0.26"
	gatewayIP = "10.96.0.27"
	namedIP   = "10.96.0.28"
	answersIP = "10.96.0.29"
	emptyIP   = "10.96.0.30"
	noHostIP  = "10.96.0.31"
)

// routingManifests: one app in two versions behind many names, each name with rules of its own.
func routingManifests() string {
	var b strings.Builder
	b.WriteString(app{name: "client", replicas: 1}.String())
	b.WriteString(app{name: "web", version: "v1", replicas: 1}.String())
	// v2 has its web port elsewhere: only the name of the port finds it.
	b.WriteString(strings.Replace(app{name: "web", version: "v2", replicas: 1, args: `--http, "8081,8080"`}.String(),
		"containerPort: 8080", "containerPort: 8081", 1))
	for name, ip := range map[string]string{
		"web": webIP, "split": splitIP, "headers": headersIP, "paths": pathsIP, "slow": slowIP, "flaky": flakyIP,
		"broken": brokenIP, "gateway": gatewayIP, "named": namedIP, "answers": answersIP, "nohost": noHostIP,
	} {
		b.WriteString(service(name, ip, "app: web", http80))
	}
	b.WriteString(service("empty", emptyIP, "app: nobody", http80))
	for _, name := range []string{"split", "headers", "paths", "broken"} {
		b.WriteString(subsets(name))
	}
	b.WriteString(split(90, 10))
	b.WriteString(virtualService("headers", `
  http:
  - match: [{headers: {x-user: {exact: tester}}}]
    route: [{destination: {host: headers, subset: v2}}]
  - route: [{destination: {host: headers, subset: v1}}]`))
	b.WriteString(virtualService("paths", `
  http:
  - match: [{uri: {exact: /exact}}, {uri: {prefix: /prefix/}}, {uri: {regex: "/item/[0-9]+"}}]
    route: [{destination: {host: paths, subset: v2}}]
  - route: [{destination: {host: paths, subset: v1}}]`))
	b.WriteString(virtualService("slow", `
  http:
  - timeout: 3s
    route: [{destination: {host: slow}}]`))
	b.WriteString(virtualService("flaky", `
  http:
  - match: [{uri: {prefix: /retried}}]
    retries: {attempts: 10, retryOn: "5xx", perTryTimeout: 2s}
    route: [{destination: {host: flaky}}]
  - retries: {attempts: 0}
    route: [{destination: {host: flaky}}]`))
	b.WriteString(virtualService("broken", `
  http:
  - match: [{uri: {prefix: /v9}}]
    route: [{destination: {host: broken, subset: v9}}]
  - route: [{destination: {host: broken, subset: v1}}]`))
	b.WriteString(virtualService("nohost", `
  http:
  - route: [{destination: {host: nowhere}}]`))
	b.WriteString(virtualService("answers", `
  http:
  - match: [{uri: {prefix: /old/}}]
    rewrite: {uri: /new/, authority: rewritten.example}
    headers:
      request: {set: {x-set: "1"}, add: {x-added: "2"}, remove: [x-secret]}
      response: {set: {x-answer: "3"}, remove: [x-demo-version]}
    route: [{destination: {host: answers}}]
  - match: [{uri: {exact: /moved}}]
    redirect: {uri: /there, authority: other.example, redirectCode: 308}
  - match: [{uri: {exact: /teapot}}]
    directResponse: {status: 418, body: {string: "short and stout"}}
  - route: [{destination: {host: answers}}]`))
	b.WriteString(service("web-v1", "", "app: web, version: v1", http80))
	b.WriteString(service("web-v2", "", "app: web, version: v2", http80))
	b.WriteString(object("gateway.networking.k8s.io/v1", "HTTPRoute", "gateway", `
  parentRefs: [{group: "", kind: Service, name: gateway, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /api}}]
    filters:
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /v2}}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-gateway, value: "yes"}]}}
    backendRefs: [{name: web-v2, port: 80}]
  - backendRefs: [{name: web-v1, port: 80, weight: 70}, {name: web-v2, port: 80, weight: 30}]`))
	return b.String()
}

// split is the canary's VirtualService, with weights.
func split(v1, v2 int) string {
	return virtualService("split", fmt.Sprintf(`
  http:
  - route:
    - {destination: {host: split, subset: v1}, weight: %d}
    - {destination: {host: split, subset: v2}, weight: %d}`, v1, v2))
}

const client = "deploy/client-v1"

func TestRouting(t *testing.T) {
	t.Parallel()
	manifests := routingManifests()
	m := startMesh(t, manifests, withMesh("mesh.accessLog=json"))
	t.Run("every_form_of_a_host_is_understood", func(t *testing.T) {
		for _, host := range []string{"web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "web.shop.svc.cluster.local.", webIP} {
			if r := m.call(t, client, "http://"+host+"/x", "--count", "4"); r.OK != 4 {
				t.Errorf("4 calls of %s: %+v", host, r)
			}
			a := m.do(t, client, http.MethodGet, webIP+":80", "/", "Host: "+host)
			if a.StatusCode != http.StatusOK || a.echo.Host != host || a.Header.Get("X-Demo-Pod") == "" || xfcc(a) == "" {
				t.Errorf("GET with Host %s: status %d, echo %+v; want the host kept and a certificate", host, a.StatusCode, a.echo)
			}
		}
	})
	t.Run("weights_split_and_an_edit_changes_them_live", func(t *testing.T) {
		r := m.call(t, client, "http://split/", "--count", "500", "--concurrency", "4")
		if v2 := r.Versions["v2"]; r.OK != 500 || v2 < 20 || v2 > 90 { // 50 ± 6 standard deviations
			t.Errorf("500 calls at 90/10: %+v, want about 50 at v2", r)
		}
		m.write(t, "all.yaml", strings.Replace(manifests, split(90, 10), split(50, 50), 1))
		eventually(t, "the weights 50/50", func() bool {
			return m.call(t, client, "http://split/", "--count", "40").Versions["v2"] >= 13
		})
		r = m.call(t, client, "http://split/", "--count", "500", "--concurrency", "4")
		if v2 := r.Versions["v2"]; r.OK != 500 || v2 < 185 || v2 > 315 {
			t.Errorf("500 calls at 50/50: %+v, want about 250 at v2", r)
		}
	})
	t.Run("a_header_leads_to_a_subset", func(t *testing.T) {
		tester := m.call(t, client, "http://headers/", "--count", "20", "--header", "x-user: tester")
		others := m.call(t, client, "http://headers/", "--count", "20", "--header", "x-user: testers")
		if tester.Versions["v2"] != 20 || others.Versions["v1"] != 20 {
			t.Errorf("calls with the header %v, without %v; want v2 and v1 only", tester.Versions, others.Versions)
		}
	})
	t.Run("paths_match_exactly_by_prefix_and_by_expression", func(t *testing.T) {
		for path, want := range map[string]string{
			"/exact": "v2", "/exact/": "v1", "/exact?q=1": "v2", "/prefix/a": "v2", "/prefix": "v1",
			"/item/42": "v2", "/item/4x": "v1", "/item/42/more": "v1", "/other": "v1",
		} {
			if a := m.do(t, client, http.MethodGet, pathsIP+":80", path); a.echo.Version != want {
				t.Errorf("GET %s answered by %q, want %s", path, a.echo.Version, want)
			}
		}
	})
	t.Run("the_app_sees_the_rewrite_and_the_headers", func(t *testing.T) {
		a := m.do(t, client, http.MethodGet, answersIP+":80", "/old/thing?q=1", "x-secret: hush", "x-added: 1")
		h := http.Header(a.echo.Headers)
		if a.echo.Path != "/new/thing" || a.echo.Query != "q=1" || a.echo.Host != "rewritten.example" ||
			h.Get("X-Set") != "1" || strings.Join(h.Values("X-Added"), ",") != "1,2" || h.Get("X-Secret") != "" {
			t.Errorf("the app saw %+v", a.echo)
		}
		if a.Header.Get("X-Answer") != "3" || a.Header.Get("X-Demo-Version") != "" {
			t.Errorf("response headers %v", a.Header)
		}
	})
	t.Run("redirect", func(t *testing.T) {
		a := m.do(t, client, http.MethodGet, answersIP+":80", "/moved", "Host: answers")
		if a.StatusCode != http.StatusPermanentRedirect || a.Header.Get("Location") != "http://other.example/there" {
			t.Errorf("status %d, Location %q", a.StatusCode, a.Header.Get("Location"))
		}
	})
	t.Run("direct_response", func(t *testing.T) {
		a := m.do(t, client, http.MethodGet, answersIP+":80", "/teapot")
		if a.StatusCode != http.StatusTeapot || a.body != "short and stout" || a.Header.Get("X-Demo-Pod") != "" {
			t.Errorf("status %d, body %q, headers %v", a.StatusCode, a.body, a.Header)
		}
	})
	t.Run("a_timeout_is_a_504_and_says_so", func(t *testing.T) {
		a := m.do(t, client, http.MethodGet, slowIP+":80", "/late?delay=1h")
		if a.StatusCode != http.StatusGatewayTimeout || !strings.Contains(a.body, "upstream request timeout") {
			t.Errorf("status %d, body %q", a.StatusCode, a.body)
		}
		if e := m.accessEntry(t, client, "/late?delay=1h"); e["response_flags"] != "UT" || e["response_code"] != 504.0 {
			t.Errorf("access log %v", e)
		}
		if a := m.do(t, client, http.MethodGet, slowIP+":80", "/"); a.StatusCode != http.StatusOK {
			t.Errorf("a quick call: status %d", a.StatusCode)
		}
	})
	t.Run("retries_hide_failures_where_they_are_asked_for", func(t *testing.T) {
		if r := m.call(t, client, "http://flaky/retried?fail=0.1", "--count", "100"); r.OK != 100 {
			t.Errorf("100 calls with retries: %+v", r)
		}
		if r := m.call(t, client, "http://flaky/once?fail=0.3", "--count", "100"); r.Statuses["503"] < 5 {
			t.Errorf("100 calls without: %+v, want some 503", r)
		}
	})
	t.Run("a_route_to_a_missing_subset_names_it", func(t *testing.T) {
		a := m.do(t, client, http.MethodGet, brokenIP+":80", "/v9/x")
		if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "cluster not found") ||
			!strings.Contains(a.body, "VirtualService shop/broken") || !strings.Contains(a.body, "v9") {
			t.Errorf("status %d, body %q; want the VirtualService and the subset in it", a.StatusCode, a.body)
		}
		if e := m.accessEntry(t, client, "/v9/x"); e["response_flags"] != "NC" {
			t.Errorf("access log %v", e)
		}
		if a := m.do(t, client, http.MethodGet, brokenIP+":80", "/"); a.echo.Version != "v1" {
			t.Errorf("the object's other route: status %d, %q", a.StatusCode, a.body)
		}
		if p := keep(m.problems(t), "VirtualService shop/broken", "v9"); len(p) != 1 || !strings.Contains(p[0], "all.yaml:") {
			t.Errorf("problems of the control plane: %q, want one with its place", p)
		}
	})
	t.Run("a_route_to_a_missing_host_names_it", func(t *testing.T) {
		a := m.do(t, client, http.MethodGet, noHostIP+":80", "/")
		if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "nowhere") {
			t.Errorf("status %d, body %q", a.StatusCode, a.body)
		}
	})
	t.Run("a_service_without_endpoints_says_so", func(t *testing.T) {
		a := m.do(t, client, http.MethodGet, emptyIP+":80", "/void")
		if a.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(a.body, "no healthy upstream") || !strings.Contains(a.body, "empty.shop") {
			t.Errorf("status %d, body %q", a.StatusCode, a.body)
		}
		if e := m.accessEntry(t, client, "/void"); e["response_flags"] != "UH" {
			t.Errorf("access log %v", e)
		}
	})
	t.Run("an_httproute_on_a_service_weighs_and_filters", func(t *testing.T) {
		r := m.call(t, client, "http://gateway/", "--count", "300", "--concurrency", "4")
		if v2 := r.Versions["v2"]; r.OK != 300 || v2 < 45 || v2 > 140 {
			t.Errorf("300 calls at 70/30: %+v, want about 90 at v2", r)
		}
		a := m.do(t, client, http.MethodGet, gatewayIP+":80", "/api/users")
		if a.echo.Version != "v2" || a.echo.Path != "/v2/users" || http.Header(a.echo.Headers).Get("X-Gateway") != "yes" {
			t.Errorf("the app saw %+v", a.echo)
		}
	})
	t.Run("a_named_target_port_is_found_in_each_pod", func(t *testing.T) {
		ports := map[string]bool{}
		for range 40 {
			a := m.do(t, client, http.MethodGet, namedIP+":80", "/")
			ports[a.echo.Version+a.echo.Local[strings.LastIndex(a.echo.Local, ":"):]] = true
		}
		if len(ports) != 2 || !ports["v1:8080"] || !ports["v2:8081"] {
			t.Errorf("answers came from %v", ports)
		}
	})
	t.Run("the_tables_show_it", func(t *testing.T) {
		name := m.find(t, client).Name
		out := m.cli(t, "proxy-config", "endpoints", name, "-n", "shop", "--cluster", "outbound|80|v2|split.shop.svc.cluster.local")
		if len(keep(out, "HEALTHY", "outbound|80|v2|split.shop.svc.cluster.local")) != 1 {
			t.Errorf("endpoints of split's v2:\n%s", out)
		}
		if out := m.cli(t, "pc", "routes", name, "-n", "shop"); len(keep(out, "split", "shop/split")) == 0 {
			t.Errorf("routes:\n%s", out)
		}
		if out := m.cli(t, "pc", "listeners", name, "-n", "shop", "--address", "::"); len(keep(out, "0.0.0.0,::", "15001", "virtualOutbound")) != 1 {
			t.Errorf("listeners on ::\n%s\nwant the outbound one, on both families", out)
		}
		if out := m.cli(t, "proxy-status"); len(keep(out, name+".shop", "SYNCED")) != 1 || len(keep(out, "SYNCED")) != 3 {
			t.Errorf("proxy-status:\n%s", out)
		}
	})
}

// xfcc is the certificate that the server's sidecar told the app about; empty where the call came in plaintext.
func xfcc(a answer) string { return http.Header(a.echo.Headers).Get("X-Forwarded-Client-Cert") }

// accessEntry waits for the line of the sidecar's JSON access log with that path.
func (m *mesh) accessEntry(t *testing.T, name, path string) map[string]any {
	t.Helper()
	log := m.LogPath(pod(m.find(t, name).Name), "proxy")
	var entry map[string]any
	eventually(t, "an access log line of "+path, func() bool {
		lines := keep(read(t, log), `"path":"`+path+`"`)
		if len(lines) == 0 {
			return false
		}
		if err := json.Unmarshal([]byte(lines[0]), &entry); err != nil {
			t.Fatalf("access log line is no JSON: %v: %s", err, lines[0])
		}
		return true
	})
	return entry
}
