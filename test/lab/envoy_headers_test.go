//go:build envoy

package lab_test

import (
	"slices"
	"testing"

	"fairlead.dev/fairlead/test/envoy"
)

// setHeaders gives header operations in Envoy's words; values that are empty are not written, as Istio leaves it.
func setHeaders(action string, pairs ...string) envoy.List {
	var out envoy.List
	for pair := range slices.Chunk(pairs, 2) {
		out = append(out, envoy.Tree{"header": envoy.Tree{"key": pair[0], "value": pair[1]}, "append_action": action})
	}
	return out
}

const (
	overwriting = "OVERWRITE_IF_EXISTS_OR_ADD"
	appending   = "APPEND_IF_EXISTS_OR_ADD"
)

// TestEnvoyHeaderOperators has a sidecar and an Envoy write the same values into requests and responses.
func TestEnvoyHeaderOperators(t *testing.T) {
	t.Parallel()
	compareRoutes(t, []ruled{{
		name: "operators", http: `
  - name: named
    headers:
      request:
        set:
          seen-a: "%REQ(x-a)%"
          seen-other: "<%REQ(x-a?x-b)%>"
          seen-short: "%REQ(x-a):3%"
          seen-path: "%REQ(:PATH)% %REQ(:method)%"
          seen-protocol: "%PROTOCOL% 100%%"
          seen-code: "%RESPONSE_CODE%"
          seen-route: "%ROUTE_NAME%"
          seen-early: "%RESP(x-c)%%UPSTREAM_HOST%"
          seen-year: "%START_TIME(%Y-%m)%"
          seen-c: "%REQ(seen-d)%"
          seen-d: "%REQ(seen-c)%"
          seen-gone: "%REQ(x-removed)%"
          seen-host: "%REQ(:AUTHORITY)% %REQ(:SCHEME)%"
        add: {seen-added: "%REQ(seen-added)%"}
        remove: [x-removed]
      response:
        set: {said-c: "%RESP(x-c)%", said-code: "%RESPONSE_CODE% %RESP(:status)%", said-a: "%REQ(x-a)% %REQ(seen-a)%", said-port: "%UPSTREAM_REMOTE_PORT%"}
        add: {said-added: "%RESP(x-c?x-d)%"}
    route: [{destination: {host: operators}}]`,
		routes: envoy.List{routed("operators", envoy.Tree{
			"name": "named", "request_headers_to_remove": envoy.List{"x-removed"},
			"request_headers_to_add": append(setHeaders(overwriting,
				"seen-a", "%REQ(x-a)%", "seen-other", "<%REQ(x-a?x-b)%>", "seen-short", "%REQ(x-a):3%",
				"seen-path", "%REQ(:PATH)% %REQ(:method)%", "seen-protocol", "%PROTOCOL% 100%%", "seen-code", "%RESPONSE_CODE%",
				"seen-route", "%ROUTE_NAME%", "seen-early", "%RESP(x-c)%%UPSTREAM_HOST%", "seen-year", "%START_TIME(%Y-%m)%",
				"seen-c", "%REQ(seen-d)%", "seen-d", "%REQ(seen-c)%", "seen-gone", "%REQ(x-removed)%", "seen-host", "%REQ(:AUTHORITY)% %REQ(:SCHEME)%",
			), setHeaders(appending, "seen-added", "%REQ(seen-added)%")...),
			"response_headers_to_add": append(setHeaders(overwriting,
				"said-c", "%RESP(x-c)%", "said-code", "%RESPONSE_CODE% %RESP(:status)%", "said-a", "%REQ(x-a)% %REQ(seen-a)%", "said-port", "%UPSTREAM_REMOTE_PORT%",
			), setHeaders(appending, "said-added", "%RESP(x-c?x-d)%")...),
		})},
		asked: []asked{
			{line: "GET /"},
			{line: "GET /path?query=1"},
			{line: "GET /", headers: []string{"x-a: first"}},
			{line: "GET /", headers: []string{"x-a: first", "x-a: second"}},
			{line: "GET /", headers: []string{"x-a: ", "x-b: other"}},
			{line: "GET /", headers: []string{"x-b: other"}},
			{line: "POST /", headers: []string{"seen-c: c", "seen-d: d"}},
			{line: "GET /", headers: []string{"seen-c: c"}},
			{line: "GET /", headers: []string{"seen-a: stays", "seen-gone: stays", "x-removed: gone"}},
			{line: "GET /", headers: []string{"seen-added: one", "seen-added: two"}},
			{line: "GET /", headers: []string{"X-Says: x-c: from the app"}},
			{line: "GET /", headers: []string{"X-Says: x-d: from the app", "X-Says: said-added: before", "X-Says: said-c: stays"}},
			{line: "GET /", headers: []string{"X-Answers: *=503"}},
		},
	}}, headsOf("heard-seen-", "said-"))
}
