package lab_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const (
	innerIP = "10.96.0.120"
	addrIP  = "10.96.0.121"
	// nobodysIP leads nowhere.
	nobodysIP = "10.96.0.122"
)

// egressManifests have two addresses that are nobody's to the mesh, hosts that are called there in every way that a
// ServiceEntry knows, and beside each the same with a VirtualService; and hosts that nothing but a VirtualService names.
func egressManifests() string {
	hide := func(s string) string {
		return strings.Replace(s, "namespace: shop}", `namespace: shop, annotations: {networking.istio.io/exportTo: "~"}}`, 1)
	}
	entry := func(name, host, port, more string) string {
		return object("networking.istio.io/v1", "ServiceEntry", name, fmt.Sprintf("  hosts: [%q]\n  ports: [%s]\n%s", host, port, more))
	}
	teapot := func(name, host string) string {
		return object("networking.istio.io/v1", "VirtualService", name, fmt.Sprintf("  hosts: [%q]\n  http: [{directResponse: {status: 418}}]", host))
	}
	toInner := func(name, host string) string {
		return object("networking.istio.io/v1", "VirtualService", name, fmt.Sprintf(`
  hosts: [%[1]s]
  http: [{route: [{destination: {host: inner, port: {number: 80}}}]}]
  tls: [{match: [{sniHosts: [%[1]s]}], route: [{destination: {host: inner, port: {number: 3306}}}]}]`, host))
	}
	const web, secure = "{name: http, number: 80, protocol: HTTP}", "{name: tls, number: 443, protocol: TLS}"
	const dialled, resolved = "  resolution: NONE", "  resolution: DNS\n  endpoints: [{address: outer.shop.svc.cluster.local}]"
	// Every address leads to outer, whose port 443 gives a greeting of TLS back, where that of inner says something else.
	ports := http80 + ", {name: tls, port: 443, targetPort: 9000}, {name: other, port: 81, targetPort: web}"
	out := app{name: "client", replicas: 1}.String() + app{name: "outer", replicas: 1, args: `--tcp, "9000"`, bare: true}.String() +
		hide(service("outer", outerIP, "app: outer", ports)) + hide(service("outer-addressed", addrIP, "app: outer", ports)) +
		app{name: "inner", replicas: 1, args: `--greeting, "3306"`}.String() +
		service("inner", innerIP, "app: inner", http80+", {name: tcp-greeting, port: 3306}") +
		entry("address", "address.example.com", web, dialled+"\n  addresses: ["+addrIP+"]") +
		entry("none", "none.example.com", web, dialled) + entry("none-vs", "none-vs.example.com", web, dialled) + teapot("none-vs", "none-vs.example.com") +
		entry("wild", "*.wild.example.com", web, dialled) + entry("wild-vs", "*.wild-vs.example.com", web, dialled) + teapot("wild-vs", "*.wild-vs.example.com") +
		entry("dns", "dns.example.com", web, resolved) + entry("dns-vs", "dns-vs.example.com", web, resolved) + teapot("dns-vs", "dns-vs.example.com") +
		entry("sni", "sni.example.com", secure, dialled) + entry("sni-vs", "sni-vs.example.com", secure, dialled) + toInner("sni-vs", "sni-vs.example.com") +
		entry("dynamic", "*.shop.svc.cluster.local", web+", "+secure, "  resolution: DYNAMIC_DNS") +
		toInner("vs", "vs.example.com")
	return out
}

// TestEgress is what becomes of calls out of the mesh: which are allowed, where they go, and what they are counted as.
func TestEgress(t *testing.T) {
	t.Parallel()
	const refused, back, greeting = "refused", "the greeting of TLS", "something else"
	requests := []struct {
		address, host string
		any, only     string // ALLOW_ANY, REGISTRY_ONLY
		counted       string // "" for Istio's names of what is unknown
	}{
		{addrIP + ":80", "whatever.example.com", "200 outer", "200 outer", "address.example.com"},
		{outerIP + ":80", "none.example.com", "200 outer", "200 outer", "none.example.com"},
		{outerIP + ":80", "none-vs.example.com", "418", "418", "none-vs.example.com"},
		{outerIP + ":80", "a.wild.example.com", "200 outer", "200 outer", "*.wild.example.com"},
		{outerIP + ":80", "a.wild-vs.example.com", "418", "418", "*.wild-vs.example.com"},
		{outerIP + ":80", "dns.example.com", "200 outer", "200 outer", "dns.example.com"},
		{outerIP + ":80", "dns-vs.example.com", "418", "418", "dns-vs.example.com"},
		{outerIP + ":80", "vs.example.com", "200 inner", "200 inner", "inner.shop.svc.cluster.local"},
		{nobodysIP + ":80", "outer.shop.svc.cluster.local", "200 outer", "200 outer", "*.shop.svc.cluster.local"},
		{nobodysIP + ":80", "no-such-host.shop.svc.cluster.local", "503", "503", "*.shop.svc.cluster.local"},
		{outerIP + ":80", "unknown.example.com", "200 outer", "502", ""},
		{outerIP + ":81", "vs.example.com", "200 outer", refused, ""}, // no rule is for the port
	}
	greetings := []struct{ host, any, only, counted string }{
		{"outer.shop.svc.cluster.local", back, back, "*.shop.svc.cluster.local"},
		{"sni.example.com", back, back, "sni.example.com"},
		{"sni-vs.example.com", greeting, greeting, "inner.shop.svc.cluster.local"},
		{"vs.example.com", greeting, greeting, "inner.shop.svc.cluster.local"},
		{"unknown.example.com", back, refused, ""},
	}
	for policy, cluster := range map[string]string{"ALLOW_ANY": "PassthroughCluster", "REGISTRY_ONLY": "BlackHoleCluster"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, egressManifests(), withMesh("mesh.outboundPolicy="+policy))
			count := func(family, destination string) {
				t.Helper()
				if destination == "" {
					destination = cluster
				}
				eventually(t, family+" of "+destination, func() bool {
					all := m.do(t, client, http.MethodGet, "127.0.0.1:15090", "/stats/prometheus").body
					return len(keep(all, family, `reporter="source"`, `destination_service="`+destination+`"`)) > 0
				})
			}
			for _, tt := range requests {
				got, want := refused, tt.any
				if policy == "REGISTRY_ONLY" {
					want = tt.only
				}
				if a, err := request(t.Context(), m.client(t, client, tt.address), http.MethodGet, "http://"+tt.address+"/", "Host: "+tt.host); err == nil {
					got = strings.TrimSpace(fmt.Sprint(a.StatusCode, " ", a.echo.Name))
				}
				if got != want {
					t.Errorf("%s at %s: %s, want %s", tt.host, tt.address, got, want)
				}
				family := "istio_requests_total"
				if strings.HasSuffix(tt.address, ":81") {
					family = "istio_tcp_connections_opened_total" // nothing is looked into
				}
				count(family, tt.counted)
			}
			for _, tt := range greetings {
				got, want := refused, tt.any
				if policy == "REGISTRY_ONLY" {
					want = tt.only
				}
				err := tls.Client(m.dialTo(t, client, outerIP+":443"), &tls.Config{ServerName: tt.host}).HandshakeContext(t.Context())
				switch {
				case err == nil:
					t.Fatal("a handshake with a server that speaks no TLS")
				case strings.Contains(err.Error(), "unexpected handshake message"):
					got = back
				case strings.Contains(err.Error(), "does not look like a TLS handshake"):
					got = greeting
				}
				if got != want {
					t.Errorf("TLS to %s: %s (%v), want %s", tt.host, got, err, want)
				}
				count("istio_tcp_connections_opened_total", tt.counted)
			}
		})
	}
}
