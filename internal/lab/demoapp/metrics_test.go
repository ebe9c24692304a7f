package demoapp

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestServerMeasuresItself(t *testing.T) {
	s := newServer(Identity{Name: "demo"})
	s.own = &durations{byStatus: map[int]*histogram{}}
	srv := httptest.NewServer(s.routes())
	t.Cleanup(srv.Close)
	for _, path := range []string{"/", "/status/404", "/status/404", "/healthz", "/stream?count=2&interval=1ms"} {
		do(t, srv, http.MethodGet, path, "")
	}
	_, page := do(t, srv, http.MethodGet, metricsPath, "")
	for _, want := range []string{
		`http_request_duration_seconds_count{status="200"} 2`, `http_request_duration_seconds_count{status="404"} 2`,
		`http_request_duration_seconds_bucket{status="404",le="+Inf"} 2`, `http_request_duration_seconds_bucket{status="404",le="10"} 2`,
	} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("no line %s in\n%s", want, page)
		}
	}
}

func TestServerFails(t *testing.T) {
	s := newServer(Identity{Name: "demo"})
	s.fail = 1
	srv := httptest.NewServer(s.routes())
	t.Cleanup(srv.Close)
	if status, _ := do(t, srv, http.MethodGet, "/", ""); status != http.StatusInternalServerError {
		t.Errorf("status %d, want 500", status)
	}
	if status, _ := do(t, srv, http.MethodGet, "/healthz", ""); status != http.StatusOK {
		t.Errorf("the probe got %d", status)
	}
}
