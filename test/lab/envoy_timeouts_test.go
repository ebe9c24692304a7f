//go:build envoy

package lab_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"fairlead.dev/fairlead/test/envoy"
)

// timedHeads says which of the fields about time the app was told, and how gRPC ended. Their values are a matter of milliseconds.
func timedHeads(h http.Header) []string {
	out := headsOf("grpc-status")(h)
	for name := range h {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "heard-x-envoy-upstream-rq") || strings.HasPrefix(lower, "heard-x-envoy-expected") || lower == "heard-grpc-timeout" {
			out = append(out, lower)
		}
	}
	slices.Sort(out)
	return out
}

// TestEnvoyTimeouts has a sidecar and an Envoy bound the same requests by the same rules, and tell the app the same.
func TestEnvoyTimeouts(t *testing.T) {
	t.Parallel()
	const hangs, grpc = "X-Answers: *=late", "Content-Type: application/grpc"
	exceeded := []string{"200 by the proxy", `grpc-status: ["4"]`} // Envoy says UNAVAILABLE, which asks clients to try again
	requests := []asked{
		{line: "GET /"},
		{line: "POST /", headers: []string{grpc}},
		{line: "POST /", headers: []string{grpc, "Grpc-Timeout: 10S"}},
		{line: "POST /", headers: []string{grpc, "Grpc-Timeout: 10s"}},
		{line: "POST /", headers: []string{grpc, "Grpc-Timeout: 123456789m"}},
		{line: "GET /", headers: []string{"Grpc-Timeout: 10S"}},
		{line: "POST /", headers: []string{hangs, grpc, "Grpc-Timeout: 300m"}, ours: exceeded},
	}
	all := []ruled{
		{
			name: "untimed", http: `
  - retries: {attempts: 0}
    route: [{destination: {host: untimed}}]`,
			routes: envoy.List{routed("untimed", envoy.Tree{"route": envoy.Tree{"cluster": "untimed", "timeout": "0s", "max_grpc_timeout": "0s"}})},
			asked:  requests,
		},
		{
			name: "timed", http: `
  - timeout: 4s
    retries: {attempts: 1, perTryTimeout: 3s, retryOn: connect-failure}
    route: [{destination: {host: timed}}]`,
			routes: envoy.List{routed("timed", envoy.Tree{"route": envoy.Tree{
				"cluster": "timed", "timeout": "4s", "max_grpc_timeout": "4s",
				"retry_policy": envoy.Tree{"num_retries": 1, "retry_on": "connect-failure", "per_try_timeout": "3s"},
			}})},
			asked: append(slices.Clone(requests), asked{line: "POST /", headers: []string{hangs}}, asked{line: "POST /", headers: []string{hangs, grpc}, ours: exceeded}),
		},
	}
	compareRoutes(t, all, timedHeads)
}
