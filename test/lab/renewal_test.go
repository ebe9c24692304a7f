package lab_test

import (
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/ca"
)

// shortLived has certificates renewed every twenty seconds, and leaves as much time for it.
const shortLived = "mesh.workloadCertTTL=40s"

// renewal is a story of certificates that are renewed under load.
type renewal struct {
	*mesh
	// certificates gives of each workload what changes with its certificate.
	certificates func(t *testing.T) map[string]string
	// loads are made again and again; each says how many calls it has made, and what failed.
	loads map[string]func(t *testing.T) (calls int, failed string)
	// settles is how many renewals it takes until everybody has what came with the first one; 0 is one.
	settles int
}

// TestRenewal has certificates renewed, and the root replaced, while sidecars carry calls.
func TestRenewal(t *testing.T) {
	t.Parallel()
	m := startMesh(t, object("security.istio.io/v1", "PeerAuthentication", "default", "  mtls: {mode: STRICT}")+
		app{name: "client", replicas: 1}.String()+app{name: "server", replicas: 1, args: `--http, "8080,8081"`}.String()+
		service("server", "10.96.8.1", "app: server", http80+", {name: grpc, port: 81, targetPort: 8081}"), withMesh(shortLived))
	r := renewal{mesh: m, certificates: m.shownCertificates("deploy/client-v1", "deploy/server-v1"), loads: m.renewalLoads(client, "server")}
	t.Run("renewed", r.twice)
	if long {
		t.Run("the_root_is_replaced", r.root)
	}
}

// renewalLoads call a host in several ways: on connections that the app keeps and on new ones.
func (m *mesh) renewalLoads(from, host string) map[string]func(*testing.T) (int, string) {
	loads := map[string]func(*testing.T) (int, string){}
	for name, args := range map[string][]string{
		"h1": {"http://" + host + "/"}, "new": {"http://" + host + "/", "--new-connections"},
		"posts": {"http://" + host + "/", "--method", "POST", "--body", "some body"}, "h2": {"http://" + host + ":81/", "--http2"},
	} {
		loads[from+" "+name+" "+host] = func(t *testing.T) (int, string) {
			t.Helper()
			r := m.call(t, from, append(args, "--count", "100", "--rate", "20", "--concurrency", "2")...)
			if r.Failed == 0 {
				return r.OK, ""
			}
			return r.OK, fmt.Sprintf("%d failed: %v, %v", r.Failed, r.Statuses, r.Errors)
		}
	}
	return loads
}

// shownCertificates gives those that proxy-config shows of pods.
func (m *mesh) shownCertificates(names ...string) func(*testing.T) map[string]string {
	return func(t *testing.T) map[string]string {
		t.Helper()
		shown := map[string]string{}
		for _, name := range names {
			shown[name] = strings.Join(keep(m.cli(t, "proxy-config", "secret", name, "-n", "shop"), "default", "Cert Chain"), "")
		}
		return shown
	}
}

// twice has certificates renewed two times.
func (r *renewal) twice(t *testing.T) {
	r.underLoad(t, func() {
		for range 2 {
			r.renewed(t)
		}
	})
}

// root has the root replaced, in the order in which that is safe: both are trusted, the new one signs, the old one is gone. The
// control plane takes another CA when it starts.
func (r *renewal) root(t *testing.T) {
	path := filepath.Join(r.StateDir(), "controller", "ca.pem")
	oldKey, oldRoot := keyAndRoot(t, read(t, path))
	other := t.TempDir()
	if _, err := ca.LoadOrCreate(other, ca.Options{TrustDomain: "cluster.local", Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	newKey, newRoot := keyAndRoot(t, read(t, filepath.Join(other, "ca.pem")))
	r.underLoad(t, func() {
		for _, authority := range []string{oldKey + oldRoot + newRoot, newKey + newRoot + oldRoot, newKey + newRoot} {
			r.controller(t, "stop")
			if err := os.WriteFile(path, []byte(authority), 0o600); err != nil {
				t.Fatal(err)
			}
			r.controller(t, "start")
			for range max(1, r.settles) {
				r.renewed(t)
			}
		}
	})
}

// keyAndRoot takes the file of a CA apart.
func keyAndRoot(t *testing.T, file string) (key, root string) {
	t.Helper()
	var keys, roots strings.Builder
	for block, rest := pem.Decode([]byte(file)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			roots.Write(pem.EncodeToMemory(block))
		} else {
			keys.Write(pem.EncodeToMemory(block))
		}
	}
	if keys.Len() == 0 || roots.Len() == 0 {
		t.Fatalf("no CA in %q", file)
	}
	return keys.String(), roots.String()
}

// renewed waits until every workload has another certificate.
func (r *renewal) renewed(t *testing.T) {
	t.Helper()
	before := r.certificates(t)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); ; <-tick.C {
		now, waiting := r.certificates(t), ""
		for name, certificate := range before {
			if certificate == "" || now[name] == certificate {
				waiting = name
			}
		}
		if waiting == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has no other certificate than %q", waiting, before[waiting])
		}
	}
}

// underLoad has every load made until something else is over: none of its calls fails.
func (r *renewal) underLoad(t *testing.T, what func()) {
	t.Helper()
	stop := make(chan struct{})
	type outcome struct {
		name   string
		calls  int
		failed string
	}
	outcomes := make(chan outcome, len(r.loads))
	for name, load := range r.loads {
		go func() {
			o := outcome{name: name}
			defer func() { outcomes <- o }()
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for o.failed == "" {
				calls, failed := load(t)
				o.calls, o.failed = o.calls+calls, failed
				select {
				case <-stop:
					return
				case <-tick.C:
				}
			}
		}()
	}
	defer func() {
		close(stop)
		for range r.loads {
			o := <-outcomes
			if o.failed != "" {
				t.Errorf("%s: after %d calls %s", o.name, o.calls, o.failed)
			} else {
				t.Logf("%s: %d calls, none failed", o.name, o.calls)
			}
		}
	}()
	what()
}
