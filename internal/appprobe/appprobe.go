package appprobe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/admin"
)

// Probe is one probe of one container. Exactly one of HTTP, TCP and GRPC is set.
type Probe struct {
	HTTP *HTTPGet
	TCP  *TCPSocket
	GRPC *GRPC
	// Timeout bounds the probe; 0 is Kubernetes' default of one second.
	Timeout time.Duration
}

// HTTPGet asks for a page.
type HTTPGet struct {
	// Host is a name or an address; empty for the pod's own address.
	Host string
	Port uint16
	// Path is a path with its query.
	Path string
	// Scheme is "http" or "https" in any case; empty for http.
	Scheme  string
	Headers []Header
	// Statuses are those that pass, and then no redirect is followed; none = 200 to 399.
	Statuses []int
}

// Header is a field of the request. "Host" sets the authority.
type Header struct{ Name, Value string }

// TCPSocket opens a connection, writes Send where there is something to, and reads until it has met Receive where that is
// not empty. The kubelet's probes have neither.
type TCPSocket struct {
	Host          string // as in HTTPGet
	Port          uint16
	Send, Receive string
}

// GRPC asks the health service of gRPC.
type GRPC struct {
	Port uint16
	// Service is the name that the app knows it by; empty for the whole server.
	Service string
}

// Options say what is probed.
type Options struct {
	// Probes are named by the path that the kubelet asks for, such as "/app-health/app/readyz".
	Probes map[string]Probe
	// PodIP is what the app listens on.
	PodIP netip.Addr
	// Dial opens a connection that is not redirected to this sidecar. Required.
	Dial func(context.Context, netip.AddrPort) (net.Conn, error)
	// Logger gets a line where a probe begins to fail, and where it passes again. Required.
	Logger *slog.Logger
}

// Handler answers the kubelet.
type Handler struct {
	checks map[string]*check
	log    *slog.Logger
}

const defaultTimeout = time.Second

// check is one probe, ready to be made.
type check struct {
	timeout time.Duration
	// run makes the probe; its error says why it failed. agent is who asks.
	run     func(ctx context.Context, agent string) error
	failing atomic.Bool

	mu      sync.Mutex
	running *outcome // what is under way, nil for nothing
}

// outcome is one run of a probe, for all who ask while it is under way.
type outcome struct {
	done chan struct{} // closed when err is set
	err  error
}

// New makes a handler. The error names the probe and what is wrong with it.
func New(o Options) (*Handler, error) {
	if o.Dial == nil || o.Logger == nil {
		return nil, errors.New("appprobe: Options.Dial and Options.Logger are required")
	}
	d := dialer{podIP: o.PodIP, dial: o.Dial}
	h := &Handler{checks: make(map[string]*check, len(o.Probes)), log: o.Logger}
	for path, p := range o.Probes {
		run, err := runner(&p, d)
		if err != nil {
			return nil, fmt.Errorf("app probe %s: %w", path, err)
		}
		if !strings.HasPrefix(path, admin.ProbesPath) {
			return nil, fmt.Errorf("app probe %s: the path does not begin with %s", path, admin.ProbesPath)
		}
		h.checks[path] = &check{timeout: cmp.Or(p.Timeout, defaultTimeout), run: run}
	}
	return h, nil
}

// runner gives what makes the probe.
func runner(p *Probe, d dialer) (func(context.Context, string) error, error) {
	kinds := 0
	for _, set := range []bool{p.HTTP != nil, p.TCP != nil, p.GRPC != nil} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return nil, fmt.Errorf("it has %d of httpGet, tcpSocket and grpc, want one", kinds)
	case p.Timeout < 0:
		return nil, fmt.Errorf("its timeout %s is negative", p.Timeout)
	case p.HTTP != nil:
		return newHTTP(p.HTTP, d)
	case p.TCP != nil:
		return newTCP(p.TCP, d)
	}
	return newGRPC(p.GRPC, d)
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := h.checks[r.URL.Path]
	switch {
	case c == nil:
		http.Error(w, "no probe of this pod has the path "+r.URL.Path, http.StatusNotFound)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "probes are asked for with GET", http.StatusMethodNotAllowed)
		return
	}
	err := h.probe(r, c)
	if err == nil {
		w.Write([]byte("OK\n"))
		return
	}
	var bad *statusError
	status := http.StatusServiceUnavailable
	switch {
	case errors.As(err, &bad) && bad.code >= http.StatusBadRequest:
		status = bad.code // what the kubelet prints in its event
	case isHook(r.URL.Path) && hangUp(w):
		return
	}
	http.Error(w, err.Error(), status)
}

// isHook reports whether a path is that of a hook of a container's life. The kubelet does not look at the status of
// those; they fail where there is no answer at all (kubernetes pkg/kubelet/lifecycle/handlers.go).
func isHook(path string) bool {
	return strings.HasSuffix(path, "/poststartz") || strings.HasSuffix(path, "/prestopz")
}

// hangUp ends the connection without an answer. It reports whether that could be done.
func hangUp(w http.ResponseWriter) bool {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// probe makes the probe, or waits for the outcome of the run that is under way. Any client that reaches the
// port may ask, so the app gets one probe of a kind at a time however many ask, and no client is refused: it could be the
// kubelet.
func (h *Handler) probe(r *http.Request, c *check) error {
	c.mu.Lock()
	o := c.running
	if o == nil {
		o = &outcome{done: make(chan struct{})}
		c.running = o
		ctx := context.WithoutCancel(r.Context()) // others may wait for it when the first one to ask has gone
		go h.run(ctx, r.URL.Path, userAgent(r), c)
	}
	c.mu.Unlock()
	select {
	case <-o.done:
		return o.err
	case <-r.Context().Done():
		return r.Context().Err()
	}
}

// run makes the probe for all who wait.
func (h *Handler) run(ctx context.Context, path, agent string, c *check) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := c.run(limited, agent)
	if err != nil && limited.Err() != nil {
		err = fmt.Errorf("no answer within %s", c.timeout)
	}
	h.note(ctx, path, c, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running.err = err
	close(c.running.done)
	c.running = nil
}

// userAgent is the kubelet's where it is the one who asks.
func userAgent(r *http.Request) string {
	if ua := r.UserAgent(); strings.HasPrefix(ua, "kube-") { // kube-probe/1.36, for hooks kube-lifecycle/1.36
		return ua
	}
	return "kube-probe"
}

// note logs a change.
func (h *Handler) note(ctx context.Context, path string, c *check, err error) {
	if c.failing.Swap(err != nil) == (err != nil) {
		return
	}
	if err != nil {
		h.log.InfoContext(ctx, "app probe fails", slog.String("probe", path), slog.Any("error", err))
		return
	}
	h.log.InfoContext(ctx, "app probe passes again", slog.String("probe", path))
}

// dialer opens connections for probes.
type dialer struct {
	podIP netip.Addr
	dial  func(context.Context, netip.AddrPort) (net.Conn, error)
}

// address is "host:port", of the pod where no host is given.
func (d dialer) address(host string, port uint16) (string, error) {
	if port == 0 {
		return "", errors.New("its port is 0")
	}
	if host == "" {
		return netip.AddrPortFrom(d.podIP, port).String(), nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(a, port).String(), nil
	}
	return fmt.Sprintf("%s:%d", host, port), nil
}

// connect dials an address that address gave, or one like it from a redirect.
func (d dialer) connect(ctx context.Context, address string) (net.Conn, error) {
	if addr, err := netip.ParseAddrPort(address); err == nil {
		return d.dial(ctx, addr)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	// The pod's family first: of the others it may have no route.
	slices.SortStableFunc(ips, func(a, b netip.Addr) int {
		return cmp.Compare(d.distance(a), d.distance(b))
	})
	var errs []error
	for _, ip := range ips {
		addr, err := netip.ParseAddrPort(net.JoinHostPort(ip.Unmap().String(), port))
		if err != nil {
			return nil, err
		}
		conn, err := d.dial(ctx, addr)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (d dialer) distance(a netip.Addr) int {
	if a.Unmap().Is4() == d.podIP.Is4() {
		return 0
	}
	return 1
}
