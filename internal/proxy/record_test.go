package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/telemetry"
)

// notes is a sink that keeps what both sides of a call are to agree about.
type notes struct {
	mu   sync.Mutex
	told []note
}

type note struct {
	Reporter                  telemetry.Reporter
	Call, Cluster, Route      string
	Client, Dialled, Endpoint netip.Addr
	Code                      int
	Received, Sent            int64
	HasHead                   bool
}

func (n *notes) Record(r *telemetry.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = append(n.told, note{
		Reporter: r.Reporter, Call: fmt.Sprintf("%s %s %s", r.Method, r.Path, r.Protocol), Cluster: r.Cluster, Route: r.Route,
		Client: r.Client.Addr(), Dialled: r.Dialled.Addr(), Endpoint: r.Endpoint.Addr(), Code: r.Code,
		Received: r.Received, Sent: r.Sent, HasHead: r.HeadAfter > 0 && r.HeadAfter <= r.Duration,
	})
}

func (n *notes) all() []note {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]note(nil), n.told...)
}

// A sink hears of a call once on each side, of the same call, in roles that mean the same.
func TestBothSidesRecordACall(t *testing.T) {
	m := newMesh(t)
	orders, users := m.sidecar("orders"), m.sidecar("users")
	m.plainApp(app(users), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "ok")
	}))
	n := new(notes)
	for _, s := range []*sidecar{orders, users} {
		s.outbound.Sinks, s.inbound.Sinks = telemetry.Sinks{n}, telemetry.Sinks{n}
	}
	m.meshed(users)
	orders.apply(service(model.HTTP, users.endpoint(8080))...)
	c := m.client(orders)
	if resp, body := fetch(t, c, "POST", "/orders", "hello"); resp.StatusCode != 200 {
		t.Fatalf("= %d %q", resp.StatusCode, body)
	}
	eventually(t, "both have recorded", func() bool { return len(n.all()) == 2 })
	got := n.all()
	if got[0].Reporter == telemetry.Source {
		got[0], got[1] = got[1], got[0]
	}
	served := note{
		Reporter: telemetry.Destination, Call: "POST /orders HTTP/1.1", Cluster: "inbound|8080||", Route: "default",
		Client: orders.ip, Dialled: users.ip, Endpoint: users.ip, Code: 200, Received: 5, Sent: 2, HasHead: true,
	}
	called := served
	called.Reporter, called.Cluster, called.Dialled = telemetry.Source, "outbound|8080||users-service.myapp.svc.cluster.local", vip
	called.Client = got[1].Client // the test's own client
	if diff := cmp.Diff([]note{served, called}, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}
