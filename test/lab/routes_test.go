package lab_test

import (
	"net/http"
	"strings"
	"testing"
)

// Addresses of the Services in TestRoutes.
const (
	pagesIP     = "10.96.3.1"
	operatorsIP = "10.96.3.2"
	sharedIP    = "10.96.3.3"
	faultyIP    = "10.96.3.4"
	abIP        = "10.96.3.5"
)

// routesManifests: one app behind many names, as in TestRouting, for what is asked for less often.
func routesManifests() string {
	manifests := []string{
		app{name: "client", replicas: 1}.String(), app{name: "web", replicas: 1}.String(), app{name: "web", version: "v2", replicas: 1}.String(),
		service("ab", abIP, "app: web, version: v1", http80), service("ab-next", "", "app: web, version: v2", http80),
		object("split.smi-spec.io/v1alpha4", "TrafficSplit", "ab", `
  service: ab
  matches: [{kind: HTTPRouteGroup, name: ab}]
  backends: [{service: ab-next, weight: 100}, {service: ab, weight: 0}]`),
	}
	for name, ip := range map[string]string{"pages": pagesIP, "operators": operatorsIP, "shared": sharedIP, "faulty": faultyIP} {
		manifests = append(manifests, service(name, ip, "app: web, version: v1", http80))
	}
	return strings.Join(append(manifests,
		virtualService("shared", `
  http:
  - match: [{uri: {prefix: /part}}]
    delegate: {name: part}
    headers: {response: {set: {x-by: root}}}
  - directResponse: {status: 404, body: {string: nothing}}`),
		virtualService("faulty", `
  http:
  - fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}
    route: [{destination: {host: faulty}}]`),
		virtualService("pages", `
  http:
  - match: [{uri: {prefix: /none}}]
    corsPolicy: {allowOrigins: [{exact: "https://app.example.com"}]}
    route: [{destination: {host: nowhere}}]
  - corsPolicy: {allowOrigins: [{exact: "https://app.example.com"}], allowMethods: [PUT], maxAge: 60s, unmatchedPreflights: IGNORE}
    route: [{destination: {host: pages}}]`),
		virtualService("operators", `
  http:
  - headers:
      request: {set: {x-caller: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% of %HOSTNAME%", x-dialled: "%DOWNSTREAM_LOCAL_ADDRESS%", x-user: "%REQ(x-nobody)%"}}
      response: {set: {x-endpoint: "%UPSTREAM_HOST%", x-cluster: "%UPSTREAM_CLUSTER%"}}
    route: [{destination: {host: operators}}]`),
	), "")
}

// part is the VirtualService that "shared" delegates to.
func part(path string) string {
	return object("networking.istio.io/v1", "VirtualService", "part", `
  http:
  - match: [{uri: {prefix: `+path+`}}]
    route: [{destination: {host: shared}}]`)
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	m := startMesh(t, routesManifests(), withMesh("mesh.accessLog=json"))
	t.Run("a_delegate_is_obeyed_and_an_edit_of_it_changes_routes_live", func(t *testing.T) {
		status := func(path string) int { return m.do(t, client, http.MethodGet, sharedIP+":80", path).StatusCode }
		if got := status("/part/a"); got != http.StatusNotFound {
			t.Errorf("without the delegate: %d, want the rule below", got)
		}
		m.write(t, "part.yaml", part("/part/a"))
		eventually(t, "the delegate's rule", func() bool { return status("/part/a") == http.StatusOK })
		if a := m.do(t, client, http.MethodGet, sharedIP+":80", "/part/a"); a.Header.Get("X-By") != "root" || status("/part/b") != http.StatusNotFound {
			t.Errorf("headers %v, and of another path %d; want the headers of the rule that delegates, and 404", a.Header, status("/part/b"))
		}
		m.write(t, "part.yaml", part("/part/b"))
		eventually(t, "the delegate's other rule", func() bool { return status("/part/b") == http.StatusOK && status("/part/a") == http.StatusNotFound })
	})
	t.Run("an_A_B_test_of_SMI_is_edited_live", func(t *testing.T) {
		version := func(header string) string {
			return m.do(t, client, http.MethodGet, abIP+":80", "/", header).Header.Get("X-Demo-Version")
		}
		if got := version("User-Agent: Firefox/130"); got != "v1" {
			t.Errorf("without the group, %q answered; want the Service itself", got)
		}
		for _, browser := range []string{"Firefox", "Chrome"} {
			m.write(t, "group.yaml", object("specs.smi-spec.io/v1alpha4", "HTTPRouteGroup", "ab", `
  matches: [{name: users, headers: {user-agent: ".*`+browser+`.*"}}]`))
			eventually(t, browser+" to reach the next version", func() bool { return version("User-Agent: "+browser+"/130") == "v2" })
			if got := version("User-Agent: curl/8"); got != "v1" {
				t.Errorf("with a group for %s, %q answered curl", browser, got)
			}
		}
		eventually(t, "Firefox to go back", func() bool { return version("User-Agent: Firefox/130") == "v1" })
	})
	t.Run("a_fault_in_gRPCs_words", func(t *testing.T) {
		a := m.do(t, client, http.MethodPost, faultyIP+":80", "/a.B/C", "Content-Type: application/grpc", "Te: trailers")
		if a.StatusCode != http.StatusOK || a.Header.Get("Grpc-Status") != "8" {
			t.Errorf("a gRPC call is answered %d %v, want RESOURCE_EXHAUSTED", a.StatusCode, a.Header)
		}
		if a := m.do(t, client, http.MethodGet, faultyIP+":80", "/"); a.StatusCode != http.StatusTooManyRequests {
			t.Errorf("a request is answered %d, want 429", a.StatusCode)
		}
	})
	t.Run("header_values_say_who_calls_whom", func(t *testing.T) {
		caller, called := m.find(t, client), m.find(t, "deploy/web-v1")
		a := m.do(t, client, http.MethodGet, operatorsIP+":80", "/", "x-caller: forged", "x-user: stays")
		h := http.Header(a.echo.Headers)
		if want := caller.IPs[0].String() + " of " + caller.Name; h.Get("X-Caller") != want || h.Get("X-Dialled") != operatorsIP+":80" || h.Get("X-User") != "stays" {
			t.Errorf("the app saw %v, want the caller %s", h, want)
		}
		if want := called.IPs[0].String() + ":8080"; a.Header.Get("X-Endpoint") != want || a.Header.Get("X-Cluster") != "outbound|80||operators.shop.svc.cluster.local" {
			t.Errorf("the caller saw %v, want the endpoint %s", a.Header, want)
		}
	})
	t.Run("pages_of_another_origin", func(t *testing.T) {
		const origin, evil, asks = "Origin: https://app.example.com", "Origin: https://evil.example.com", "Access-Control-Request-Method: PUT"
		allowed := func(a answer) string { return a.Header.Get("Access-Control-Allow-Origin") }
		if a := m.do(t, client, http.MethodOptions, pagesIP+":80", "/preflight", origin, asks); a.StatusCode != http.StatusOK ||
			a.Header.Get("X-Demo-Pod") != "" || allowed(a) != "https://app.example.com" || a.Header.Get("Access-Control-Allow-Methods") != "PUT" || a.Header.Get("Access-Control-Max-Age") != "60" {
			t.Errorf("a preflight is answered %d %v", a.StatusCode, a.Header)
		}
		if e := m.accessEntry(t, client, "/preflight"); e["response_code_details"] != "cors_response" {
			t.Errorf("access log %v", e)
		}
		if a := m.do(t, client, http.MethodOptions, pagesIP+":80", "/", evil, asks); a.StatusCode != http.StatusOK || a.Header.Get("X-Demo-Pod") != "" || allowed(a) != "" {
			t.Errorf("another page's preflight is answered %d %v", a.StatusCode, a.Header)
		}
		if a := m.do(t, client, http.MethodPut, pagesIP+":80", "/", origin); a.Header.Get("X-Demo-Pod") == "" || allowed(a) != "https://app.example.com" {
			t.Errorf("the page's request is answered %d %v", a.StatusCode, a.Header)
		}
		if a := m.do(t, client, http.MethodPut, pagesIP+":80", "/", evil); a.Header.Get("X-Demo-Pod") == "" || allowed(a) != "" {
			t.Errorf("another page's request is answered %d %v", a.StatusCode, a.Header)
		}
		if a := m.do(t, client, http.MethodGet, pagesIP+":80", "/none", origin); a.StatusCode != http.StatusServiceUnavailable || allowed(a) != "https://app.example.com" {
			t.Errorf("an error is answered %d %v, want one that the page can read", a.StatusCode, a.Header)
		}
		if out := m.cli(t, "proxy-config", "routes", client, "-n", "shop"); !strings.Contains(out, "; CORS for 1 origins") {
			t.Errorf("proxy-config routes says\n%s", out)
		}
	})
}
