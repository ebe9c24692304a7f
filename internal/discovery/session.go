package discovery

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/net/grpcstream"
	"fairlead.dev/fairlead/internal/plan"
)

const (
	// dialTimeout bounds connecting, and again the TLS handshake.
	dialTimeout = 5 * time.Second
	// helloTimeout bounds the time from the first byte to the server's answer to a new call.
	helloTimeout = 10 * time.Second
	// The wait before trying again, doubled after each failure. It is drawn from its upper half, so that clients who
	// lost the same control plane do not return in step.
	backoffMin, backoffMax = 100 * time.Millisecond, 5 * time.Second
	// settled is how long a conversation lasts before its end is followed by a new one at once.
	settled = time.Second
)

// connect keeps a conversation open until ctx ends.
func (c *Client) connect(ctx context.Context) {
	at := rand.IntN(len(c.o.Addrs)) //nolint:gosec // spreading load is no secret
	wait := backoffMin
	retry := time.NewTimer(0)
	defer retry.Stop()
	<-retry.C
	last := ""
	for {
		addr := c.o.Addrs[at%len(c.o.Addrs)]
		began := time.Now()
		synced := c.LastSync()
		err := c.converse(ctx, addr)
		if ctx.Err() != nil {
			return
		}
		if c.LastSync() != synced {
			wait, last = backoffMin, ""
		}
		if err == nil && time.Since(began) >= settled {
			continue
		}
		at++
		last = c.logLost(ctx, addr, last, err)
		retry.Reset(wait/2 + rand.N(wait/2)) //nolint:gosec // jitter is no secret
		wait = min(2*wait, backoffMax)
		select {
		case <-ctx.Done():
			return
		case <-retry.C:
		}
	}
}

// logLost writes one line when the reason is a new one, not one per attempt.
func (r *remote) logLost(ctx context.Context, addr, last string, err error) string {
	reason := "closed by the control plane"
	if err != nil {
		reason = err.Error()
	}
	if reason != last {
		r.o.Logger.LogAttrs(ctx, slog.LevelWarn, "control plane not reached, the last good configuration stays in force",
			slog.String("address", addr), slog.String("reason", reason))
	}
	return reason
}

// transport makes the HTTP/2 client of one conversation. It is not shared: when the conversation ends, so does the
// connection.
func (r *remote) transport() (*http.Transport, error) {
	config, err := r.o.TLSConfig()
	if err != nil {
		return nil, fmt.Errorf("TLS configuration: %w", err)
	}
	config = config.Clone() // the transport writes to it
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	return &http.Transport{
		DialContext:         r.o.Dial,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: dialTimeout,
		DisableCompression:  true,
		Protocols:           protocols,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  r.o.Keepalive,
			PingTimeout:      r.o.Keepalive,
			WriteByteTimeout: 2 * r.o.Keepalive,
		},
	}, nil
}

// call starts a gRPC call. The caller closes the body of the response and then the transport.
func (r *remote) call(ctx context.Context, tr *http.Transport, url string, body io.Reader) (*http.Response, error) {
	token, err := r.o.Token()
	if err != nil {
		return nil, fmt.Errorf("workload token: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", url, err)
	}
	req.Header.Set("Content-Type", grpcstream.ContentType)
	req.Header.Set("Te", "trailers")
	req.Header.Set("User-Agent", "fairlead-proxy/"+r.o.Node.Version)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get(grpcstream.HeaderStatus) != "" {
		resp.Body.Close()
		return nil, receivedStatus(resp)
	}
	return resp, nil
}

// errHello is the cause of a call that got no answer.
var errHello = fmt.Errorf("no answer to the call within %s", helloTimeout)

// converse holds one conversation. nil means that the server ended it in order.
func (c *Client) converse(ctx context.Context, addr string) error {
	tr, err := c.transport()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer tr.CloseIdleConnections()
	s := c.openSession()
	defer c.closeSession()

	requests, writeEnd := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = requests.Close() }) // frees a writer whose reader is gone
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { s.write(ctx, writeEnd) })
	defer wg.Wait()
	defer cancel(nil)

	hello := time.AfterFunc(helloTimeout, func() { cancel(errHello) })
	resp, err := c.call(ctx, tr, "https://"+addr+pathStream, requests)
	hello.Stop()
	if err != nil {
		_ = requests.Close() // a pipe: always nil
		if errors.Is(context.Cause(ctx), errHello) {
			return errHello
		}
		return err
	}
	defer resp.Body.Close()
	if o, ok := c.handler.(Observer); ok {
		wg.Go(func() { (&beside{&c.remote, o, tr, addr}).run(ctx) })
	}
	return c.read(ctx, s, resp, addr)
}

func (c *Client) openSession() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &session{c: c, wake: make(chan struct{}, 1), dirty: make(map[string]struct{})}
	s.first, s.announced = c.resume(c.o.Node)
	s.health = c.health
	for n := range c.names {
		if _, ok := s.announced[n]; !ok {
			s.dirty[n] = struct{}{}
		}
	}
	c.session = s
	poke(s.wake)
	return s
}

func (c *Client) closeSession() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = nil
	c.connected = false
}

func (c *Client) setConnected(ctx context.Context, addr string) {
	c.mu.Lock()
	c.connected = true
	c.renew()
	poke(c.nudged)
	c.mu.Unlock()
	c.o.Logger.LogAttrs(ctx, slog.LevelInfo, "connected to the control plane", slog.String("address", addr))
}

// read hands the responses to the applying goroutine, one after the other. The first one, which the server sends in
// any case, proves that it accepts this client.
func (c *Client) read(ctx context.Context, s *session, resp *http.Response, addr string) error {
	for first := true; ; first = false {
		b, err := readFrame(resp.Body, maxMessage)
		if errors.Is(err, io.EOF) {
			return receivedStatus(resp)
		}
		if err != nil {
			return err
		}
		response, err := parseResponse(b)
		if err != nil {
			return err
		}
		if first {
			c.setConnected(ctx, addr)
		}
		d := delivery{session: s, response: response, done: make(chan struct{})}
		select {
		case c.deliveries <- d:
			<-d.done
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// session is what one conversation still has to say. Its fields are guarded by Client.mu.
type session struct {
	c    *Client
	wake chan struct{} // one slot

	first     *Request            // not sent yet
	announced map[string]uint64   // the names that the server knows of, with the id of the subscription
	dirty     map[string]struct{} // names to compare with announced
	ack       uint64
	nacks     []Nack
	partial   []Rejection
	health    *HealthReport // not sent yet
}

// markDirty has a name compared with what the server knows of it. Client.mu is held.
func (s *session) markDirty(n string) {
	s.dirty[n] = struct{}{}
	poke(s.wake)
}

// acknowledge answers a response. Client.mu is held.
func (s *session) acknowledge(nonce uint64, rejections, partial []Rejection) {
	s.partial = append(s.partial, partial...)
	if len(rejections) > 0 {
		s.nacks = append(s.nacks, Nack{Nonce: nonce, Errors: rejections})
	} else {
		s.ack = nonce
	}
	poke(s.wake)
}

// next takes what there is to say, or nil.
func (s *session) next() *Request {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	r := s.first
	if r == nil {
		r = &Request{}
	}
	s.first = nil
	for n := range s.dirty {
		if id, known := s.announced[n]; known && (s.c.names[n] == nil || s.c.names[n].id != id) {
			r.Unsubscribe = append(r.Unsubscribe, n)
			delete(s.announced, n)
		}
	}
	before := len(r.Subscribe)
	for n := range s.dirty {
		st, wanted := s.c.names[n]
		_, known := s.announced[n]
		if wanted && !known {
			if len(s.announced) >= MaxNames {
				continue // waits until names that are leaving have made room
			}
			r.Subscribe = append(r.Subscribe, n)
			s.announced[n] = st.id
		}
		delete(s.dirty, n)
	}
	slices.Sort(r.Subscribe[before:])
	slices.Sort(r.Unsubscribe)
	r.Ack, r.Nacks = s.ack, s.nacks
	r.Partial = append(r.Partial, s.partial...)
	r.Health = s.health
	s.ack, s.nacks, s.partial, s.health = 0, nil, nil, nil
	if r.Node == nil && r.Health == nil && len(r.Subscribe)+len(r.Unsubscribe)+len(r.Nacks)+len(r.Partial) == 0 && r.Ack == 0 {
		return nil
	}
	return r
}

// write sends requests until ctx ends or the pipe is closed from the other side.
func (s *session) write(ctx context.Context, w *io.PipeWriter) {
	defer func() { _ = w.Close() }() // a pipe: always nil
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		r := s.next()
		if r == nil {
			continue
		}
		for _, part := range r.split(requestSize) {
			b, err := frame(part)
			if err != nil {
				w.CloseWithError(err)
				return
			}
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}
}

// Sign has the control plane sign a certificate request (PKCS #10, DER) for the identity that the token proves. It
// gives the chain, PEM, leaf first, and whom to trust. It works whether Run is running or not.
func (c *Client) Sign(ctx context.Context, csrDER []byte) (chainPEM []byte, trust *plan.TrustBundle, err error) {
	message, err := c.unaryAny(ctx, pathSign, append(make([]byte, headerSize), appendBlobs(csrDER)...))
	if err != nil {
		return nil, nil, fmt.Errorf("certificate from %w", err)
	}
	var roots, whole []byte
	if err := parseBlobs(message, &chainPEM, &roots, &whole); err != nil {
		return nil, nil, fmt.Errorf("SignResponse: %w", err)
	}
	if len(whole) == 0 { // a control plane that is older than roots of single trust domains
		return chainPEM, &plan.TrustBundle{Roots: []string{string(roots)}}, nil
	}
	r, err := Decode(whole)
	if err != nil {
		return nil, nil, fmt.Errorf("SignResponse: %w", err)
	}
	trust, ok := r.(*plan.TrustBundle)
	if !ok {
		return nil, nil, fmt.Errorf("SignResponse: whom to trust is a %T", r)
	}
	return chainPEM, trust, nil
}

// unaryAny makes a call of one message and one answer to one control plane after the other, until one answers. The request
// has room for the header of a frame in front. The error names the last one.
func (r *remote) unaryAny(ctx context.Context, path string, request []byte) (message []byte, err error) {
	start := rand.IntN(len(r.o.Addrs)) //nolint:gosec // spreading load is no secret
	for i := range r.o.Addrs {
		addr := r.o.Addrs[(start+i)%len(r.o.Addrs)]
		if message, err = r.unary(ctx, addr, path, request); err == nil {
			return message, nil
		}
		err = fmt.Errorf("%s: %w", addr, err)
	}
	return nil, err
}

// unary makes such a call to one control plane.
func (r *remote) unary(ctx context.Context, addr, path string, request []byte) ([]byte, error) {
	tr, err := r.transport()
	if err != nil {
		return nil, err
	}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	if request, err = seal(request); err != nil {
		return nil, err
	}
	resp, err := r.call(ctx, tr, "https://"+addr+path, bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	message, err := readFrame(resp.Body, maxMessage)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // the trailers come after the body
		return nil, err
	}
	return message, receivedStatus(resp)
}
