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
	"net/http/httptest"
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
const patience = 20 * time.Second

// heard is what a backend got. It is the body of its answer.
type heard struct {
	Backend, Method, Host, Target string
	Header                        http.Header
	Attempt                       int
}

// backend answers as the request tells it to, "x-answers: *=503", and says what it got.
type backend struct {
	name string

	mu   sync.Mutex
	seen map[string]int // by x-request: how often it came; guarded by mu
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.seen[r.Header.Get("X-Request")]++
	attempt := b.seen[r.Header.Get("X-Request")]
	b.mu.Unlock()
	if name, value, ok := strings.Cut(r.Header.Get("X-Says"), ": "); ok {
		w.Header().Set(name, value)
	}
	w.Header().Set("X-Backend", b.name)
	status := http.StatusOK
	if _, code, ok := strings.Cut(r.Header.Get("X-Answers"), "="); ok {
		status, _ = strconv.Atoi(code)
	}
	body, err := json.Marshal(heard{Backend: b.name, Method: r.Method, Host: r.Host, Target: r.RequestURI, Header: r.Header, Attempt: attempt})
	if err != nil {
		status = http.StatusTeapot
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// backends serves two versions of everything, and gives their ports.
func backends(t *testing.T) (ports map[string]uint16) {
	t.Helper()
	ports = map[string]uint16{}
	for _, name := range []string{"v1", "v2"} {
		s := httptest.NewServer(&backend{name: name, seen: map[string]int{}})
		t.Cleanup(s.Close)
		ports[name] = uint16(s.Listener.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// service is a host of two versions, with an address of its own, and each version as a Service.
func service(number int, host string, ports map[string]uint16, versions []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: shop}
spec: {clusterIP: 10.96.%[2]d.%[3]d, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s-v2, namespace: shop}
spec: {clusterIP: 10.97.%[2]d.%[3]d, ports: [{name: http, port: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s, namespace: shop}
spec: {host: %[1]s, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
`, host, number/250, 1+number%250)
	slice := func(service, version string) {
		fmt.Fprintf(&b, `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-%[2]s-slice, namespace: shop, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: http, port: %[3]d}]
endpoints: [{addresses: [127.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, namespace: shop, name: %[2]s}}]
---
`, service, version, ports[version])
	}
	for _, version := range versions {
		slice(host, version)
	}
	slice(host+"-v2", "v2")
	return b.String()
}

// pods are what subsets are told apart by.
const pods = `apiVersion: v1
kind: Pod
metadata: {name: v1, namespace: shop, labels: {version: v1}}
spec: {containers: [{name: app, image: app}]}
status: {phase: Running, podIP: 127.0.1.1, podIPs: [{ip: 127.0.1.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: v2, namespace: shop, labels: {version: v2}}
spec: {containers: [{name: app, image: app}]}
status: {phase: Running, podIP: 127.0.1.2, podIPs: [{ip: 127.0.1.2}]}
---
`

// side is a proxy, and where it takes the calls of an app to a host.
type side struct {
	name string
	at   func(host string) string
}

// startEnvoy runs a real one with everything that a client of the namespace is told.
func startEnvoy(t *testing.T, s store.Snapshot) side {
	t.Helper()
	path, err := realenvoy.Binary()
	if err != nil {
		t.Fatal(err)
	}
	told := envoytest.Follow(t, compiler(), s, envoy.Class{Kind: envoy.Envoy, Namespace: "shop", Labels: clientLabels()})
	dir := t.TempDir()
	config, adminAt := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "admin")
	if err := os.WriteFile(config, trusting(told.Anywhere().Static(t, 0)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // ends after the clients
	cmd := exec.CommandContext(ctx, path, "-c", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "--admin-address-path", adminAt)
	var log bytes.Buffer
	cmd.Stderr = &log
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
	return side{"envoy", func(string) string { return listener }}
}

// trusting has an Envoy obey what requests of this machine say of themselves, if they name it in x-forwarded-for.
func trusting(config []byte) []byte {
	return regexp.MustCompile(`"useRemoteAddress"\s*:\s*false`).
		ReplaceAll(config, []byte(`$0, "internalAddressConfig": {"cidrRanges": [{"addressPrefix": "127.0.0.0", "prefixLen": 8}]}`))
}

// awaitListener gives the address of Envoy's one listener, as soon as it is there.
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
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("%d listeners", len(all))
	}
	for _, at := range all {
		return at.String(), err
	}
	return "", err
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
	g := compiler().Global
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
	logger := slog.New(slog.NewTextHandler(&log, nil))
	id, err := identity.NewWorkload(identity.WorkloadOptions{
		Sign:   func(context.Context, []byte) (_, _ []byte, err error) { return nil, nil, errors.ErrUnsupported },
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
		Pod: pod, IPs: []netip.Addr{self}, Discovery: discovery, Identity: id, Logger: logger, AccessLog: io.Discard, Drain: time.Second, Version: "test",
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
	return side{"fairlead", func(host string) string { return at[host] }}
}

// outcome is what became of a request, in lines. What proxies say of themselves is left out.
type outcome []string

// ask makes a request of a side. id tells its tries apart from those of all others.
func (s side) ask(ctx context.Context, q request, host, id string) (outcome, error) {
	req, err := http.NewRequestWithContext(ctx, q.method, "http://"+s.at(host), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.URL = &url.URL{Scheme: "http", Host: s.at(host), Opaque: q.target}
	req.Host = q.host
	maps.Copy(req.Header, q.header)
	req.Header.Set("X-Request", s.name+id)
	req.Header.Set("User-Agent", "differential")
	tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
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
		out = append(out, "backend "+h.Backend+", tries "+strconv.Itoa(h.Attempt), "request "+h.Method+" "+h.Target, "host "+h.Host)
		out = append(out, fields("request", h.Header)...)
	}
	if len(out) == 1 {
		out = append(out, "body "+string(body))
	}
	return append(out, fields("response", resp.Header)...), nil
}

// fields gives headers, but for those in which proxies and servers speak of themselves.
func fields(of string, h http.Header) []string {
	var out []string
	for name, values := range h {
		switch name {
		case "Date", "Server", "Content-Length", "Content-Type", "X-Request", "X-Request-Id", "X-Forwarded-Proto", "Connection", "Proxy-Status", "Via",
			"X-Envoy-Upstream-Service-Time", "X-Envoy-Attempt-Count", "X-Envoy-Expected-Rq-Timeout-Ms", "Accept-Encoding":
			continue
		}
		if name == "Location" {
			values = []string{standardPort.ReplaceAllString(values[0], "$1$2$3$4")}
		}
		out = append(out, of+" "+name+": "+strings.Join(values, ", "))
	}
	slices.Sort(out)
	return out
}

// kind is how a request has ended, in one word.
func (o outcome) kind() string {
	has := func(prefix string) bool {
		return slices.ContainsFunc(o, func(line string) bool { return strings.HasPrefix(line, prefix) })
	}
	switch {
	case has("backend "):
		return "backend"
	case has("response Location: "):
		return "redirect"
	case has("status 404"):
		return "404"
	}
	return "other"
}
