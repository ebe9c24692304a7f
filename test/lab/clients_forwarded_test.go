//go:build clients

package lab_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestServersForwarded: a client's sidecar goes through a real forward proxy, and tells a real server who has called, by what
// DestinationRules say; the app knows of neither.
func TestServersForwarded(t *testing.T) {
	t.Parallel()
	www := bodies(t)
	var manifests strings.Builder
	for _, kind := range []string{"", plainPrefix} { // proxies and servers with a sidecar, and without
		manifests.WriteString(service(kind+"bank", "", "app: nobody", "{name: tcp, port: 443}") +
			service(kind+"egress", "", "app: "+kind+"squid", "{name: tcp, port: 3128}") +
			object("networking.istio.io/v1", "DestinationRule", kind+"egress", "  host: "+kind+"egress\n"+
				"  trafficPolicy: {tunnel: {targetHost: "+kind+"nginx.shop.svc.cluster.local, targetPort: 80}}\n"+
				"  subsets: [{name: shut, trafficPolicy: {tunnel: {targetHost: nobody.invalid, targetPort: 80}}}]") +
			virtualService(kind+"bank", "  tcp: [{route: [{destination: {host: "+kind+"egress}}]}]"))
		for _, version := range []string{"v1", "v2"} {
			name := kind + "announced-" + version
			manifests.WriteString(service(name, "", "app: "+kind+"nginx", "{name: http, port: 80, targetPort: 8082}, {name: tcp, port: 81, targetPort: 8083}") +
				object("networking.istio.io/v1", "DestinationRule", name, "  host: "+name+"\n  trafficPolicy: {proxyProtocol: {version: "+strings.ToUpper(version)+"}}"))
		}
	}
	manifests.WriteString(service("shut", "", "app: nobody", "{name: tcp, port: 443}") +
		virtualService("shut", "  tcp: [{route: [{destination: {host: egress, subset: shut}}]}]"))
	p := startPairs(t, webServer(t, www), squid(t))
	p.write(t, "forwarded.yaml", manifests.String())
	run := func(t *testing.T, command string) (code int, out string) {
		t.Helper()
		code, out, errOut := p.exec(t, client, "sh", "-c", command)
		return code, strings.TrimSpace(out + errOut)
	}
	for _, kind := range []string{"", plainPrefix} {
		t.Run("tunnel_by_"+kind+"squid", func(t *testing.T) {
			eventually(t, "the tunnel to carry requests", func() bool {
				_, out := run(t, "curl -sS --max-time 20 http://"+kind+"bank:443/small.txt")
				return out == "small"
			})
			if code, out := run(t, "curl -sS -f --max-time 60 http://"+kind+"bank:443/big.bin | cmp - "+www+"/big.bin"); code != 0 {
				t.Errorf("64 MiB through the tunnel: %s", out)
			}
			if code, out := run(t, "curl -sS -f --max-time 60 -w '%{num_connects} %{http_code}' -o /dev/null -T "+www+"/mid.bin http://"+kind+"bank:443/put/"+kind+"t.bin"); code != 0 || out != "1 201" {
				t.Errorf("an upload through the tunnel: %s", out)
			}
		})
		for _, version := range []string{"v1", "v2"} {
			for port, protocol := range map[string]string{"80": "requests", "81": "connections"} {
				if port == "80" && kind == "" {
					continue // requests share the connections between sidecars, and bring no header
				}
				t.Run(fmt.Sprintf("header_%s_of_%s_to_%snginx", version, protocol, kind), func(t *testing.T) {
					name := kind + "announced-" + version
					_, address := run(t, "getent ahostsv4 "+name+" | head -n 1 | cut -d ' ' -f 1")
					want := fmt.Sprintf("from %s to %s port %s", p.find(t, client).IPs[0], address, port)
					eventually(t, want, func() bool {
						_, out := run(t, "curl -sS --max-time 20 http://"+name+":"+port+"/")
						return out == want
					})
				})
			}
		}
	}
	t.Run("a_tunnel_that_is_refused", func(t *testing.T) {
		eventually(t, "the connection to end without an answer", func() bool {
			code, _ := run(t, "curl -sS --max-time 60 http://shut:443/small.txt")
			return code == 52 || code == 56 // empty, or reset
		})
	})
	if t.Failed() {
		t.Log(p.cli(t, "proxy-config", "endpoints", client, "-n", "shop"))
	}
}
