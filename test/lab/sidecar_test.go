package lab_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/lab"
)

const (
	lockedIP = "10.96.0.90"
	coldIP   = "10.96.0.91"
	coldOut  = "10.96.0.92"
	hangupIP = "10.96.0.94"
)

// appProbes starts sidecars with probes, as the injector does where there is one.
func appProbes(t *testing.T, json string) func(*lab.UpOptions) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "fairlead-proxy")
	text := fmt.Sprintf("#!/bin/sh\nexport FAIRLEAD_APP_PROBES='%s'\nexec '%s' \"$@\"\n", json, binary("fairlead-proxy"))
	for _, d := range []string{filepath.Dir(script), filepath.Dir(filepath.Dir(script))} {
		if err := os.Chmod(d, 0o755); err != nil { // for the sidecar's user
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return func(o *lab.UpOptions) { o.Proxy = script }
}

// peerAuthentication is an object of a namespace; its spec is one line.
func peerAuthentication(namespace, name, spec string) string {
	return fmt.Sprintf("\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: %s, namespace: %s}\nspec: %s\n---", name, namespace, spec)
}

func TestMutualTLSIsRequired(t *testing.T) {
	t.Parallel()
	const outsider = "deploy/outsider-v1"
	m := startMesh(t,
		app{name: "client", replicas: 1}.String()+
			app{name: "outsider", replicas: 1, bare: true}.String()+
			app{name: "server", replicas: 1, args: `--tcp, "9000"`, ports: "{name: tcp, containerPort: 9000}"}.String()+
			service("server", lockedIP, "app: server", http80+", {name: tcp, port: 9000, targetPort: tcp}"),
		withMesh("mesh.accessLog=text"),
		appProbes(t, `{"/app-health/app/readyz": {"httpGet": {"path": "/healthz", "port": 8080}},
			"/app-health/app/livez": {"tcpSocket": {"port": 9000}}, "/app-health/app/startupz": {"tcpSocket": {"port": 9999}}}`))
	server := m.find(t, "deploy/server-v1").IPs[0].String()

	meshed := func(t *testing.T) {
		t.Helper()
		eventually(t, "a caller of the mesh to be let in", func() bool { // a pod that is ready may not be an endpoint yet
			a := m.do(t, client, http.MethodGet, lockedIP+":80", "/")
			return a.StatusCode == http.StatusOK && xfcc(a) != ""
		})
	}
	refused := func(address string) bool { return m.refuses(t, outsider, address) }
	probe := func(t *testing.T, path string, want int) {
		t.Helper()
		// The kubelet is no member of the mesh either.
		if a := m.do(t, outsider, http.MethodGet, server+":15020", path); a.StatusCode != want {
			t.Errorf("%s = %d %q, want %d", path, a.StatusCode, a.body, want)
		}
	}
	probes := func(t *testing.T) {
		t.Helper()
		probe(t, "/app-health/app/readyz", http.StatusOK)
		probe(t, "/app-health/app/livez", http.StatusOK)
		probe(t, "/app-health/app/startupz", http.StatusServiceUnavailable)
	}
	t.Run("without_a_policy_everybody_may_come", func(t *testing.T) {
		meshed(t)
		if a := m.do(t, outsider, http.MethodGet, lockedIP+":80", "/"); a.StatusCode != http.StatusOK || xfcc(a) != "" {
			t.Errorf("an outsider: status %d, certificate %q", a.StatusCode, xfcc(a))
		}
		probes(t)
	})
	t.Run("STRICT_for_the_mesh", func(t *testing.T) {
		m.write(t, "peers.yaml", peerAuthentication("istio-system", "default", "{mtls: {mode: STRICT}}"))
		eventually(t, "outsiders to be refused", func() bool { return refused(server + ":8080") })
		if !refused(lockedIP+":80") || !refused(server+":9000") {
			t.Error("an outsider was let in")
		}
		meshed(t)
		probes(t)
		if lines := keep(m.cli(t, "proxy-config", "listeners", "deploy/server-v1.shop"), "8080", "mTLS STRICT (PeerAuthentication istio-system/default)"); len(lines) != 1 {
			t.Errorf("proxy-config listeners: %q", lines)
		}
		m.awaitLog(t, "deploy/server-v1", "mutual TLS is required by PeerAuthentication istio-system/default")
		m.awaitLog(t, "deploy/server-v1", "NR filter_chain_not_found")
	})
	t.Run("readiness_of_the_app_is_told", func(t *testing.T) {
		m.do(t, "deploy/server-v1", http.MethodPost, "127.0.0.1:8080", "/ready?ok=false")
		probe(t, "/app-health/app/readyz", http.StatusServiceUnavailable)
		m.awaitLog(t, "deploy/server-v1", `msg="app probe fails" probe=/app-health/app/readyz`)
		m.do(t, "deploy/server-v1", http.MethodPost, "127.0.0.1:8080", "/ready?ok=true")
		probe(t, "/app-health/app/readyz", http.StatusOK)
		eventually(t, "the pod to be ready again", func() bool { return m.find(t, "deploy/server-v1").Ready })
	})
	t.Run("PERMISSIVE_on_one_port", func(t *testing.T) {
		m.write(t, "ports.yaml", peerAuthentication("shop", "server",
			"{selector: {matchLabels: {app: server}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: PERMISSIVE}}}"))
		eventually(t, "outsiders to be let in", func() bool { return !refused(server + ":8080") })
		if !refused(server + ":9000") {
			t.Error("another port is open too")
		}
		meshed(t)
		probes(t)
	})
	t.Run("DISABLE_makes_callers_come_plainly", func(t *testing.T) {
		m.write(t, "ports.yaml", peerAuthentication("shop", "server", "{selector: {matchLabels: {app: server}}, mtls: {mode: DISABLE}}"))
		eventually(t, "calls without a certificate", func() bool {
			a := m.do(t, client, http.MethodGet, lockedIP+":80", "/")
			return a.StatusCode == http.StatusOK && xfcc(a) == ""
		})
		eventually(t, "outsiders to be let in", func() bool { return !refused(server + ":9000") })
	})
	t.Run("without_a_policy_again", func(t *testing.T) {
		for _, name := range []string{"ports.yaml", "peers.yaml"} {
			if err := os.Remove(filepath.Join(m.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "calls with a certificate", func() bool {
			return xfcc(m.do(t, client, http.MethodGet, lockedIP+":80", "/")) != "" && !refused(server+":8080")
		})
	})
}

// refuses reports whether a connection out of a pod is reset before anything is heard on it. The reset may come before
// the first write, or while connecting has not even returned.
func (m *mesh) refuses(t *testing.T, name, address string) bool {
	t.Helper()
	conn, err := m.DialPod(t.Context(), pod(name), address)
	if err == nil {
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		_, err = fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") // a port that echoes answers that too
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
	}
	// What happened while connecting comes from the lab as words.
	broken := err == nil || errors.Is(err, syscall.EPIPE) || strings.Contains(err.Error(), syscall.ECONNRESET.Error())
	if !broken {
		t.Fatalf("connection to %s ended with %v", address, err)
	}
	return err != nil
}

// TestColdStart: a sidecar that starts while the control plane is away, without anything that it knew before.
func TestColdStart(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+
		service("server", coldIP, "app: server", http80)+
		app{name: "plain", replicas: 1, bare: true}.String()+service("plain", coldOut, "app: plain", http80))
	m.controller(t, "kill")
	// It stands still meanwhile, for it writes the snapshot a moment after it was told something.
	if code, _, errOut := m.exec(t, client, "sh", "-c", fmt.Sprintf("kill -STOP %d && rm -f /run/fairlead/data/snapshot", m.sidecar(t, client).PID)); code != 0 {
		t.Fatalf("rm: %s", errOut)
	}
	m.killSidecar(t, client)

	const missing = "no configuration of this workload, no policy for inbound connections, no certificate"
	t.Run("it_is_not_ready_and_says_why", func(t *testing.T) {
		eventually(t, "the readiness page", func() bool {
			code, _, _ := m.exec(t, client, "fairlead", "demo-app", "call", "--timeout", "2s", "http://127.0.0.1:15000/metrics")
			return code == 0
		})
		a := m.do(t, client, http.MethodGet, "127.0.0.1:15021", "/healthz/ready")
		if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, missing) {
			t.Errorf("readiness: %d %q", a.StatusCode, a.body)
		}
		begun := time.Now()
		code, _, errOut := m.exec(t, client, "fairlead-proxy", "wait", "--timeout", "2s")
		if code != 1 || !strings.Contains(errOut, "the sidecar is not ready after 2s: waiting for the control plane") || time.Since(begun) > patience/2 {
			t.Errorf("wait: exit code %d, %q", code, errOut)
		}
	})
	t.Run("calls_pass_through_after_the_first_has_waited", func(t *testing.T) {
		begun := time.Now()
		for _, url := range []string{"http://" + coldOut + "/", "http://" + coldIP + "/", "http://server/", "http://plain/"} {
			if r := m.call(t, client, url, "--timeout", "10s"); r.OK != 1 {
				t.Errorf("%s: %+v", url, r)
			}
		}
		if took := time.Since(begun); took > patience/2 {
			t.Errorf("four calls took %s", took)
		} else {
			t.Logf("four calls took %s", took)
		}
	})
	t.Run("an_unknown_name_is_unknown", func(t *testing.T) {
		begun := time.Now()
		if r := m.call(t, client, "http://nobody.example/", "--timeout", "10s"); r.OK != 0 || r.Failed != 1 {
			t.Errorf("%+v", r)
		}
		if took := time.Since(begun); took > patience/2 {
			t.Errorf("took %s", took)
		}
	})
	t.Run("nobody_comes_in_past_a_policy_that_is_not_known", func(t *testing.T) {
		conn := m.dialTo(t, "deploy/plain-v1", net.JoinHostPort(m.find(t, client).IPs[0].String(), "8080"))
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: client\r\n\r\n")
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
	})
	t.Run("it_catches_up", func(t *testing.T) {
		m.controller(t, "start")
		m.settle(t)
		eventually(t, "calls with a certificate", func() bool {
			a := m.do(t, client, http.MethodGet, coldIP+":80", "/")
			return a.StatusCode == http.StatusOK && xfcc(a) != ""
		})
		if code, _, errOut := m.exec(t, client, "fairlead-proxy", "wait", "--timeout", "10s"); code != 0 {
			t.Errorf("wait: exit code %d, %q", code, errOut)
		}
	})
}

// TestSidecarEnds: a sidecar that is told to end does so at once where nothing is open, as is the case for a native one,
// which is told after its app has ended.
// TestHangup: whoever signals a sidecar as if it were a server that reads its configuration again does no harm.
func TestHangup(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+service("server", hangupIP, "app: server", http80))
	for _, name := range []string{"deploy/client-v1", "deploy/server-v1"} {
		before := m.find(t, name)
		i := slices.IndexFunc(before.Containers, func(c lab.ContainerStatus) bool { return c.Name == "proxy" })
		pid := before.Containers[i].PID
		if code, _, errOut := m.exec(t, name, "kill", "-HUP", strconv.Itoa(pid)); code != 0 {
			t.Fatalf("kill -HUP: %s", errOut)
		}
		if r := m.call(t, client, "http://server/", "--count", "20", "--new-connections"); r.OK != 20 {
			t.Errorf("calls after SIGHUP to the sidecar of %s: %+v", name, r)
		}
		if after := m.find(t, name); after.Containers[i].PID != pid || after.Restarts != 0 {
			t.Errorf("the sidecar of %s has process %d, restarts %d after SIGHUP; want %d and none", name, after.Containers[i].PID, after.Restarts, pid)
		}
	}
}

func TestSidecarEnds(t *testing.T) {
	t.Parallel()
	m := startMesh(t, app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1}.String()+
		service("server", coldIP, "app: server", http80))
	m.call(t, client, "http://server/", "--count", "10")
	before := m.sidecar(t, client)
	begun := time.Now()
	if code, _, errOut := m.exec(t, client, "sh", "-c", "kill -TERM "+strconv.Itoa(before.PID)); code != 0 {
		t.Fatalf("kill: %s", errOut)
	}
	eventually(t, "the sidecar to end", func() bool {
		p := m.find(t, client)
		i := slices.IndexFunc(p.Containers, func(c lab.ContainerStatus) bool { return c.Name == "proxy" })
		return i >= 0 && p.Containers[i].PID != before.PID
	})
	// Nothing is open, so it does not use up its five seconds, of which a busy machine may take some.
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("an idle sidecar took %s to end", took)
	} else {
		t.Logf("an idle sidecar took %s to end", took)
	}
}
