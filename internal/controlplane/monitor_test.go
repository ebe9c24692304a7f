package controlplane

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
)

// TestMonitorShowsNeighboursNoMoreThanMetricsAndHealth: the port is open to every pod of the cluster.
func TestMonitorShowsNeighboursNoMoreThanMetricsAndHealth(t *testing.T) {
	p, err := New(Options{
		Sources: []string{t.TempDir()}, Listen: "127.0.0.1:0", StateDir: t.TempDir(), TokenKey: "key", Pprof: true,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	public := []string{"/metrics", "/version"}
	private := []string{"/debug/syncz", "/debug/problemz", "/debug/endpointz", "/debug/pprof/", "/debug/pprof/cmdline"}
	for _, tt := range []struct {
		name, from, to string
		local          bool
	}{
		{"port_forward", "127.0.0.1:40000", "127.0.0.1:15014", true},
		{"port_forward_v6", "[::1]:40000", "[::1]:15014", true},
		{"port_forward_to_a_wildcard_socket", "[::ffff:127.0.0.1]:40000", "[::ffff:127.0.0.1]:15014", true},
		{"the_same_machine", "10.244.0.1:40000", "10.244.0.1:15014", true},
		{"the_same_machine_to_a_wildcard_socket", "10.244.0.1:40000", "[::ffff:10.244.0.1]:15014", true},
		{"a_pod", "10.244.0.7:40000", "10.244.0.3:15014", false},
		{"a_pod_v6", "[fd00::7]:40000", "[fd00::3]:15014", false},
		{"no_address", "@", "127.0.0.1:15014", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ask := func(path string) int {
				t.Helper()
				to := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tt.to))
				r := httptest.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(to)), http.MethodGet, path, http.NoBody)
				r.RemoteAddr = tt.from
				w := httptest.NewRecorder()
				p.monitor().ServeHTTP(w, r)
				return w.Code
			}
			for _, path := range public {
				if got := ask(path); got != http.StatusOK {
					t.Errorf("%s = %d", path, got)
				}
			}
			want := http.StatusForbidden
			if tt.local {
				want = http.StatusOK
			}
			for _, path := range private {
				if got := ask(path); got != want {
					t.Errorf("%s = %d, want %d", path, got, want)
				}
			}
		})
	}
}

// stuckWriter is a client that does not read: what is written to it waits until it goes.
type stuckWriter struct {
	once        sync.Once
	begun, gone chan struct{}
}

func (w *stuckWriter) Write(b []byte) (int, error) {
	w.once.Do(func() { close(w.begun) })
	<-w.gone
	return len(b), nil
}

// TestReaderOfMetricsHoldsNothingUp: streams count each response that they send, and others read the page.
func TestReaderOfMetricsHoldsNothingUp(t *testing.T) {
	p, err := New(Options{
		Sources: []string{t.TempDir()}, Listen: "127.0.0.1:0", StateDir: t.TempDir(), TokenKey: "key",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &stuckWriter{begun: make(chan struct{}), gone: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- p.writeMetrics(w) }()
	<-w.begun
	p.metrics.badTokens.Inc()
	if err := p.writeMetrics(io.Discard); err != nil {
		t.Error(err)
	}
	close(w.gone)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
