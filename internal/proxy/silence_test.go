package proxy

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/fairlead/internal/model"
)

// TestSilentEndpoint: a peer whose kernel takes connections, and that says nothing, is shown as silent for as long as it is called, for there is no other one.
func TestSilentEndpoint(t *testing.T) {
	m := newMesh(t)
	orders := m.sidecar("orders")
	hung := plainEndpoint(netip.AddrPortFrom(m.ip(), 8080))
	hung.Meshed, hung.Identity = true, "spiffe://cluster.local/ns/myapp/sa/users"
	m.listen(netip.AddrPortFrom(hung.Addr.Addr(), portMesh), func(ctx context.Context, _ net.Conn) { <-ctx.Done() })
	orders.apply(service(model.HTTP, hung)...)
	if e := orders.checks()[hung.Addr.String()]; e.Outlier != "OK" {
		t.Fatalf("before it is called: %+v", e)
	}
	c := m.client(orders)
	ctx, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	calls.Go(func() {
		for ctx.Err() == nil {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, usersURL+"/", http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			if resp, err := c.Do(req); err == nil { // a 503, once the dial has failed
				resp.Body.Close()
			}
		}
	})
	eventually(t, "the endpoint to be shown as silent", func() bool {
		e := orders.checks()[hung.Addr.String()]
		return e.Outlier == "FAILED" && strings.HasPrefix(e.OutlierReason, "silent: ")
	})
	if hasLine(metricsOf(t, orders), []string{"fairlead_peers_silent_total 0"}) {
		t.Error("an endpoint is silent, and the metric is 0")
	}
}
