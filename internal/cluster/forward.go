package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/transport/websocket"
	"k8s.io/streaming/pkg/httpstream"
	streamspdy "k8s.io/streaming/pkg/httpstream/spdy"
)

// tunnelPrefix precedes the protocol's name where SPDY travels in WebSocket messages: SPDYOverWebsocket of KEP-4006,
// k8s.io/apimachinery/pkg/util/portforward/constants.go.
const tunnelPrefix = "SPDY/3.1+"

// pingPeriod keeps load balancers before the API server from dropping a quiet connection; kubectl's value.
const pingPeriod = 10 * time.Second

// maxComplaint bounds what the kubelet says about a connection that it could not make.
const maxComplaint = 8 << 10

// DialPod connects to a port on the loopback address inside a pod, as kubectl port-forward does. ctx bounds the set-up;
// after that the connection lives until it is closed. Deadlines have no effect on it. That nothing listens on the port
// is known only with the first Read.
func (c *Client) DialPod(ctx context.Context, namespace, pod string, port uint16) (net.Conn, error) {
	conn, err := c.upgrade(ctx, Path("/api/v1", namespace, "pods", pod)+"/portforward")
	if err != nil {
		return nil, fmt.Errorf("port-forward to pod %s/%s: %w", namespace, pod, err)
	}
	f, err := newForwarded(conn, port)
	if err != nil {
		return nil, fmt.Errorf("port-forward to pod %s/%s: %w", namespace, pod, errors.Join(err, conn.Close()))
	}
	f.where = fmt.Sprintf("port %d of pod %s/%s", port, namespace, pod)
	return f, nil
}

// upgraded is a connection to the kubelet that carries streams.
type upgraded struct{ httpstream.Connection }

// upgrade asks for the stream protocol in WebSocket first, which is what proxies let pass, and plainly where the API
// server is older than 1.31.
func (c *Client) upgrade(ctx context.Context, path string) (*upgraded, error) {
	target := c.api.Server().JoinPath(path)
	conn, err := c.upgradeWebSocket(ctx, target)
	if err == nil || !httpstream.IsUpgradeFailure(err) && !httpstream.IsHTTPSProxyError(err) {
		return conn, err
	}
	return c.upgradeSPDY(ctx, target)
}

func (c *Client) upgradeWebSocket(ctx context.Context, target *url.URL) (*upgraded, error) {
	rt, holder, err := websocket.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	ws, err := websocket.Negotiate(rt, holder, req, tunnelPrefix+portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	conn, err := streamspdy.NewClientConnectionWithPings(portforward.NewTunnelingConnection("fairlead", ws), pingPeriod)
	if err != nil {
		return nil, errors.Join(err, ws.Close())
	}
	return &upgraded{conn}, nil
}

func (c *Client) upgradeSPDY(ctx context.Context, target *url.URL) (*upgraded, error) {
	rt, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	conn, _, err := spdy.NegotiateStreaming(upgrader, &http.Client{Transport: rt}, req, portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	return &upgraded{conn}, nil
}

// forwarded is one connection into a pod: a stream for data, and one on which the kubelet complains.
type forwarded struct {
	data      httpstream.Stream
	conn      *upgraded
	where     string
	closeOnce sync.Once
	// complained is closed when the error stream has ended; complaint is what was on it, set before.
	complained chan struct{}
	complaint  string
	// ended is closed when nothing of the connection runs any more.
	ended chan struct{}
}

// forwardError is the kubelet's complaint about a connection.
type forwardError struct{ text string }

// Error implements error.
func (e *forwardError) Error() string { return e.text }

// newForwarded opens the two streams of one forwarded connection.
func newForwarded(conn *upgraded, port uint16) (*forwarded, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	complaints, err := conn.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	if err := complaints.Close(); err != nil { // nothing is written to it
		return nil, err
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	f := &forwarded{data: data, conn: conn, complained: make(chan struct{}), ended: make(chan struct{})}
	go func() { // ends with the stream, at the latest when the connection is closed
		defer close(f.ended)
		text, _ := io.ReadAll(io.LimitReader(complaints, maxComplaint))
		f.complaint = strings.TrimSpace(string(text))
		close(f.complained)
		if f.complaint != "" {
			_ = data.Reset() // the kubelet leaves the data stream open where it never had a connection
		}
	}()
	return f, nil
}

// Read implements net.Conn. Where the far end is gone it says why, if the kubelet did.
func (f *forwarded) Read(p []byte) (int, error) {
	n, err := f.data.Read(p)
	if err == nil || n > 0 {
		return n, err
	}
	<-f.complained // it ends before the data does, and with the connection at the latest
	if f.complaint != "" {
		return 0, f.explain()
	}
	return 0, err
}

// explain turns the kubelet's complaint, which tells the life of the sandbox, into its last and useful part.
func (f *forwarded) explain() error {
	text := f.complaint
	if strings.Contains(text, "connection refused") {
		return &forwardError{"nothing listens on " + f.where}
	}
	if at := strings.LastIndex(text, "failed to execute portforward in network namespace"); at >= 0 {
		text = text[at:]
	}
	return &forwardError{f.where + ": " + text}
}

// Write implements net.Conn. Where the far end is gone it says why, if the kubelet did.
func (f *forwarded) Write(p []byte) (int, error) {
	n, err := f.data.Write(p)
	if err == nil {
		return n, nil
	}
	select {
	case <-f.complained:
		if f.complaint != "" {
			return n, f.explain()
		}
	default:
	}
	return n, err
}

// CloseWrite says that nothing more comes; what the far end still has to say is read.
func (f *forwarded) CloseWrite() error { return f.data.Close() }

// Close implements net.Conn and ends everything that belongs to the connection.
func (f *forwarded) Close() error {
	err := net.ErrClosed
	f.closeOnce.Do(func() {
		err = errors.Join(f.data.Reset(), f.conn.Close())
		<-f.ended
	})
	return err
}

// LocalAddr implements net.Conn.
func (f *forwarded) LocalAddr() net.Addr { return forwardedAddr() }

// RemoteAddr implements net.Conn.
func (f *forwarded) RemoteAddr() net.Addr { return forwardedAddr() }

// forwardedAddr stands for both ends, of which only the pod's own loopback is known.
func forwardedAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0))
}

// SetDeadline implements net.Conn and does nothing: see DialPod.
func (f *forwarded) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn and does nothing: see DialPod.
func (f *forwarded) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn and does nothing: see DialPod.
func (f *forwarded) SetWriteDeadline(time.Time) error { return nil }
