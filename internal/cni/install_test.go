package cni

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/redirect"
)

func loopbackUp(t *testing.T) {
	t.Helper()
	must(t, redirect.PrepareLoopback())
}

func pemOf(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// lines is a log whose messages a test waits for.
type lines struct {
	mu   sync.Mutex
	have []string
	more chan struct{} // one slot: there are new ones
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.have = append(l.have, string(b))
	select {
	case l.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

// await waits for a line and forgets it and those before it.
func (l *lines) await(t *testing.T, part string) {
	t.Helper()
	for {
		l.mu.Lock()
		at := slices.IndexFunc(l.have, func(s string) bool { return strings.Contains(s, part) })
		if at >= 0 {
			l.have = l.have[at+1:]
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		select {
		case <-l.more:
		case <-time.After(20 * time.Second):
			t.Fatalf("no %q in the log, but %q", part, l.have)
		}
	}
}

// node is a node's directories with an installer at work.
type node struct {
	bin, conf string
	log       *lines
	listen    string
	stop      func() error
}

const bridgeList = `{"cniVersion":"1.0.0","name":"mesh","plugins":[{"type":"bridge"}]}`

func startNode(t *testing.T, api http.Handler, change func(*InstallOptions)) *node {
	t.Helper()
	loopbackUp(t)
	server := httptest.NewTLSServer(api)
	t.Cleanup(server.Close)
	n := &node{bin: filepath.Join(t.TempDir(), "bin"), conf: t.TempDir(), log: &lines{more: make(chan struct{}, 1)}}
	account := t.TempDir()
	must(t, os.WriteFile(filepath.Join(account, "token"), []byte("secret\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(account, "ca.crt"), pemOf(server), 0o600))
	program := filepath.Join(account, "program")
	must(t, os.WriteFile(program, []byte("#!/bin/true\n"), 0o755))
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	n.listen = l.Addr().String()
	must(t, l.Close())
	o := InstallOptions{
		Executable: program, BinDir: n.bin, ConfDir: n.conf, APIServer: server.URL,
		TokenFile: filepath.Join(account, "token"), CAFile: filepath.Join(account, "ca.crt"),
		Listen: n.listen, Repair: RepairNone, Uninstall: UninstallOptions{OnExit: true},
		Logger: slog.New(slog.NewTextHandler(n.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	in, err := NewInstaller(o)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	n.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = n.stop() })
	return n
}

func (n *node) put(t *testing.T, name, content string) {
	t.Helper()
	must(t, replace(filepath.Join(n.conf, name), []byte(content)))
}

// state gives the files in the directory of configurations, with what matters of their content.
func (n *node) state(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(n.conf)
	must(t, err)
	out := map[string]string{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(n.conf, e.Name()))
		must(t, err)
		var list struct {
			Plugins []struct{ Type string }
		}
		_ = json.Unmarshal(content, &list)
		var types []string
		for _, p := range list.Plugins {
			types = append(types, p.Type)
		}
		out[e.Name()] = strings.Join(types, " ")
	}
	return out
}

func (n *node) ready(t *testing.T) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.listen+"/healthz/ready", http.NoBody)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(b)
}

func nobody(t *testing.T) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("unexpected request %s %s", r.Method, r.URL) })
}

func TestInstallerKeepsThePluginInPlace(t *testing.T) {
	n := startNode(t, nobody(t), nil)
	n.log.await(t, "no network configuration yet")
	if code, body := n.ready(t); code != 503 || !strings.Contains(body, "no network configuration yet") {
		t.Errorf("ready = %d %s, want 503 and the reason", code, body)
	}

	n.put(t, "10-bridge.conflist", bridgeList)
	n.log.await(t, "plugin inserted")
	n.log.await(t, "plugin in place")
	want := map[string]string{"10-bridge.conflist": "bridge fairlead-cni", kubeconfigName: ""}
	if diff := cmp.Diff(want, n.state(t)); diff != "" {
		t.Errorf("after the network plugin's start (-want +got):\n%s", diff)
	}
	if code, body := n.ready(t); code != 200 {
		t.Errorf("ready = %d %s, want 200", code, body)
	}
	info, err := os.Stat(filepath.Join(n.bin, Name))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("program = %v, %v, want one that can be executed", info, err)
	}

	n.put(t, "10-bridge.conflist", bridgeList) // the network plugin was restarted
	n.log.await(t, "plugin inserted")
	n.put(t, "05-other.conflist", strings.ReplaceAll(bridgeList, "bridge", "other")) // and replaced
	n.log.await(t, "05-other.conflist")
	must(t, os.Remove(filepath.Join(n.conf, kubeconfigName)))
	must(t, os.Remove(filepath.Join(n.bin, Name)))
	must(t, n.stop())
	want = map[string]string{"10-bridge.conflist": "bridge", "05-other.conflist": "other"}
	if diff := cmp.Diff(want, n.state(t)); diff != "" {
		t.Errorf("after the end (-want +got):\n%s", diff)
	}
	if exists(filepath.Join(n.bin, Name)) {
		t.Error("the program is still there after the end")
	}
}

func TestInstallerWarnsOfAFight(t *testing.T) {
	n := startNode(t, nobody(t), nil)
	for range paceTroubled {
		n.put(t, "10-bridge.conflist", bridgeList)
		n.log.await(t, "plugin inserted")
	}
	n.log.await(t, "another program keeps rewriting the network configuration")
}

// TestInstallerTellsAnUpgrade has the end of an installer while its DaemonSet exists, is being deleted, is gone.
func TestInstallerTellsAnUpgrade(t *testing.T) {
	tests := []struct {
		name   string
		answer string
		code   int
		stays  bool
	}{
		{"exists", `{"metadata":{"name":"fairlead-cni"}}`, 200, true},
		{"being_deleted", `{"metadata":{"name":"fairlead-cni","deletionTimestamp":"2026-11-22T10:00:00Z"}}`, 200, false},
		{"gone", `{"message":"not found"}`, 404, false},
		{"service_account_gone", `{"message":"Unauthorized"}`, 401, false},
		{"role_gone", `{"message":"forbidden"}`, 403, false},
		{"no_answer", ``, 500, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/apis/apps/v1/namespaces/fairlead-system/daemonsets/fairlead-cni" || r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("unexpected request %s %s", r.Method, r.URL)
				}
				w.WriteHeader(tt.code)
				fmt.Fprint(w, tt.answer)
			})
			n := startNode(t, api, func(o *InstallOptions) {
				o.Uninstall.DaemonSet, o.Uninstall.Namespace = "fairlead-cni", "fairlead-system"
			})
			n.put(t, "10-bridge.conflist", bridgeList)
			n.log.await(t, "plugin in place")
			must(t, n.stop())
			want := map[string]string{"10-bridge.conflist": "bridge"}
			if tt.stays {
				want = map[string]string{"10-bridge.conflist": "bridge fairlead-cni", kubeconfigName: ""}
			}
			if diff := cmp.Diff(want, n.state(t)); diff != "" {
				t.Errorf("after the end (-want +got):\n%s", diff)
			}
			if exists(filepath.Join(n.bin, Name)) != tt.stays {
				t.Errorf("program is there: %t, want %t", !tt.stays, tt.stays)
			}
		})
	}
}

func TestInstallerRenewsTheToken(t *testing.T) {
	n := startNode(t, nobody(t), func(o *InstallOptions) { o.HostConfDir = "/etc/cni/net.d" })
	n.put(t, "10-bridge.conflist", bridgeList)
	n.log.await(t, "plugin in place")
	c, err := clientOf(filepath.Join(n.conf, kubeconfigName))
	must(t, err)
	if token, err := c.token(); err != nil || token != "secret" {
		t.Errorf("token in the kubeconfig = %q, %v, want secret", token, err)
	}
	info, err := os.Stat(filepath.Join(n.conf, kubeconfigName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig = %v, %v, want one that only its owner reads", info, err)
	}
	b, err := os.ReadFile(filepath.Join(n.conf, "10-bridge.conflist"))
	if err != nil || !strings.Contains(string(b), `"kubeconfig": "/etc/cni/net.d/fairlead-cni.kubeconfig"`) {
		t.Errorf("configuration = %s, %v, want the host's path of the kubeconfig", b, err)
	}
}

func TestNewInstallerChecksItsOptions(t *testing.T) {
	good := InstallOptions{
		Executable: "/p", BinDir: "/b", ConfDir: "/c", APIServer: "https://a", TokenFile: "/t", CAFile: "/ca", Listen: ":0",
		Repair: RepairDelete, Node: "n1", Logger: slog.New(slog.DiscardHandler),
	}
	tests := []struct {
		name   string
		change func(*InstallOptions)
		want   string
	}{
		{"good", func(*InstallOptions) {}, ""},
		{"no_directory", func(o *InstallOptions) { o.BinDir = "" }, "BinDir is empty"},
		{"path_for_a_name", func(o *InstallOptions) { o.ConfName = "../x.conflist" }, "write the name of a file"},
		{"no_node", func(o *InstallOptions) { o.Node = "" }, "NODE_NAME"},
		{"no_logger", func(o *InstallOptions) { o.Logger = nil }, "Logger is nil"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := good
			tt.change(&o)
			_, err := NewInstaller(o)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("NewInstaller() = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestHostPath(t *testing.T) {
	for in, want := range map[string]string{"/host/etc/cni/net.d": "/etc/cni/net.d", "/etc/cni/net.d/": "/etc/cni/net.d", "/hosts/x": "/hosts/x"} {
		if got := hostPath(in); got != want {
			t.Errorf("hostPath(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	var got []time.Duration
	for range 11 {
		got = append(got, p.pause(now))
		now = now.Add(p.pause(now))
		p.changed(now)
	}
	ms := time.Millisecond
	want := []time.Duration{
		0, 0, 250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 16000 * ms, 30000 * ms, 30000 * ms,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pauses of a fight (-want +got):\n%s", diff)
	}
	now = now.Add(paceMax + paceQuiet + 1)
	if n := p.changed(now); n != 1 || p.pause(now) != 0 {
		t.Errorf("after a while changed() = %d, pause() = %v, want 1, 0", n, p.pause(now))
	}
}
