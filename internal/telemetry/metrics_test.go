package telemetry

import (
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

func labels(r Reporter) Labels {
	return Labels{
		Reporter:        r,
		Source:          plan.WorkloadInfo{Namespace: "myapp", Name: "orders-service", App: "orders-service", CanonicalName: "orders-service"},
		Destination:     plan.WorkloadInfo{Namespace: "myapp", Name: "users-v1", App: "users", Version: "v1", CanonicalName: "users", CanonicalRevision: "v1", Cluster: "Kubernetes"},
		SourcePrincipal: "spiffe://cluster.local/ns/myapp/sa/orders",
		Host:            "users-service.myapp.svc.cluster.local",
		Service:         model.Key{Namespace: "myapp", Name: "users-service"},
		Protocol:        "http",
		MutualTLS:       true,
	}
}

func scrape(t *testing.T, r *Registry) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteMetrics(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWriteMetricsPrintsIstiosNamesAndLabels(t *testing.T) {
	r := NewRegistry("1.2.3")
	r.HTTP(labels(Destination)).Observe(&Record{Code: 200, Duration: 3 * time.Millisecond, Received: 0, Sent: 700})
	r.HTTP(labels(Source)).Observe(&Record{Code: 503, Flags: "UH", Duration: time.Millisecond / 4})
	tcp := r.TCP(labels(Source))
	tcp.Opened()
	tcp.Bytes(5, 7)
	got := scrape(t, r)
	for _, want := range []string{
		`istio_build{component="proxy",tag="1.2.3"} 1`,
		`istio_requests_total{reporter="destination",source_workload="orders-service",source_workload_namespace="myapp",` +
			`source_principal="spiffe://cluster.local/ns/myapp/sa/orders",source_app="orders-service",source_version="unknown",` +
			`source_canonical_service="orders-service",source_canonical_revision="latest",source_cluster="unknown",` +
			`destination_workload="users-v1",destination_workload_namespace="myapp",destination_principal="unknown",` +
			`destination_app="users",destination_version="v1",destination_canonical_service="users",destination_canonical_revision="v1",` +
			`destination_cluster="Kubernetes",destination_service="users-service.myapp.svc.cluster.local",destination_service_name="users-service",` +
			`destination_service_namespace="myapp",request_protocol="http",connection_security_policy="mutual_tls",response_code="200",response_flags="-"} 1`,
		`connection_security_policy="unknown",response_code="503",response_flags="UH"} 1`,
		`,le="1"} 0`, `,le="5"} 1`, `,le="+Inf"} 1`, "istio_request_duration_milliseconds_sum{", "istio_request_bytes_count{",
		`response_flags="-"} 700`, `request_protocol="tcp"`,
		"istio_tcp_connections_opened_total{", "istio_tcp_connections_closed_total{",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("scrape lacks %s\n%s", want, got)
		}
	}
	for line := range strings.Lines(got) {
		switch {
		case strings.HasPrefix(line, "istio_tcp_received_bytes_total"):
			if !strings.HasSuffix(line, " 5\n") {
				t.Errorf("received: %s", line)
			}
		case strings.HasPrefix(line, "istio_tcp_sent_bytes_total"):
			if !strings.HasSuffix(line, " 7\n") {
				t.Errorf("sent: %s", line)
			}
		}
	}
}

func TestEqualLabelsShareAScope(t *testing.T) {
	r := NewRegistry("x")
	if a, b := r.HTTP(labels(Source)), r.HTTP(labels(Source)); a != b {
		t.Error("HTTP gave two scopes for equal labels")
	}
	if a, b := r.TCP(labels(Source)), r.TCP(labels(Source)); a != b {
		t.Error("TCP gave two scopes for equal labels")
	}
}

func TestIdleSeriesLeaveAndComeBackWithTheirCount(t *testing.T) {
	r := NewRegistry("x")
	now := time.Unix(1_000_000, 0)
	r.now = func() time.Time { return now }
	s := r.HTTP(labels(Source))
	s.Observe(&Record{Code: 200})
	now = now.Add(idle + time.Second)
	if got := scrape(t, r); strings.Contains(got, `response_code="200"`) {
		t.Error("series is still there after ten idle minutes")
	}
	s.Observe(&Record{Code: 200})
	if got := scrape(t, r); !strings.Contains(got, `response_code="200",response_flags="-"} 2`) {
		t.Errorf("a series that is used again must go on counting:\n%s", got)
	}
}

func TestLabelEscapes(t *testing.T) {
	if got, want := string(label(nil, "a", "x\"y\\z\n")), `a="x\"y\\z\n"`; got != want {
		t.Errorf("label = %s, want %s", got, want)
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	s := NewRegistry("x").HTTP(labels(Source))
	o := &Record{Code: 200, Duration: time.Millisecond, Received: 10, Sent: 1024}
	if n := testing.AllocsPerRun(100, func() { s.Observe(o) }); n != 0 {
		t.Errorf("%v allocations per observation, want 0", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	s := NewRegistry("x").HTTP(labels(Source))
	for b.Loop() {
		s.Observe(&Record{Code: 200, Duration: time.Millisecond, Received: 10, Sent: 1024})
	}
}
