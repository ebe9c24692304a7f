package cni

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// attemptTimeout bounds one request to the API server; several are made.
	attemptTimeout = 4 * time.Second
	// firstPause is the time before the second attempt. It doubles up to maxPause.
	firstPause = 100 * time.Millisecond
	maxPause   = 2 * time.Second
	// maxAnswer bounds an answer in bytes; the API server stores no object above 1.5 MiB or so.
	maxAnswer = 8 << 20
)

// errNotFound says that the API server has no such object.
var errNotFound = errors.New("not found")

// statusError is an answer that is no success.
type statusError struct {
	code    int
	message string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.code, e.message) }

func (e *statusError) Is(target error) bool {
	return target == errNotFound && e.code == http.StatusNotFound
}

// status gives the code of an answer that was no success, 0 where there was no answer.
func status(err error) int {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.code
	}
	return 0
}

// pod is what is decoded of a Pod.
type pod struct {
	Metadata podMetadata `json:"metadata"`
	Spec     struct {
		RestartPolicy string `json:"restartPolicy"`
	} `json:"spec"`
	Status struct {
		Phase                 string            `json:"phase"`
		StartTime             time.Time         `json:"startTime"`
		InitContainerStatuses []containerStatus `json:"initContainerStatuses"`
	} `json:"status"`
}

type podMetadata struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid"`
	ResourceVersion   string            `json:"resourceVersion"`
	DeletionTimestamp *time.Time        `json:"deletionTimestamp"`
	Annotations       map[string]string `json:"annotations"`
	Labels            map[string]string `json:"labels"`
	OwnerReferences   []ownerReference  `json:"ownerReferences"`
}

type ownerReference struct {
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Controller bool   `json:"controller"`
}

type containerStatus struct {
	Name      string         `json:"name"`
	State     containerState `json:"state"`
	LastState containerState `json:"lastState"`
}

type containerState struct {
	Running    *struct{} `json:"running"`
	Terminated *struct {
		ExitCode int `json:"exitCode"`
	} `json:"terminated"`
}

func (p *pod) String() string { return p.Metadata.Namespace + "/" + p.Metadata.Name }

// client speaks to the API server. It is safe for concurrent use.
type client struct {
	http   *http.Client
	server string
	// token gives the bearer token; it is asked for each request, since tokens are rotated.
	token func() (string, error)
}

// newClient makes a client that trusts the authorities in ca (PEM).
func newClient(server string, ca []byte, token func() (string, error)) (*client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, fmt.Errorf("API server %q: write https://host:port", server)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("API server %s: no certificate in its CA bundle", server)
		}
	}
	transport := &http.Transport{
		// No proxy from the environment: the API server is near.
		DialContext:         (&net.Dialer{Timeout: attemptTimeout}).DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: attemptTimeout,
		ForceAttemptHTTP2:   true,
		IdleConnTimeout:     time.Minute,
	}
	return &client{http: &http.Client{Transport: transport}, server: strings.TrimSuffix(server, "/"), token: token}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// request is one request; contentType and body are empty where there is none.
type request struct {
	method, path, contentType string
	body                      []byte
}

// do sends a request once and gives a successful response, whose body the caller closes.
func (c *client) do(ctx context.Context, r request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, c.server+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", Name)
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer resp.Body.Close()
	var answer struct {
		Message string `json:"message"`
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // what cannot be read is left out of the message
	if json.Unmarshal(b, &answer) != nil || answer.Message == "" {
		answer.Message = strings.TrimSpace(string(b))
	}
	return nil, &statusError{resp.StatusCode, answer.Message}
}

// once sends a request and decodes the answer into into, unless that is nil.
func (c *client) once(ctx context.Context, r request, into any) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	resp, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into)
}

// get asks until there is an answer that will not change: 401 may, since the installer renews the token.
func (c *client) get(ctx context.Context, path string, into any) error {
	var last error
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := c.once(ctx, request{method: http.MethodGet, path: path}, into)
		if err == nil || permanent(err) {
			return err
		}
		if last == nil || ctx.Err() == nil {
			last = err // what is cut off at the end says less than the one before
		}
		if wait(ctx, pause) != nil {
			return last
		}
	}
}

func permanent(err error) bool {
	code := status(err)
	return code == http.StatusNotFound || code == http.StatusForbidden || code == http.StatusBadRequest
}

// wait pauses; its error is ctx's.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (c *client) pod(ctx context.Context, namespace, name string) (*pod, error) {
	p := &pod{}
	if err := c.get(ctx, podPath(namespace, name), p); err != nil {
		return nil, fmt.Errorf("the API server %s does not tell about the pod: %w%s", c.server, err, hint(err))
	}
	return p, nil
}

// hint says what usually lies behind a refusal.
func hint(err error) string {
	switch status(err) {
	case http.StatusUnauthorized:
		return " (its token has expired: does fairlead-cni run on this node?)"
	case http.StatusForbidden:
		return " (the service account of fairlead-cni lacks a permission)"
	}
	return ""
}

func podPath(namespace, name string) string {
	return "/api/v1/namespaces/" + url.PathEscape(namespace) + "/pods/" + url.PathEscape(name)
}

// kubeconfig is the part of a kubeconfig file that a token needs. It is written as JSON, which is YAML too.
type kubeconfig struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	Clusters       []namedCluster `json:"clusters"`
	Users          []namedUser    `json:"users"`
	Contexts       []namedContext `json:"contexts"`
	CurrentContext string         `json:"current-context"`
}

type namedCluster struct {
	Name    string `json:"name"`
	Cluster struct {
		Server string `json:"server"`
		CA     string `json:"certificate-authority-data"` // base64 of PEM
	} `json:"cluster"`
}

type namedUser struct {
	Name string `json:"name"`
	User struct {
		Token string `json:"token"`
	} `json:"user"`
}

type namedContext struct {
	Name    string `json:"name"`
	Context struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	} `json:"context"`
}

// encodeKubeconfig writes one cluster and one user.
func encodeKubeconfig(server string, ca []byte, token string) ([]byte, error) {
	var cluster namedCluster
	var user namedUser
	var current namedContext
	cluster.Name, user.Name, current.Name = Name, Name, Name
	cluster.Cluster.Server, cluster.Cluster.CA = server, base64.StdEncoding.EncodeToString(ca)
	user.User.Token = token
	current.Context.Cluster, current.Context.User = Name, Name
	b, err := json.MarshalIndent(kubeconfig{
		APIVersion: "v1", Kind: "Config", CurrentContext: Name,
		Clusters: []namedCluster{cluster}, Users: []namedUser{user}, Contexts: []namedContext{current},
	}, "", "  ")
	return append(b, '\n'), err
}

// clientOf makes a client from a kubeconfig file of the installer's.
func clientOf(path string) (*client, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w (fairlead-cni writes it; does it run on this node?)", err)
	}
	var k kubeconfig
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	if len(k.Clusters) != 1 || len(k.Users) != 1 {
		return nil, fmt.Errorf("kubeconfig %s: %d clusters and %d users, want one of each, as fairlead-cni writes them", path, len(k.Clusters), len(k.Users))
	}
	ca, err := base64.StdEncoding.DecodeString(k.Clusters[0].Cluster.CA)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: certificate-authority-data: %w", path, err)
	}
	c, err := newClient(k.Clusters[0].Cluster.Server, ca, func() (string, error) { return k.Users[0].User.Token, nil })
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	return c, nil
}
