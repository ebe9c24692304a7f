//go:build proxyless

package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestProxylessRenewal has certificates renewed, and the root replaced, while gRPC apps of four libraries call servers by mutual TLS:
// one behind a sidecar, and two that end it themselves.
func TestProxylessRenewal(t *testing.T) {
	program, commands, env := proxylessPrograms(t)
	servers := []struct{ name, template string }{{"strict", "sidecar"}, {"native", "grpc-agent"}, {"snake", "grpc-agent"}}
	var manifests strings.Builder
	agents := []string{}
	for i, server := range servers {
		serve := []string{program, "server", server.name + " for ", ":" + proxylessPort}
		if server.name == "snake" {
			serve = []string{"python3", filepath.Join(os.Getenv("FAIRLEAD_PROXYLESS"), "server.py"), "snake for ", "0.0.0.0:" + proxylessPort}
		}
		manifests.WriteString(agentPod(server.name, server.name, server.template, env, serve...) + mutual(server.name) +
			service(server.name, fmt.Sprint("10.96.4.", 1+i), "app: "+server.name, "{name: grpc, port: "+proxylessPort+"}") +
			peerAuthentication("shop", server.name, "{selector: {matchLabels: {app: "+server.name+"}}, mtls: {mode: STRICT}}"))
		if server.template != "sidecar" {
			agents = append(agents, server.name)
		}
		for _, a := range proxylessApps {
			client := a.name + "-" + server.name
			argv := append(slices.Clone(commands[a.name]), "xds:///"+server.name+".shop.svc.cluster.local:"+proxylessPort, proxylessCtl)
			manifests.WriteString(agentPod(client, a.name, "grpc-agent", env, argv...))
			agents = append(agents, client)
		}
	}
	m := startMesh(t, manifests.String(), withMesh(shortLived))
	// A library has new files a few seconds after they were written: by the second renewal it has those of the first.
	r := renewal{mesh: m, loads: map[string]func(*testing.T) (int, string){}, settles: 2}
	behind := m.shownCertificates("strict")
	r.certificates = func(t *testing.T) map[string]string {
		all := behind(t)
		for _, name := range agents {
			_, out, _ := m.exec(t, name, "cat", "/run/fairlead/data/cert-chain.pem")
			all[name] = out
		}
		return all
	}
	for _, server := range servers {
		for _, a := range proxylessApps {
			client := a.name + "-" + server.name
			m.awaitProxyless(t, client)
			within(t, 3*patience, "the first answer", func() bool { return m.proxyless(t, client, "n=1").Failed == 0 })
			r.loads[client] = func(t *testing.T) (int, string) {
				report := m.proxyless(t, client, "n=20&c=2")
				answered := report.Answered[server.name+" for spiffe://cluster.local/ns/shop/sa/"+client]
				if answered != 20 {
					return answered, fmt.Sprintf("of 20 calls %v were answered and %d failed: %s", report.Answered, report.Failed, report.Error)
				}
				return 20, ""
			}
		}
	}
	t.Run("renewed", r.twice)
	t.Run("the_root_is_replaced", r.root)
}
