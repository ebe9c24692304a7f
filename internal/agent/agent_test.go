package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// patience bounds every wait; nothing waits for it to pass.
const patience = 10 * time.Second

// running is an agent whose control plane echoes lines, as long as it is there.
type running struct {
	*Agent

	t     *testing.T
	o     Options
	certs chan struct{} // one for each certificate that the control plane is to sign

	mu    sync.Mutex
	away  bool
	plane []net.Conn // guarded by mu, as away
}

func run(t *testing.T, changes ...func(*Options)) *running {
	t.Helper()
	dir := t.TempDir()
	r := &running{t: t, certs: make(chan struct{}, 8)}
	ready, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.o = Options{
		Files: Files{Socket: filepath.Join(dir, "XDS"), Bootstrap: filepath.Join(dir, "bootstrap.json"), Certificates: dir},
		Node:  Node{Pod: "client", Namespace: "shop", IP: "10.1.0.1", ClusterDomain: "cluster.local"},
		Ready: ready, Logger: slog.New(slog.DiscardHandler), Dial: r.dial,
		Identity: func(ctx context.Context) error {
			for n := 1; ; n++ {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-r.certs:
					if err := r.Keep(fmt.Append(nil, "chain ", n), fmt.Append(nil, "key ", n), fmt.Append(nil, "roots ", n), time.Now().Add(time.Hour)); err != nil {
						return err
					}
				}
			}
		},
	}
	for _, change := range changes {
		change(&r.o)
	}
	if r.Agent, err = New(r.o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // ends after the test's connections
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *running) dial(context.Context) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away {
		return nil, errors.New("connection refused")
	}
	near, far := net.Pipe()
	r.plane = append(r.plane, far)
	go func() {
		io.Copy(far, far)
		far.Close()
	}()
	return near, nil
}

// leave has the control plane go, or come back.
func (r *running) leave(away bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
	for _, c := range r.plane {
		c.Close()
	}
	r.plane = nil
}

func (r *running) connect() net.Conn {
	r.t.Helper()
	c, err := net.Dial("unix", r.o.Files.Socket)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func (r *running) echo(c net.Conn) {
	r.t.Helper()
	fmt.Fprint(c, "hello\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "hello\n" {
		r.t.Errorf("= %q, %v", line, err)
	}
}

func (r *running) readiness() int {
	r.t.Helper()
	resp, err := http.Get("http://" + r.o.Ready.Addr().String() + "/healthz/ready")
	if err != nil {
		r.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (r *running) eventually(what string, holds func() bool) {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(end) {
			r.t.Fatalf("still not: %s", what)
		}
	}
}

func (r *running) files() map[string]string {
	r.t.Helper()
	out := map[string]string{}
	for _, name := range []string{chainFile, keyFile, rootsFile} {
		b, err := os.ReadFile(filepath.Join(r.o.Files.Certificates, name))
		if err != nil {
			r.t.Error(err)
		}
		out[name] = string(b)
	}
	return out
}

// An app finds the control plane behind the socket once there is a certificate, and again after it was away.
func TestAgentRelays(t *testing.T) {
	r := run(t)
	if got := r.readiness(); got != http.StatusServiceUnavailable {
		t.Errorf("ready without a certificate: %d", got)
	}
	if _, err := os.Stat(r.o.Files.Socket); err == nil {
		t.Error("there is a socket already")
	}
	r.certs <- struct{}{}
	r.eventually("ready", func() bool { return r.readiness() == http.StatusOK })
	one, two := r.connect(), r.connect()
	r.echo(one)
	r.echo(two)
	one.Close()
	r.echo(two)
	r.leave(true)
	if _, err := two.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the control plane has gone, and the app reads %v", err)
	}
	if _, err := r.connect().Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the control plane is away, and the app reads %v", err)
	}
	if got := r.readiness(); got != http.StatusOK {
		t.Errorf("not ready while the control plane is away: %d", got)
	}
	r.leave(false)
	r.echo(r.connect())
}

// The files of a certificate change together, and what is not used any more goes.
func TestAgentKeepsCertificates(t *testing.T) {
	r := run(t)
	for n := 1; n <= 3; n++ {
		r.certs <- struct{}{}
		want := map[string]string{chainFile: fmt.Sprint("chain ", n), keyFile: fmt.Sprint("key ", n), rootsFile: fmt.Sprint("roots ", n)}
		r.eventually("a certificate", func() bool {
			b, err := os.ReadFile(filepath.Join(r.o.Files.Certificates, rootsFile))
			return err == nil && string(b) == want[rootsFile]
		})
		if diff := cmp.Diff(want, r.files()); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
	r.eventually("old generations are gone", func() bool {
		entries, err := os.ReadDir(r.o.Files.Certificates)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), generations) {
				n++
			}
		}
		return n == 1
	})
}

// Where the files cannot be written, the certificate does not count.
func TestAgentSaysWhatItCannotWrite(t *testing.T) {
	a, err := New(Options{
		Dial: func(context.Context) (net.Conn, error) { return nil, io.EOF }, Identity: func(context.Context) error { return nil },
		Files: Files{Socket: "s", Bootstrap: "b", Certificates: filepath.Join(t.TempDir(), "missing")}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Keep(nil, nil, nil, time.Now()); err == nil || !strings.Contains(err.Error(), "missing") || a.ready.Load() {
		t.Errorf("= %v", err)
	}
	select {
	case <-a.first:
		t.Error("it counts")
	default:
	}
}

// An app that leaks connections is told so, and has those that there is room for.
func TestAgentBoundsConnections(t *testing.T) {
	r := run(t)
	r.certs <- struct{}{}
	r.eventually("ready", func() bool { return r.readiness() == http.StatusOK })
	conns := make([]net.Conn, maxConnections)
	for i := range conns {
		conns[i] = r.connect()
		r.echo(conns[i])
	}
	if _, err := r.connect().Read(make([]byte, 1)); err == nil {
		t.Error("one too many is served")
	}
	conns[0].Close()
	r.eventually("there is room again", func() bool {
		c := r.connect()
		defer c.Close()
		fmt.Fprint(c, "x")
		_, err := c.Read(make([]byte, 1))
		return err == nil
	})
}

func TestBootstrap(t *testing.T) {
	raw, err := Bootstrap(Node{Pod: "client", Namespace: "shop", IP: "10.1.0.1", ClusterDomain: "cluster.local"},
		Files{Socket: "/etc/istio/proxy/XDS", Certificates: "/var/lib/istio/data"}, 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	json.Unmarshal([]byte(`{
		"xds_servers": [{"server_uri": "unix:///etc/istio/proxy/XDS", "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
		"node": {"id": "sidecar~10.1.0.1~client.shop~shop.svc.cluster.local", "locality": {"region": "unknown"}, "metadata": {"GENERATOR": "grpc"}},
		"certificate_providers": {"default": {"plugin_name": "file_watcher", "config": {
			"certificate_file": "/var/lib/istio/data/cert-chain.pem", "private_key_file": "/var/lib/istio/data/key.pem",
			"ca_certificate_file": "/var/lib/istio/data/root-cert.pem", "refresh_interval": "900s"}}},
		"server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s"
	}`), &want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bootstrap (-want +got):\n%s", diff)
	}
}

// A library looks often enough to have the new certificate before the old one ends.
func TestRefresh(t *testing.T) {
	for _, tt := range []struct{ life, want time.Duration }{
		{24 * time.Hour, 15 * time.Minute},
		{2 * time.Hour, 15 * time.Minute},
		{time.Hour, 450 * time.Second},
		{30 * time.Second, 3750 * time.Millisecond},
		{-time.Second, time.Second},
	} {
		if got := refreshOf(tt.life); got != tt.want {
			t.Errorf("refreshOf(%s) = %s, want %s", tt.life, got, tt.want)
		}
	}
}

func TestWriteSimple(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := WriteSimple(Node{Pod: "client", Namespace: "shop", IP: "10.1.0.1", ClusterDomain: "cluster.local"}, "dns:///controller:15010", path); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(raw); !strings.Contains(got, `"server_uri": "dns:///controller:15010"`) || strings.Contains(got, "certificate_providers") {
		t.Errorf("= %s", got)
	}
}
