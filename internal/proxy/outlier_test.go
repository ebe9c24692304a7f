package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// checks gives the outlier checks that a sidecar tells of, by address.
func (s *sidecar) checks() map[string]admin.EndpointDump {
	out := map[string]admin.EndpointDump{}
	for _, e := range s.dump().Endpoints {
		if strings.HasPrefix(e.Cluster, "outbound") {
			out[e.Address] = e
		}
	}
	return out
}

func TestOutlierDetection(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	good, bad := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080)), plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
	m.plainApp(good.Addr, says("ok"))
	var calls atomic.Int32
	m.plainApp(bad.Addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "14")
			return
		}
		http.Error(w, "broken", 500)
	}))
	rules := &model.OutlierDetection{Consecutive5xx: 3, MaxEjectionPercent: 100, Interval: time.Hour, BaseEjectionTime: time.Hour}
	guarded := func(rules *model.OutlierDetection, es ...plan.Endpoint) []plan.Resource {
		return backendOf(service(model.HTTP, es...), func(b *plan.Backend) { b.LB, b.Outlier = model.RoundRobin, rules })
	}
	c := m.client(orders)
	for _, tt := range []struct{ name, contentType string }{{"errors", "text/plain"}, {"statuses_of_gRPC", "application/grpc"}} {
		t.Run(tt.name, func(t *testing.T) {
			orders.apply(guarded(nil, good, bad)...)
			orders.apply(guarded(rules, good, bad)...)
			calls.Store(0)
			for range 40 {
				req, err := http.NewRequest("POST", usersURL+"/", strings.NewReader("x"))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", tt.contentType)
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				eventually(t, "the call counts at its endpoint", func() bool {
					got := orders.checks()
					return got[good.Addr.String()].Active == 0 && got[bad.Addr.String()].Active == 0
				})
			}
			if n := calls.Load(); n != 3 {
				t.Errorf("the failing endpoint was called %d times, want 3", n)
			}
			got := orders.checks()
			if e := got[bad.Addr.String()]; e.Outlier != "FAILED" || !strings.HasPrefix(e.OutlierReason, "3 errors in a row, until ") {
				t.Errorf("the failing endpoint: %+v", e)
			}
			var page strings.Builder
			if err := orders.directory.WriteMetrics(&page); err != nil || !strings.Contains(page.String(), `fairlead_outlier_ejections_active{cluster="outbound|8080||users-service.myapp.svc.cluster.local"} 1`) {
				t.Errorf("metrics, %v:\n%s", err, page.String())
			}
			if e := got[good.Addr.String()]; e.Outlier != "OK" || e.OutlierReason != "" {
				t.Errorf("the other: %+v", e)
			}
		})
	}
	t.Run("an_edit_of_the_rule_forgets_nothing", func(t *testing.T) {
		wider := *rules
		wider.MaxEjectionPercent = 60
		heavier := bad
		heavier.Weight = 7
		orders.apply(guarded(&wider, good, heavier)...)
		if e := orders.checks()[bad.Addr.String()]; e.Outlier != "FAILED" || e.Weight != 7 {
			t.Errorf("the failing endpoint: %+v", e)
		}
	})
	t.Run("none_left", func(t *testing.T) {
		orders.apply(guarded(nil, bad)...)
		orders.apply(guarded(rules, bad)...)
		for i := range 5 {
			resp, body := fetch(t, c, "GET", "/", "")
			want, text := 500, "broken"
			if i >= 3 {
				want, text = 503, fmt.Sprintf("no healthy upstream: outbound|8080||users-service.myapp.svc.cluster.local: excluded: %s ejected by outlierDetection for another ", bad.Addr)
			}
			if resp.StatusCode != want || !strings.Contains(body, text) {
				t.Errorf("call %d = %d %q, want %d %q", i+1, resp.StatusCode, body, want, text)
			}
		}
	})
	t.Run("opaque_connections", func(t *testing.T) {
		gone := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
		orders.apply(backendOf(service(model.TCP, gone), func(b *plan.Backend) { b.Outlier = rules })...)
		addr := m.entrance(orders, usersAddr())
		for range 3 {
			expectReset(t, addr)
		}
		eventually(t, "ejected", func() bool { return strings.HasPrefix(orders.checks()[gone.Addr.String()].OutlierReason, "3 errors") })
	})
}
