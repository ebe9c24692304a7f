//go:build clients

package lab_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// script runs a client that tells its exchanges itself, a line of JSON each.
func script(t *testing.T, m *mesh, argv ...string) []exchange {
	t.Helper()
	return scriptFrom(t, m, client, argv...)
}

// scriptFrom is script in the pod from.
func scriptFrom(t *testing.T, m *mesh, from string, argv ...string) []exchange {
	t.Helper()
	env := []string{"env", "PYTHONPATH=" + installed(t, "python"), "PYTHONDONTWRITEBYTECODE=1", "NODE_PATH=" + installed(t, "node_modules")}
	code, out, errOut := m.exec(t, from, append(env, argv...)...)
	var all []exchange
	d := json.NewDecoder(strings.NewReader(out))
	for d.More() {
		var e exchange
		if err := d.Decode(&e); err != nil {
			t.Fatalf("%q: %v in %q", argv, err, out)
		}
		all = append(all, e.settled())
	}
	if code != 0 {
		t.Fatalf("%q: exit code %d after %q: %s", argv, code, ended(all), errOut)
	}
	return all
}

// nodeServer is a gRPC server; port 80 is declared, 81 is not.
func nodeServer(t *testing.T) string {
	node := realServer{
		name: "node", argv: []string{"node", programFile(t, "grpc.mjs"), "serve", "8080"}, env: map[string]string{"NODE_PATH": installed(t, "node_modules")},
		ready: 8080, ports: "{name: grpc, port: 80, targetPort: 8080}, {name: detected, port: 81, targetPort: 8080}",
	}
	return node.manifest(t)
}

const (
	pythonEnds = "get 200, post-form 200, post-json 200, post-big 200, post-pieces 200, fields 200, redirect 200, redirect-seen 307, " +
		"gzip 200, cookies 200, chunks 200, big 200, head 200, delete 200, missing 404, refused 413, short %s, after-short 200"
	undiciEnds = "get 200, post 200, post-big 200, post-pieces 200, put 200, fields 200, chunks 200, big 200, head 200, cookies 200, " +
		"missing 404, short UND_ERR_SOCKET, after-short 200, fetch 200, fetch-gzip 200, fetch-moved 200, together 200"
	grpcEnds = "unary 0, unary-metadata 0, unary-empty 0, unary-big 0, server-stream 0, failed-stream 9, client-stream 0, both-streams 0, " +
		"cancelled 1, deadline 4, unknown-method 12"
)

// TestClientsLanguages: libraries of Python and Node.js.
func TestClientsLanguages(t *testing.T) {
	web := webServers(t, bodies(t))
	c := startCompared(t, func(own string) string { return web(own) + nodeServer(t) })
	python, calls := []string{"python3", programFile(t, "calls.py")}, func(argv ...string) func(*testing.T, *mesh) []exchange {
		return func(t *testing.T, m *mesh) []exchange { return script(t, m, argv...) }
	}
	for _, port := range []string{":80", ":81"} {
		t.Run("requests"+port, func(t *testing.T) {
			c.compare(t, fmt.Sprintf(pythonEnds, "ChunkedEncodingError"), calls(append(python, "requests", "http://gunicorn"+port)...))
		})
		t.Run("httpx"+port, func(t *testing.T) {
			c.compare(t, fmt.Sprintf(pythonEnds, "RemoteProtocolError"), calls(append(python, "httpx1", "http://gunicorn"+port)...))
		})
		t.Run("undici"+port, func(t *testing.T) {
			c.compare(t, undiciEnds, calls("node", programFile(t, "calls.mjs"), "http://gunicorn"+port))
		})
		t.Run("grpc-js"+port, func(t *testing.T) {
			c.compare(t, grpcEnds, calls("node", programFile(t, "grpc.mjs"), "call", "node"+port))
		})
	}
	c.secured(t, "gunicorn", "node")
}
