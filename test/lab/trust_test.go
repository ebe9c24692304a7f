package lab_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A peer whose root is not trusted is refused with one line at either end that names the root and its cluster; once the root is
// trusted calls go on.
func TestARootThatIsNotTrusted(t *testing.T) {
	client, shared := app{name: "client", replicas: 1}.String(), service("server", meshIP, "app: server", http80)
	w, e := startLinked(t, client+shared, client+shared+app{name: "server", replicas: 1}.String())
	root := filepath.Join(w.StateDir(), "roots", "east.pem")
	pem := read(t, root)
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	call := func() answer {
		return w.do(t, "deploy/client-v1", http.MethodGet, meshIP+":80", "/", "Host: server.shop")
	}
	var body string
	eventually(t, "a call to say that the root of east is not trusted", func() bool {
		a := call()
		if a.StatusCode == http.StatusOK { // by a connection, or a root, of before
			if _, err := e.Kill(t.Context(), pod("deploy/server-v1")); err != nil {
				t.Fatal(err)
			}
			e.settle(t)
		}
		body = a.body
		return a.StatusCode == http.StatusServiceUnavailable && strings.Contains(body, "is not trusted here")
	})
	for _, want := range []string{"mutual TLS with 10.245.", `its root "CN=`, "(key ", "(the peer is of cluster east)"} {
		if !strings.Contains(body, want) {
			t.Errorf("the answer has no %q:\n%s", want, body)
		}
	}
	t.Logf("the client is told: %s", body)
	var log []string
	eventually(t, "the server's sidecar to say that it is not trusted", func() bool {
		log = keep(e.cli(t, "lab", "logs", "deploy/server-v1", "-n", "shop", "-c", "proxy"), "does not accept the certificate of this workload", `of cluster \"east\"`)
		return len(log) > 0
	})
	t.Logf("the server's log: %s", log[0])
	if err := os.WriteFile(root, []byte(pem), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "calls to be answered again", func() bool { return call().StatusCode == http.StatusOK })
}
