//go:build envoy

package differential_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/compile"
	"fairlead.dev/fairlead/internal/discovery"
	"fairlead.dev/fairlead/internal/identity"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/proxy"
	"fairlead.dev/fairlead/internal/store"
	"fairlead.dev/fairlead/internal/xds/envoy"
	"fairlead.dev/fairlead/internal/xds/envoy/envoytest"
	realenvoy "fairlead.dev/fairlead/test/envoy"
)

// patience bounds every wait for something that must come; nothing waits for it to pass.
const patience = time.Minute

// side is a proxy, and where it takes the calls of an app to a host.
type side struct {
	name string
	at   func(host string) string
	log  *accessLog
}

// accessLog is what a side has written of the calls it took, line by line.
type accessLog struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *accessLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *accessLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// of gives the fields of the line of a path, nil where there is none yet.
func (l *accessLog) of(path string) map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.text.Bytes()) {
		var fields map[string]any
		if json.Unmarshal(line, &fields) == nil && fields["path"] == path {
			return fields
		}
	}
	return nil
}

// startEnvoy runs a real one with everything that a client of the namespace is told.
func startEnvoy(t *testing.T, s store.Snapshot) side {
	t.Helper()
	path, err := realenvoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	told := envoytest.Follow(t, logging(), s, envoy.Class{Kind: envoy.Envoy, Namespace: "shop", Labels: clientLabels()})
	dir := t.TempDir()
	config, adminAt := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "admin")
	if err := os.WriteFile(config, trusting(told.Anywhere().Static(t, 0)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // ends after the clients
	cmd := exec.CommandContext(ctx, path, "-c", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "--admin-address-path", adminAt, "--file-flush-interval-msec", "50")
	var log bytes.Buffer
	calls := &accessLog{}
	cmd.Stdout, cmd.Stderr = calls, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait() // it is killed
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() && log.Len() > 0 {
			t.Logf("Envoy:\n%s", log.String())
		}
	})
	listener := awaitListener(t, adminAt, ended)
	return side{"envoy", func(string) string { return listener }, calls}
}

// trusting has an Envoy obey what requests of this machine say of themselves, if they name it in x-forwarded-for.
func trusting(config []byte) []byte {
	return regexp.MustCompile(`"useRemoteAddress"\s*:\s*false`).
		ReplaceAll(config, []byte(`$0, "internalAddressConfig": {"cidrRanges": [{"addressPrefix": "127.0.0.0", "prefixLen": 8}]}`))
}

// awaitListener gives the address of Envoy's listener for all hosts, as soon as it is there.
func awaitListener(t *testing.T, adminAt string, ended <-chan struct{}) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last error
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		at, err := listenerOf(ctx, adminAt)
		if err == nil {
			tick.Stop()
			return at
		}
		last = err
		select {
		case <-tick.C:
		case <-ended:
			t.Fatal("Envoy has ended")
		case <-ctx.Done():
			t.Fatalf("no listener: %v", last)
		}
	}
}

func listenerOf(ctx context.Context, adminAt string) (string, error) {
	admin, err := os.ReadFile(adminAt)
	if err != nil {
		return "", err
	}
	var dialer net.Dialer
	a := realenvoy.Admin{Client: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, strings.TrimSpace(string(admin)))
		},
	}}}
	if err := a.Ready(ctx); err != nil {
		return "", err
	}
	all, err := a.Listeners(ctx)
	at, ok := all["127.0.0.1_8080"] // that of copies in HTTP/2 is another one
	if err == nil && !ok {
		err = fmt.Errorf("%d listeners", len(all))
	}
	return at.String(), err
}

func clientLabels() map[string]string { return map[string]string{"app": "client"} }

// told is a control plane that has said everything from the start. It implements proxy.Discovery.
type told struct {
	updates []discovery.Update
	ready   chan struct{}
}

func (d *told) Run(ctx context.Context, h discovery.Handler) error {
	if rejected := h.Apply(d.updates); len(rejected) > 0 {
		return fmt.Errorf("rejected: %v", rejected)
	}
	close(d.ready)
	<-ctx.Done()
	return nil
}

func (d *told) Await(ctx context.Context, _ string) error {
	select {
	case <-d.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (*told) Use(string)                           {}
func (*told) Subscribe(string)                     {}
func (*told) Report(func(*discovery.HealthReport)) {}
func (*told) Connected() bool                      { return true }
func (*told) Stale() bool                          { return false }
func (*told) LastSync() time.Time                  { return time.Time{} }
func (*told) Addrs() []string                      { return nil }
func (*told) Holders(context.Context, string, *discovery.HoldersRequest) (*discovery.HoldersResponse, error) {
	return nil, errors.ErrUnsupported
}

// updates compiles hosts as a sidecar in the namespace is told of them.
func updates(t *testing.T, s store.Snapshot, hosts []string) (out []discovery.Update, addresses map[string]netip.AddrPort) {
	t.Helper()
	g := logging().Global
	addresses = map[string]netip.AddrPort{}
	known := map[string]bool{}
	add := func(name string, aliases ...string) plan.Resource {
		r := compile.Compile(store.NewReader(s), g, name)
		if r == nil {
			t.Fatalf("there is no %s", name)
		}
		if !known[name] {
			known[name] = true
			out = append(out, discovery.Update{Name: name, Aliases: aliases, Resource: r})
		}
		return r
	}
	add("mesh")
	for _, host := range hosts {
		alias := "host/" + host + ".shop.svc.cluster.local:8080"
		name, ok := compile.Resolve(store.NewReader(s), g, compile.Client{Namespace: "shop"}, alias)
		if !ok {
			t.Fatalf("there is no %s", alias)
		}
		d := compile.Compile(store.NewReader(s), g, name).(*plan.Destination)
		for _, b := range d.Backends {
			for _, shard := range b.Shards {
				add(shard)
			}
		}
		at := netip.AddrPortFrom(d.Addresses[0], d.Port)
		addresses[host] = at
		add(name, plan.AddressName(at))
	}
	return out, addresses
}

// startFairlead runs this mesh's own proxy, in this process.
func startFairlead(t *testing.T, s store.Snapshot, hosts []string) side {
	t.Helper()
	all, addresses := updates(t, s, hosts)
	self := netip.MustParseAddr("127.0.0.1")
	pod := model.Key{Namespace: "shop", Name: "client"}
	all = append(all,
		discovery.Update{Name: "in/shop/client", Resource: &plan.InboundPolicy{Name: "in/shop/client", MTLS: model.MTLSPermissive}},
		discovery.Update{Name: plan.WorkloadName("", self), Resource: &plan.Workload{IP: self, Key: pod, IPs: []netip.Addr{self}, Labels: clientLabels(), Inbound: "in/shop/client"}},
	)
	var log bytes.Buffer
	calls := &accessLog{}
	logger := slog.New(slog.NewTextHandler(&log, nil))
	id, err := identity.NewWorkload(identity.WorkloadOptions{
		Sign: func(context.Context, []byte) (_ []byte, _ identity.Trust, err error) {
			return nil, identity.Trust{}, errors.ErrUnsupported
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	listen := func() net.Listener {
		var lc net.ListenConfig
		l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	meant := map[int]netip.AddrPort{} // by the port that was called
	at := map[string]string{}
	var outbound []net.Listener
	for _, host := range hosts {
		l := listen()
		outbound = append(outbound, l)
		meant[l.Addr().(*net.TCPAddr).Port], at[host] = addresses[host], l.Addr().String()
	}
	discovery := &told{updates: all, ready: make(chan struct{})}
	p, err := proxy.New(proxy.Options{
		Pod: pod, IPs: []netip.Addr{self}, Discovery: discovery, Identity: id, Logger: logger, AccessLog: calls, Drain: time.Second, Version: "test",
		Sockets:   &proxy.Sockets{Outbound: outbound, Inbound: []net.Listener{listen()}, Mesh: []net.Listener{listen()}},
		Captured:  func(c net.Conn) (netip.AddrPort, error) { return meant[c.LocalAddr().(*net.TCPAddr).Port], nil },
		LocalAddr: func(netip.Addr) bool { return false },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // ends after the clients
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if t.Failed() && log.Len() > 0 {
			t.Logf("proxy:\n%s", log.String())
		}
	})
	if err := discovery.Await(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	return side{"fairlead", func(host string) string { return at[host] }, calls}
}

// outcome is what became of a request, in lines. What proxies say of themselves is left out.
type outcome []string

// ask makes a request of a side. id tells its tries apart from those of all others.
func (s side) ask(ctx context.Context, q *request, host *host, id string) (outcome, error) {
	req, err := http.NewRequestWithContext(ctx, q.method, "http://"+s.at(host.name)+"/", strings.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	if q.body == "" {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	req.URL = &url.URL{Scheme: "http", Host: s.at(host.name), Opaque: q.target}
	req.Host = q.host
	maps.Copy(req.Header, q.header)
	req.Header.Set("X-Request", s.name+id)
	req.Header.Set("User-Agent", "differential")
	tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(host.protocol == "http")
	tr.Protocols.SetUnencryptedHTTP2(host.protocol != "http")
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	out := outcome{fmt.Sprint("status ", resp.StatusCode)}
	var h heard
	if resp.Header.Get("X-Backend") != "" && json.Unmarshal(body, &h) == nil {
		out = append(out, h.lines()...)
	}
	if len(out) == 1 {
		out = append(out, "body "+string(body))
	}
	return append(out, fields("response", resp.Header)...), nil
}

// lines are what is compared of a request that has come.
func (h *heard) lines() outcome {
	out := outcome{"backend " + h.Backend + ", tries " + strconv.Itoa(h.Attempt), "request " + h.Method + " " + h.Target + " " + h.Proto, "host " + h.Host}
	if h.Body != "" {
		out = append(out, "sent "+h.Body)
	}
	return append(out, fields("request", h.Header)...)
}

// fields gives headers, but for those in which proxies and servers speak of themselves.
func fields(of string, h http.Header) []string {
	var out []string
	for name, values := range h {
		switch name {
		case "Date", "Server", "Content-Length", "Content-Type", "X-Request", "X-Request-Id", "X-Forwarded-Proto", "Connection", "Proxy-Status", "Via",
			"X-Envoy-Upstream-Service-Time", "X-Envoy-Attempt-Count", "X-Envoy-Expected-Rq-Timeout-Ms", "Accept-Encoding", "Grpc-Message":
			continue
		}
		if name == "Location" {
			values = []string{standardPort.ReplaceAllString(values[0], "$1$2$3$4")}
		}
		if name == "Grpc-Timeout" { // what is left of it is in no two calls the same
			values = []string{"some"}
		}
		out = append(out, of+" "+name+": "+strings.Join(values, ", "))
	}
	slices.Sort(out)
	return out
}

// backend is the name of the one that has answered, "" for none.
func (o outcome) backend() string {
	for _, line := range o {
		if rest, ok := strings.CutPrefix(line, "backend "); ok {
			name, _, _ := strings.Cut(rest, ",")
			return name
		}
	}
	return ""
}

// kind is how a request has ended, in one word.
func (o outcome) kind() string {
	has := func(prefix string) bool {
		return slices.ContainsFunc(o, func(line string) bool { return strings.HasPrefix(line, prefix) })
	}
	switch {
	case has("sticky"), has("spread"):
		return "sticky"
	case has("backend "):
		return "backend"
	case has("response Location: "):
		return "redirect"
	case has("status 404"):
		return "404"
	}
	return "other"
}
