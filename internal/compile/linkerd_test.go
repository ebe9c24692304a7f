package compile_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/compile/compiletest"
	"fairlead.dev/fairlead/internal/plan"
)

// Linkerd's annotations: those of a route go before its fields, and before those of the Service it is for.
func TestLinkerdAnnotations(t *testing.T) {
	const always = "connect-failure refused-stream reset-before-request"
	for _, tt := range []struct{ name, service, route, rule, want string }{
		{"none", "", "", "", "2 on [" + always + "] [], 0s of 0s"},
		{"of_the_service", `retry.linkerd.io/http: "503", retry.linkerd.io/timeout: 1s, timeout.linkerd.io/request: 3s`, "-", "", "1 on [" + always + " per-try-timeout] [503], 1s of 3s"},
		{"response_of_the_service", `timeout.linkerd.io/response: 1s`, "", "timeouts: {request: 2s, backendRequest: 500ms}", "2 on [" + always + "] [], 0s of 2s, backend 500ms, response 1s"},
		{"response_of_the_route", "", `timeout.linkerd.io/response: 1s`, "", "2 on [" + always + "] [], 0s of 0s, response 1s"},
		{"idle_of_the_service", `timeout.linkerd.io/idle: 30s`, "-", "", "2 on [" + always + "] [], 0s of 0s, idle 30s"},
		{"idle_of_the_route", `timeout.linkerd.io/idle: 30s, timeout.linkerd.io/request: 3s`, `timeout.linkerd.io/idle: 5s`, "", "2 on [" + always + "] [], 0s of 0s, idle 5s"},
		{"of_the_service_beside_a_route", `retry.linkerd.io/http: "503", timeout.linkerd.io/request: 3s`, "", "", "1 on [" + always + "] [503], 0s of 3s"},
		{"of_the_route", `retry.linkerd.io/http: "503"`, `retry.linkerd.io/limit: "4", retry.linkerd.io/http: gateway-error`, "", "4 on [" + always + "] [502 503 504], 0s of 0s"},
		{"a_field_of_the_route", `retry.linkerd.io/http: "503"`, "", "retry: {attempts: 3, codes: [500]}, timeouts: {request: 2s}", "3 on [" + always + "] [500], 0s of 2s"},
		{"both_of_the_route", "", `retry.linkerd.io/limit: "0", timeout.linkerd.io/request: 1s`, "retry: {attempts: 3, codes: [500]}, timeouts: {request: 2s}", "0 on [] [], 0s of 1s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			manifests := fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: users, namespace: myapp, annotations: {%s}}
spec: {clusterIP: 10.96.0.5, selector: {app: users}, ports: [{name: http, port: 8080}]}
`, tt.service)
			if tt.rule != "" {
				tt.rule = ", " + tt.rule
			}
			if tt.route != "-" {
				manifests += fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: users, namespace: myapp, annotations: {%s}}
spec:
  parentRefs: [{group: "", kind: Service, name: users}]
  rules: [{backendRefs: [{name: users, port: 8080}]%s}]
`, tt.route, tt.rule)
			}
			d := compiletest.Resources(t, manifests, "dst/myapp/users.myapp.svc.cluster.local:8080")
			r := d[len(d)-1].(*plan.Destination).Routes[0]
			parts := []string{fmt.Sprintf("%d on %v %v, %s of %s", r.Retry.Attempts, r.Retry.On, r.Retry.Codes, r.Retry.PerTryTimeout, r.Timeout)}
			for _, bound := range []struct {
				what string
				d    time.Duration
			}{{"backend", r.BackendTimeout}, {"response", r.ResponseTimeout}, {"idle", r.IdleTimeout}} {
				if bound.d > 0 {
					parts = append(parts, fmt.Sprintf("%s %s", bound.what, bound.d))
				}
			}
			if got := strings.Join(parts, ", "); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
