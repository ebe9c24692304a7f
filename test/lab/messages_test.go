package lab_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/lab/demoapp"
)

// sum adds the values of a metric's series of a sidecar whose labels hold all parts.
func (m *mesh) sum(t *testing.T, name, metric string, parts ...string) (total float64) {
	t.Helper()
	lines := m.cli(t, "proxy-config", "metrics", m.find(t, name).Name, "-n", "shop")
	for line := range strings.Lines(lines) {
		matches := strings.HasPrefix(line, metric+"{")
		for _, p := range parts {
			matches = matches && strings.Contains(line, p)
		}
		if !matches {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		total += v
	}
	return total
}

// Messages of gRPC streams are counted at both ends, as many as the client has sent and got, however they are cut into frames.
func TestMessagesOfGRPCAreCounted(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+
		service("server", "10.96.7.3", "app: server", "{name: grpc, port: 90, targetPort: web}"))
	const calls, sent, received = 20, 30, 7
	url := fmt.Sprintf("http://server:90%s?count=%d&interval=1ms", demoapp.StreamMethod, received)
	body := strings.Repeat("x", 3000) // larger than what is left of a buffer, smaller than a frame
	r := m.call(t, client, url, "--grpc", "--count", strconv.Itoa(calls), "--messages", strconv.Itoa(sent), "--body", body)
	if r.OK != calls || r.Messages != calls*received {
		t.Fatalf("%d of %d calls answered, %d messages: %v", r.OK, calls, r.Messages, r.Errors)
	}
	plain := m.call(t, client, "http://server:90/", "--http2", "--method", "POST", "--count", "3", "--body", body)
	if plain.OK != 3 {
		t.Fatal(plain.Errors)
	}
	for name, reporter := range map[string]string{client: "source", "deploy/server-v1": "destination"} {
		labels := []string{`reporter="` + reporter + `"`, `request_protocol="grpc"`, `grpc_response_status="0"`, `destination_workload="server-v1"`, `source_workload="client-v1"`}
		eventually(t, "all calls counted at "+name, func() bool { return m.sum(t, name, "istio_requests_total", labels...) == calls })
		// The messages of a call are counted after the call itself.
		eventually(t, "messages of answers counted at "+name, func() bool {
			return m.sum(t, name, "istio_response_messages_total", labels...) >= float64(r.Messages)
		})
		eventually(t, "messages of requests counted at "+name, func() bool {
			return m.sum(t, name, "istio_request_messages_total", labels...) >= calls*sent
		})
		if got := m.sum(t, name, "istio_response_messages_total", labels...); got != float64(r.Messages) {
			t.Errorf("%s: %v messages of answers, the client got %d", name, got, r.Messages)
		}
		if got, all := m.sum(t, name, "istio_request_messages_total", labels...), m.sum(t, name, "istio_request_messages_total"); got != calls*sent || all != got {
			t.Errorf("%s: %v messages of requests, %v in all, the client sent %d", name, got, all, calls*sent)
		}
	}
}
