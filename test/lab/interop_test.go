//go:build interop

package lab_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// interopCases are the cases of gRPC's interoperability tests that Go's client and server both have, but for those about
// credentials of a cloud: https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md. Go's server does not
// say which one it is, as pick_first_unary wants.
var interopCases = []string{
	"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
	"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
	"special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service", "rpc_soak", "channel_soak",
	"orca_per_rpc", "orca_oob",
}

// interopRoute is a way from a client to a server. Each server has a Service of its own name.
type interopRoute struct {
	name, client, service string
	// without are cases that make no sense.
	without []string
	// answered are the pods whose sidecars must have let calls in, by mutual TLS or not.
	answered []string
	secured  bool
}

var interopRoutes = []interopRoute{
	{name: "no_mesh", client: "outsider", service: "bare"},
	{name: "plain_to_meshed", client: "outsider", service: "lenient", answered: []string{"lenient"}},
	{name: "meshed_to_plain", client: "insider", service: "bare"},
	{name: "mutual_tls", client: "insider", service: "strict", answered: []string{"strict"}, secured: true},
	{
		name: "split", client: "insider", service: "split", answered: []string{"strict", "lenient"}, secured: true,
		without: []string{"orca_oob"}, // expects a call's load in the report that another call asked for: of the same server
	},
}

const interopPort = "9000"

// interopPod is a pod that runs one program, and its Service.
func interopPod(name, ip string, meshed bool, argv ...string) string {
	command, _ := json.Marshal(argv) // strings always can be
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: shop, labels: {app: %[1]s, tier: interop}, annotations: {fairlead.dev/inject: "%[2]t"}}
spec:
  containers:
  - name: app
    image: any
    command: %[3]s
    ports: [{name: grpc, containerPort: %[4]s}]
    readinessProbe: {tcpSocket: {port: %[4]s}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1000}
---`, name, meshed, command, interopPort) + service(name, ip, "app: "+name, "{name: grpc, port: "+interopPort+"}")
}

// TestGRPCInterop runs gRPC's own client against its own server, both in pods with and without sidecars. INTEROP says in
// which directory they are.
func TestGRPCInterop(t *testing.T) {
	var programs [2]string
	for i, name := range []string{"client", "server"} {
		programs[i] = binary("interop-" + name)
		raw, err := os.ReadFile(filepath.Join(os.Getenv("INTEROP"), name))
		if err != nil {
			t.Fatalf("%v: run these tests by `make interop`", err)
		}
		if err := os.WriteFile(programs[i], raw, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var manifests strings.Builder
	for _, name := range []string{"insider", "outsider"} {
		manifests.WriteString(app{name: name, replicas: 1, bare: name == "outsider"}.String())
	}
	for i, name := range []string{"bare", "lenient", "strict"} {
		manifests.WriteString(interopPod(name, fmt.Sprint("10.96.2.", 1+i), name != "bare", programs[1], "-port", interopPort))
	}
	manifests.WriteString(service("split", "10.96.2.9", "tier: interop", "{name: grpc, port: "+interopPort+"}") + virtualService("split", `
  http: [{route: [{destination: {host: strict}, weight: 50}, {destination: {host: lenient}, weight: 50}]}]`) +
		object("security.istio.io/v1", "PeerAuthentication", "strict", "  selector: {matchLabels: {app: strict}}\n  mtls: {mode: STRICT}"))
	m := startMesh(t, manifests.String())
	for _, r := range interopRoutes {
		t.Run(r.name, func(t *testing.T) {
			before := m.let(t, r)
			for _, name := range interopCases {
				if slices.Contains(r.without, name) {
					continue
				}
				t.Run(name, func(t *testing.T) {
					args := []string{
						programs[0], "-server_host", r.service, "-server_port", interopPort, "-test_case", name,
						"-soak_iterations", "50", "-soak_per_iteration_max_acceptable_latency_ms", "10000", "-soak_overall_timeout_seconds", "60",
					}
					if strings.HasPrefix(name, "orca_") {
						args = append(args, "-service_config_json", `{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`)
					}
					if code, out, errOut := m.exec(t, "deploy/"+r.client+"-v1", args...); code != 0 {
						t.Errorf("exit code %d\n%s%s", code, out, errOut)
					}
				})
			}
			for i, after := range m.let(t, r) {
				if after <= before[i] {
					t.Errorf("the sidecar of %s has let in %v calls, %v before", r.answered[i], after, before[i])
				}
			}
		})
	}
}

// let gives how many calls the sidecars of a route have let in, as they should come.
func (m *mesh) let(t *testing.T, r interopRoute) (calls []float64) {
	t.Helper()
	policy := "none"
	if r.secured {
		policy = "mutual_tls"
	}
	for _, name := range r.answered {
		n := 0.0
		for line := range strings.Lines(m.cli(t, "proxy-config", "metrics", name, "-n", "shop")) {
			if strings.HasPrefix(line, "istio_requests_total{") && strings.Contains(line, `connection_security_policy="`+policy+`"`) {
				var v float64
				fmt.Sscan(line[strings.LastIndex(line, "}")+1:], &v)
				n += v
			}
		}
		calls = append(calls, n)
	}
	return calls
}
