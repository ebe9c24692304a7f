package lab_test

import (
	"strings"
	"testing"
)

// Open connections are gauges at both ends: while one is open, and when it is not any more. Requests are counted by the route that
// they took.
func TestOpenConnectionsAndRoutesAreMetrics(t *testing.T) {
	t.Parallel()
	const ip = "10.96.7.4"
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1, args: `--tcp, "9000"`}.String()+
		service("server", ip, "app: server", "{name: tcp, port: 9000, targetPort: 9000}, {name: http, port: 80, targetPort: web}")+`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server, namespace: shop}
spec:
  hosts: [server]
  http:
  - {name: api, match: [{uri: {prefix: /status}}], route: [{destination: {host: server}}]}
  - {name: rest, route: [{destination: {host: server}}]}
---
`)
	const server = "deploy/server-v1"
	const cluster = `cluster="outbound|9000||server.shop.svc.cluster.local"`
	before := m.metric(t, client, `fairlead_connections_open{from="app"}`)
	conn, err := m.talk(t.Context(), client, ip+":9000", "hello\n")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, "an open connection at both ends", func() bool {
		return m.metric(t, client, `fairlead_connections_open{from="app"}`) == before+1 &&
			m.metric(t, client, `fairlead_upstream_connections_active{`+cluster+`}`) == 1 &&
			m.metric(t, client, `fairlead_upstream_connections_open{to="peer",state="shared"}`) >= 1 &&
			m.metric(t, server, `fairlead_connections_open{from="peer"}`) >= 1
	})
	conn.Close()
	eventually(t, "none", func() bool {
		return m.metric(t, client, `fairlead_connections_open{from="app"}`) == before && m.metric(t, client, `fairlead_upstream_connections_active{`+cluster+`}`) == 0
	})

	m.call(t, client, "http://server/", "--count", "5")
	m.call(t, client, "http://server/status/404", "--count", "3")
	lines := func() string {
		return strings.Join(keep(m.cli(t, "proxy-config", "metrics", m.find(t, client).Name, "-n", "shop"), "fairlead_route_requests_total"), "\n")
	}
	eventually(t, "requests by route", func() bool {
		got := lines()
		return strings.Contains(got, `route="rest",response_class="2xx"} 5`) && strings.Contains(got, `route="api",response_class="4xx"} 3`)
	})
}
