package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func TestFault(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.serveApp(users, says("ok"))
	c := m.client(orders)
	tests := []struct {
		name   string
		fault  model.Fault
		status int
		body   string
		flag   string
		atMost time.Duration
	}{
		{"abort", model.Fault{AbortStatus: 418, AbortPercent: 100}, 418, "fault filter abort", "FI", time.Minute},
		{"abort_nobody", model.Fault{AbortStatus: 418}, 200, "ok", "-", time.Minute},
		{"delay", model.Fault{Delay: 30 * time.Millisecond, DelayPercent: 100}, 200, "ok", "DI", time.Minute},
		{"delay_nobody", model.Fault{Delay: time.Hour}, 200, "ok", "-", time.Minute},
		{"delay_and_abort", model.Fault{Delay: time.Millisecond, DelayPercent: 100, AbortStatus: 500, AbortPercent: 100}, 500, "fault filter abort", "FI,DI", time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			orders.apply(with(service(model.HTTP, users.endpoint(8080)), func(d *plan.Destination) { d.Routes[0].Fault = &tt.fault })...)
			start := time.Now()
			resp, body := fetch(t, c, "GET", "/", "")
			if resp.StatusCode != tt.status || !strings.HasPrefix(body, tt.body) {
				t.Errorf("= %d %q, want %d %q", resp.StatusCode, body, tt.status, tt.body)
			}
			if took := time.Since(start); tt.fault.DelayPercent == 100 && took < tt.fault.Delay {
				t.Errorf("took %s, want at least %s", took, tt.fault.Delay)
			}
			expectMetric(t, orders, "istio_requests_total", fmt.Sprintf(`response_code="%d",response_flags=%q`, tt.status, tt.flag))
		})
	}
}

// The proxy's own answers to gRPC are gRPC's.
func TestAnswersToGRPC(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.meshed(users)
	c := m.client(orders)
	tests := []struct {
		name, code string
		config     []plan.Resource
	}{
		{"unavailable", "14", service(model.GRPC)},
		{"app_gone", "14", service(model.GRPC, users.endpoint(8080))},
		{"no_route", "12", with(service(model.GRPC), func(d *plan.Destination) { d.Routes = nil })},
		{"timeout", "4", with(service(model.GRPC), func(d *plan.Destination) {
			d.Routes[0].Fault = &model.Fault{AbortStatus: 504, AbortPercent: 100}
		})},
		{"direct_response", "14", with(service(model.GRPC), func(d *plan.Destination) {
			d.Routes[0].Backends, d.Routes[0].Direct = nil, &model.DirectResponse{Status: 503, Body: []byte("no backend\n")}
		})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			orders.apply(tt.config...)
			req, _ := http.NewRequest("POST", usersURL+"/users.v1.Users/Get", strings.NewReader("x"))
			req.Header.Set("Content-Type", "application/grpc+proto")
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 200 || resp.Header.Get("Grpc-Status") != tt.code || resp.Header.Get("Grpc-Message") == "" || len(body) > 0 {
				t.Errorf("= %d %v %q, want grpc-status %s", resp.StatusCode, resp.Header, body, tt.code)
			}
			expectMetric(t, orders, "istio_requests_total", `request_protocol="grpc"`, `grpc_response_status="`+tt.code+`"`)
		})
	}
}
