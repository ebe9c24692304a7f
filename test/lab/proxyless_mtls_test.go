//go:build proxyless

package lab_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// agentPod is a pod that runs one program and gets what a template of Istio's gives it.
func agentPod(name, app, template string, env map[string]string, argv ...string) string {
	command, _ := json.Marshal(argv) // strings always can be
	vars := []map[string]string{}
	for k, v := range env {
		vars = append(vars, map[string]string{"name": k, "value": v})
	}
	environ, _ := json.Marshal(vars)
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: shop, labels: {app: %[2]s}, annotations: {inject.istio.io/templates: %[3]s}}
spec:
  serviceAccountName: %[1]s
  containers:
  - {name: app, image: any, command: %[4]s, env: %[5]s}
---`, name, app, template, command, environ)
}

// mutual has gRPC libraries call a host by mutual TLS, as Istio's documentation of proxyless gRPC has it.
func mutual(host string) string {
	return object("networking.istio.io/v1", "DestinationRule", host, "  host: "+host+"\n  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}")
}

// TestProxylessMutualTLS has gRPC apps with an agent beside them, of four libraries, call servers by mutual TLS: behind a
// sidecar that is STRICT or PERMISSIVE, and servers that end it themselves, by xDS, of two libraries. Those are called by apps
// with sidecars too.
func TestProxylessMutualTLS(t *testing.T) {
	// The servers without a sidecar, by the hosts by which apps with one call them: STRICT, and known by their agents; by a rule that
	// says ISTIO_MUTUAL; by their label; and one that is PERMISSIVE and takes plain calls.
	behindSidecars := map[string]string{
		"native-unruled": "native", "snake-unruled": "snake", "native": "native", "snake": "snake", "labelled": "labelled", "plain": "plain",
	}
	program, commands, env := proxylessPrograms(t)
	servers := map[string]string{"strict": "sidecar", "permissive": "sidecar", "native": "grpc-agent", "snake": "grpc-agent"}
	var manifests strings.Builder
	number := 0
	for name, template := range servers {
		number++
		serve := []string{program, "server", name + " for ", ":" + proxylessPort}
		if name == "snake" {
			serve = []string{"python3", filepath.Join(os.Getenv("FAIRLEAD_PROXYLESS"), "server.py"), name + " for ", "0.0.0.0:" + proxylessPort}
		}
		manifests.WriteString(agentPod(name, name, template, env, serve...))
		manifests.WriteString(service(name, fmt.Sprint("10.96.4.", number), "app: "+name, "{name: grpc, port: "+proxylessPort+"}") + mutual(name))
		if name != "permissive" {
			manifests.WriteString(peerAuthentication("shop", name, "{selector: {matchLabels: {app: "+name+"}}, mtls: {mode: STRICT}}"))
		}
	}
	target := func(server string) string { return "xds:///" + server + ".shop.svc.cluster.local:" + proxylessPort }
	for _, a := range proxylessApps {
		for server := range servers {
			manifests.WriteString(agentPod(a.name+"-"+server, a.name, "grpc-agent", env, append(slices.Clone(commands[a.name]), target(server), proxylessCtl)...))
		}
	}
	manifests.WriteString(agentPod("stranger", "stranger", "grpc-simple", nil, program, "client", target("strict"), proxylessCtl))
	manifests.WriteString(agentPod("plain", "plain", "grpc-agent", nil, program, "server", "plain for ", ":"+proxylessPort))
	manifests.WriteString(service("plain", "10.96.4.9", "app: plain", "{name: grpc, port: "+proxylessPort+"}"))
	labelled := agentPod("labelled", "labelled", "grpc-agent", nil, program, "server", "labelled for ", ":"+proxylessPort)
	manifests.WriteString(strings.Replace(labelled, "{app: labelled}", "{app: labelled, security.istio.io/tlsMode: istio}", 1))
	manifests.WriteString(service("labelled", "10.96.4.10", "app: labelled", "{name: grpc, port: "+proxylessPort+"}"))
	for i, app := range []string{"native", "snake"} { // of whose hosts no rule says how they are called
		manifests.WriteString(service(app+"-unruled", fmt.Sprint("10.96.4.", 11+i), "app: "+app, "{name: grpc, port: "+proxylessPort+"}"))
	}
	for host := range behindSidecars {
		manifests.WriteString(agentPod("meshed-"+host, "meshed", "sidecar", nil, program, "client", "dns:///"+host+".shop.svc.cluster.local:"+proxylessPort, proxylessCtl))
	}
	m := startMesh(t, manifests.String())

	for host, server := range behindSidecars {
		t.Run("a_sidecar_calls_"+host, func(t *testing.T) {
			client := "meshed-" + host
			want := server + " for spiffe://cluster.local/ns/shop/sa/" + client
			if host == "plain" {
				want = "plain for nobody"
			}
			m.awaitProxyless(t, client)
			within(t, 3*patience, "the first answer", func() bool { return m.proxyless(t, client, "n=1").Answered[want] == 1 })
			if r := m.proxyless(t, client, "n=500&c=4"); r.Failed > 0 || r.Answered[want] != 500 {
				t.Errorf("of 500 calls %v were answered and %d failed: %s", r.Answered, r.Failed, r.Error)
			}
			principal := `destination_principal="spiffe://cluster.local/ns/shop/sa/` + server + `"`
			if host == "plain" {
				principal = `destination_principal="unknown"`
			}
			if out := m.cli(t, "proxy-config", "metrics", client+".shop"); !strings.Contains(out, principal) {
				t.Errorf("no call is counted with %s:\n%s", principal, out)
			}
		})
	}
	for _, a := range proxylessApps {
		for server := range servers {
			t.Run(a.name+"_calls_"+server, func(t *testing.T) {
				client := a.name + "-" + server
				m.awaitProxyless(t, client)
				want := server + " for spiffe://cluster.local/ns/shop/sa/" + client
				within(t, 3*patience, "the first answer", func() bool { return m.proxyless(t, client, "n=1").Answered[want] == 1 })
				if r := m.proxyless(t, client, "n=500&c=4"); r.Failed > 0 || r.Answered[want] != 500 {
					t.Errorf("of 500 calls %v were answered and %d failed: %s", r.Answered, r.Failed, r.Error)
				}
			})
		}
	}
	t.Run("who_has_no_certificate_is_refused", func(t *testing.T) {
		m.awaitProxyless(t, "stranger")
		if r := m.proxyless(t, "stranger", "n=20"); r.Failed != 20 || !strings.Contains(r.Error, "Unavailable") {
			t.Errorf("of 20 calls %v were answered and %d failed: %s", r.Answered, r.Failed, r.Error)
		}
	})
	t.Run("without_the_control_plane", func(t *testing.T) {
		m.controller(t, "stop")
		for _, a := range proxylessApps {
			if r := m.proxyless(t, a.name+"-strict", "n=200&c=4"); r.Failed > 0 {
				t.Errorf("%s: %d of 200 calls failed: %s", a.name, r.Failed, r.Error)
			}
		}
		m.controller(t, "start")
		for _, a := range proxylessApps {
			eventually(t, "it is connected again", func() bool { return strings.Contains(m.cli(t, "proxy-status"), a.name+"-strict.shop") })
			if r := m.proxyless(t, a.name+"-strict", "n=200&c=4"); r.Failed > 0 {
				t.Errorf("%s: %d of 200 calls failed: %s", a.name, r.Failed, r.Error)
			}
		}
	})
}

// awaitProxyless waits until an app takes orders: its pod has no probe that would say so. Dozens of interpreters start at once, on whatever
// processors there are.
func (m *mesh) awaitProxyless(t *testing.T, name string) {
	t.Helper()
	within(t, 6*patience, name+" to listen", func() bool {
		_, err := request(t.Context(), m.client(t, name, proxylessCtl), http.MethodGet, "http://app/call?n=0")
		return err == nil
	})
}
