package controlplane

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/config"
	"fairlead.dev/fairlead/internal/xds"
)

// TestMetricsOfTheControlPlane holds the names and labels to what Istio's control-plane dashboard asks for.
func TestMetricsOfTheControlPlane(t *testing.T) {
	p, err := New(Options{
		Sources: []string{t.TempDir()}, Listen: "127.0.0.1:0", StateDir: t.TempDir(), TokenKey: "key", Version: "1.2.3",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	kinds := config.NewTable()
	trace := p.engine.trace
	trace.count(kinds["Service"], change{is: true})
	trace.count(kinds["EndpointSlice"], change{was: true, is: true})
	trace.count(kinds["VirtualService"], change{was: true})
	trace.count(kinds["VirtualService"], change{}) // the end of what was never read
	trace.committed([lanes]bool{laneEndpoints: true})
	trace.failed(2)
	p.metrics.sentStandard(xds.Endpoints, 3, 1500, 2*time.Millisecond)

	var page bytes.Buffer
	if err := p.writeMetrics(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`pilot_k8s_reg_events{event="add",type="Service"} 1`, `pilot_k8s_reg_events{event="update",type="EndpointSlice"} 1`,
		`pilot_k8s_cfg_events{event="delete",type="VirtualService"} 1`,
		`pilot_push_triggers{type="endpoint"} 1`, `pilot_total_xds_internal_errors 2`,
		`pilot_xds_pushes{type="eds"} 3`, `pilot_xds_push_time_bucket{type="eds",le="0.01"} 1`, `pilot_xds_push_time_bucket{type="eds",le="0.001"} 0`,
		`pilot_xds_config_size_bytes_bucket{type="eds",le="10000"} 1`, `pilot_xds_config_size_bytes_bucket{type="eds",le="1000"} 0`,
		`istio_build{component="pilot",tag="1.2.3"} 1`, `pilot_xds 0`, `pilot_proxy_convergence_time_count 0`,
	} {
		if !strings.Contains(page.String(), want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	for _, name := range []string{
		"go_goroutines ", "go_memstats_alloc_bytes_total ", "go_memstats_mallocs_total ", "go_memstats_heap_inuse_bytes ", "go_memstats_stack_inuse_bytes ",
		"go_gc_heap_live_bytes ", "process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_virtual_memory_bytes ", "process_open_fds ",
	} {
		if !strings.Contains(page.String(), "\n"+name) {
			t.Errorf("no metric %s", name)
		}
	}
	if n := strings.Count(page.String(), "pilot_k8s_cfg_events{"); n != 1 {
		t.Errorf("%d series of pilot_k8s_cfg_events, want 1", n)
	}
}
