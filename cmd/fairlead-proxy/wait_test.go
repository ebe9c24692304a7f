package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestWait(t *testing.T) {
	var asked atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/later", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/never", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "waiting for the control plane: no certificate", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	tests := []struct {
		name string
		args []string
		want string // of the error, empty for none
	}{
		{"ready", []string{"--url", s.URL + "/ready"}, ""},
		{"ready later", []string{"--url", s.URL + "/later"}, ""},
		{"not in time", []string{"--url", s.URL + "/never", "--timeout", "3s"}, "wait: the sidecar is not ready after 3s: waiting for the control plane: no certificate"},
		{"no answer", []string{"--url", s.URL + "/silent", "--timeout", "50ms"}, "wait: the sidecar is not ready after 50ms: no answer"},
		{"nobody there", []string{"--url", "http://127.0.0.1:1/", "--timeout", "3s"}, "connection refused"},
		{"no time", []string{"--timeout", "0s"}, "--timeout 0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // two of them wait for seconds: as long as a busy machine may take to ask once
			err := wait(t.Context(), tt.args)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("wait(%q) = %v, want %q", tt.args, err, tt.want)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := wait(ctx, []string{"--url", s.URL + "/never"}); err == nil || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("wait = %v", err)
		}
	})
}
