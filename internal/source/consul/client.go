package consul

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAnswer bounds the bytes of an answer, maxToken those of a token.
	maxAnswer, maxToken = 16 << 20, 4 << 10
	// maxWords bounds what is repeated of an error that the server gives.
	maxWords = 200
)

// client asks an agent or a server. It is safe for concurrent use.
type client struct {
	base *url.URL
	o    *Options
	http *http.Client
	most int64 // bytes of an answer: maxAnswer
}

// ParseAddress reads an address: its URL, and the path of its socket where that is what there is.
func ParseAddress(address string) (base *url.URL, socket string, err error) {
	written := address
	if !strings.Contains(written, "://") {
		written = "http://" + written
	}
	base, err = url.Parse(written)
	switch {
	case err == nil && base.Scheme == "unix" && base.Host == "" && strings.HasPrefix(base.Path, "/"):
		return &url.URL{Scheme: "http", Host: "localhost"}, base.Path, nil
	case err != nil || base.Hostname() == "" || base.Scheme != "http" && base.Scheme != "https":
		return nil, "", fmt.Errorf("consul: address %q: write HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:///PATH", address)
	case base.Path != "" && base.Path != "/" || base.RawQuery != "" || base.User != nil:
		return nil, "", fmt.Errorf("consul: address %q: write a host and a port, and nothing behind it", address)
	}
	if base.Port() == "" {
		base.Host = net.JoinHostPort(base.Hostname(), map[string]string{"http": "8500", "https": "8501"}[base.Scheme])
	}
	return base, "", nil
}

// newClient makes one. It reads no file and dials nothing yet.
func newClient(o *Options) (*client, error) {
	base, socket, err := ParseAddress(o.Address)
	if err != nil {
		return nil, err
	}
	switch {
	case base.Scheme == "http" && (o.CAFile != "" || o.CertFile != "" || o.ServerName != ""):
		return nil, fmt.Errorf("consul: address %q is without TLS, and files or a server name for TLS are given: write https://", o.Address)
	case (o.CertFile == "") != (o.KeyFile == ""):
		return nil, errors.New("consul: a client certificate takes both its file and that of its key")
	}
	c := &client{base: base, o: o, most: maxAnswer}
	dialer := &net.Dialer{Timeout: answerTime / 2, KeepAlive: 15 * time.Second}
	c.http = &http.Client{
		// An answer that leads elsewhere would take the token there.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if socket != "" {
					network, address = "unix", socket
				}
				return dialer.DialContext(ctx, network, address)
			},
			DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				config, err := c.tls()
				if err != nil {
					return nil, err
				}
				return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, network, address)
			},
			MaxIdleConnsPerHost: maxHeld, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		},
	}
	return c, nil
}

// tls reads the files anew for each connection, so that they can be replaced.
func (c *client) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.o.ServerName}
	if config.ServerName == "" {
		config.ServerName = c.base.Hostname()
	}
	if c.o.CAFile != "" {
		pem, err := os.ReadFile(c.o.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", c.o.CAFile)
		}
	}
	if c.o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.o.CertFile, c.o.KeyFile)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// token reads the token anew for each question: whoever rotates it replaces the file.
func (c *client) token() (string, error) {
	if c.o.TokenFile == "" {
		return "", nil
	}
	f, err := os.Open(c.o.TokenFile)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxToken))
	token := strings.TrimSpace(string(text))
	if err == nil && token == "" {
		err = fmt.Errorf("%s: no token in it", c.o.TokenFile)
	}
	return token, err
}

// question is one request. An index of 0 is answered at once.
type question struct {
	path, datacenter string
	index            uint64
	wait             time.Duration
	// newest is asked of the leader; what others say may be a moment old.
	newest bool
}

// answerInfo is what the head of an answer says.
type answerInfo struct {
	index    uint64
	filtered bool // the token may not see all of it
}

// ask asks, and reads the answer into a value.
func (c *client) ask(ctx context.Context, q question, into any) (answerInfo, error) {
	limit := answerTime
	query := url.Values{}
	if !q.newest {
		query.Set("stale", "")
	}
	if q.datacenter != "" {
		query.Set("dc", q.datacenter)
	}
	if q.index > 0 {
		query.Set("index", strconv.FormatUint(q.index, 10))
		query.Set("wait", strconv.FormatInt(q.wait.Milliseconds(), 10)+"ms")
		limit += q.wait + q.wait/16
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := c.send(ctx, http.MethodGet, &url.URL{Path: q.path, RawQuery: query.Encode()}, nil)
	if err != nil {
		return answerInfo{}, err
	}
	defer resp.Body.Close()
	return c.read(resp, into)
}

// put has a value written. To do it again is the same.
func (c *client) put(ctx context.Context, path string, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	resp, err := c.send(ctx, http.MethodPut, &url.URL{Path: path}, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var done bool
	if _, err = c.read(resp, &done); err == nil && !done {
		err = errors.New("it answers false")
	}
	return err
}

// send sends a request, with the token. The path and query are those of what.
func (c *client) send(ctx context.Context, method string, what *url.URL, body []byte) (*http.Response, error) {
	at := *c.base
	at.Path, at.RawPath, at.RawQuery = what.Path, "", what.RawQuery
	req, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	token, err := c.token()
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if token != "" {
		req.Header.Set("X-Consul-Token", token)
	}
	return c.http.Do(req)
}

var errNoLeader = errors.New("it knows no leader, so that what it says may be long past")

// read reads an answer into a value.
func (c *client) read(resp *http.Response, into any) (answerInfo, error) {
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxWords)) // what came of it
		return answerInfo{}, &statusError{status: resp.StatusCode, words: firstLine(text)}
	}
	if resp.Header.Get("X-Consul-Knownleader") == "false" {
		return answerInfo{}, errNoLeader
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.most+1))
	switch {
	case err != nil:
		return answerInfo{}, err
	case int64(len(body)) > c.most:
		return answerInfo{}, fmt.Errorf("the answer is longer than %.3g MiB", float64(c.most)/(1<<20))
	}
	if body = bytes.TrimSpace(body); len(body) == 0 || bytes.Equal(body, []byte("null")) {
		return answerInfo{}, errors.New("the answer is empty")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return answerInfo{}, fmt.Errorf("the answer is not Consul's: %w", err)
	}
	index, err := strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64)
	if err != nil {
		index = 0
	}
	return answerInfo{index: index, filtered: resp.Header.Get("X-Consul-Results-Filtered-By-Acls") == "true"}, nil
}

// statusError is an answer that is none.
type statusError struct {
	status int
	words  string
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("it answers %d", e.status)
	if e.words != "" {
		text += fmt.Sprintf(" %q", e.words)
	}
	return text
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return strings.ToValidUTF8(line, "?")
}

// cause puts an error into words that are the same as long as the trouble is: without the ports of connections.
func cause(err error) string {
	var op *net.OpError
	var status *statusError
	switch {
	case errors.As(err, &status):
		return status.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	}
	if at, ok := errors.AsType[*url.Error](err); ok {
		err = at.Err
	}
	return firstLine([]byte(err.Error()))
}
