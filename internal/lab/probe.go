package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probe is one readiness, liveness or startup probe with every default filled in.
type probe struct {
	initialDelay, period, timeout time.Duration
	failures, successes           int
	// eager shortens the pauses until the first pass; see eagerProbe. Never set for liveness.
	eager bool
	// Exactly one of the three is set: a URL, an address, or a command.
	url     string
	headers []corev1.HTTPHeader
	addr    netip.AddrPort
	argv    []string
}

// eagerProbe is the first pause between probes while a container has not yet passed: a lab should not take ten
// seconds to notice what took ten milliseconds. It doubles up to maxEagerProbe or the probe's own period.
const (
	eagerProbe    = 20 * time.Millisecond
	maxEagerProbe = 500 * time.Millisecond
)

// newProbe fills in the defaults of the Kubernetes API (core/v1 types.go, Probe).
func newProbe(p *corev1.Probe, podIP netip.Addr, ports []corev1.ContainerPort) (*probe, error) {
	if p == nil {
		return nil, nil //nolint:nilnil // no probe is a valid answer
	}
	seconds := func(v, def int32) time.Duration {
		if v <= 0 {
			v = def
		}
		return time.Duration(v) * time.Second
	}
	out := &probe{
		initialDelay: seconds(p.InitialDelaySeconds, 0), period: seconds(p.PeriodSeconds, 10), timeout: seconds(p.TimeoutSeconds, 1),
		failures: max(1, int(p.FailureThreshold)), successes: max(1, int(p.SuccessThreshold)),
	}
	if p.FailureThreshold == 0 {
		out.failures = 3
	}
	switch {
	case p.HTTPGet != nil:
		err := out.setHTTP(p.HTTPGet, podIP, ports)
		return out, err
	case p.TCPSocket != nil:
		port, err := probePort(p.TCPSocket.Port, ports)
		if err != nil {
			return nil, err
		}
		out.addr = netip.AddrPortFrom(podIP, port)
	case p.Exec != nil && len(p.Exec.Command) > 0:
		out.argv = p.Exec.Command
	default:
		return nil, errors.New("a probe needs httpGet, tcpSocket or exec (grpc probes do not work in the lab)")
	}
	return out, nil
}

func (p *probe) setHTTP(get *corev1.HTTPGetAction, podIP netip.Addr, ports []corev1.ContainerPort) error {
	port, err := probePort(get.Port, ports)
	if err != nil {
		return err
	}
	scheme, host := strings.ToLower(string(get.Scheme)), get.Host
	if scheme == "" {
		scheme = "http"
	}
	if host == "" {
		host = podIP.String()
	}
	p.url = scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(port))) + "/" + strings.TrimPrefix(get.Path, "/")
	p.headers = get.HTTPHeaders
	return nil
}

// probePort resolves a port by number or by the name of a container port.
func probePort(port intstr.IntOrString, ports []corev1.ContainerPort) (uint16, error) {
	if port.Type == intstr.Int {
		if port.IntVal < 1 || port.IntVal > 65535 {
			return 0, fmt.Errorf("probe port %d is outside 1 to 65535", port.IntVal)
		}
		return uint16(port.IntVal), nil
	}
	for _, p := range ports {
		if p.Name == port.StrVal {
			return uint16(p.ContainerPort), nil
		}
	}
	if n, err := strconv.ParseUint(port.StrVal, 10, 16); err == nil {
		return uint16(n), nil
	}
	return 0, fmt.Errorf("probe port %q is no name of a port of the container", port.StrVal)
}

// prober runs probes the way a kubelet does: from the node, exec in the pod. In a pod with a sidecar the network
// probes start inside the pod, as injected pods of a cluster have it (there the sidecar makes them): from outside, the
// sidecar accepts a connection before it knows whether the app does, and every tcpSocket probe would pass.
type prober struct {
	client *http.Client
	dial   dialFunc
	// exec runs argv in the pod and gives its exit code.
	exec func(ctx context.Context, argv []string) (int, error)
}

// dialFunc opens a connection to an IP address and port.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// newProber gives a prober whose HTTP client keeps no connections and follows no redirects to other hosts.
func newProber(dial dialFunc, exec func(ctx context.Context, argv []string) (int, error)) *prober {
	return &prober{exec: exec, dial: dial, client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil, DialContext: dial},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// check runs p once; nil means that it passed.
func (r *prober) check(ctx context.Context, p *probe) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	switch {
	case p.url != "":
		return r.get(ctx, p)
	case p.addr.IsValid():
		conn, err := r.dial(ctx, "tcp", p.addr.String())
		if err != nil {
			return err
		}
		return conn.Close()
	}
	code, err := r.exec(ctx, p.argv)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	return err
}

func (r *prober) get(ctx context.Context, p *probe) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kube-probe/1.34")
	for _, h := range p.headers {
		if strings.EqualFold(h.Name, "host") {
			req.Host = h.Value
		}
		req.Header.Set(h.Name, h.Value)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 10<<10)
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("%s answered %d", p.url, resp.StatusCode)
	}
	return nil
}

// tally counts the results of one probe. Its zero value has seen nothing.
type tally struct {
	passed, failed bool
	ever           bool
	oks, fails     int
	// hurry is the current eager pause, waited the time since the last failure that counted.
	hurry, waited time.Duration
}

// add takes one result and reports whether passed or failed changed. Eager failures count once per period, so that
// hurrying shortens no failureThreshold.
func (v *tally) add(p *probe, ok bool) bool {
	before := *v
	switch {
	case ok:
		v.oks, v.fails = v.oks+1, 0
		if v.oks >= p.successes {
			v.passed, v.ever, v.failed = true, true, false
		}
	case p.eager && !v.ever && v.waited < p.period:
		v.oks = 0
	default:
		v.oks, v.fails, v.waited = 0, v.fails+1, 0
		if v.fails >= p.failures {
			v.passed, v.failed = false, true
		}
	}
	return before.passed != v.passed || before.failed != v.failed
}

// pause is the time until the next try.
func (v *tally) pause(p *probe) time.Duration {
	if v.ever || !p.eager {
		return p.period
	}
	v.hurry = min(max(2*v.hurry, eagerProbe), p.period, maxEagerProbe)
	v.waited += v.hurry
	return v.hurry
}

// loop probes until ctx ends and calls report on every change and, while it fails, with the reason.
func (r *prober) loop(ctx context.Context, p *probe, report func(v tally, why error)) {
	var v tally
	timer := time.NewTimer(p.initialDelay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := r.check(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if v.add(p, err == nil) || err != nil {
			report(v, err)
		}
		timer.Reset(v.pause(p))
	}
}
