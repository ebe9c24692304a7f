package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ErrNoCluster says that nothing names a cluster: no kubeconfig file has a context to use.
var ErrNoCluster = errors.New("no cluster: no kubeconfig with a current context")

// maxAnswer bounds one answer of the API server. A page of 500 pods has about 10 MB.
const maxAnswer = 256 << 20

// pageSize is how many objects of a list are asked for at once.
const pageSize = 500

// Options choose a cluster as kubectl's flags and environment do.
type Options struct {
	// Kubeconfig is the only file to read; empty means $KUBECONFIG, or else $HOME/.kube/config.
	Kubeconfig string
	// Context is the context in it; empty means the current one.
	Context string
	// Namespace overrides that of the context.
	Namespace string
	// Environ is the environment in the form of os.Environ.
	Environ []string
	// UserAgent is what the API server's audit log shows.
	UserAgent string
}

// Client talks to one cluster.
type Client struct {
	config    *rest.Config
	http      *http.Client
	base      *url.URL
	namespace string
}

// Load reads the kubeconfig and makes no connection. Without a cluster to talk to the error is ErrNoCluster.
func Load(o Options) (*Client, error) {
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: o.Kubeconfig, Precedence: o.files()}
	overrides := &clientcmd.ConfigOverrides{CurrentContext: o.Context}
	overrides.Context.Namespace = o.Namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	if err := o.checkContext(loader); err != nil {
		return nil, err
	}
	config, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("%w (looked at %s)", ErrNoCluster, o.looked())
	}
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return New(config, namespace, o.UserAgent)
}

// checkContext says which contexts there are when the one asked for is not among them.
func (o Options) checkContext(loader clientcmd.ClientConfig) error {
	raw, err := loader.RawConfig()
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	if o.Context == "" || raw.Contexts[o.Context] != nil {
		return nil
	}
	known := slices.Sorted(maps.Keys(raw.Contexts))
	if len(known) == 0 {
		return fmt.Errorf("context %q: %w (looked at %s)", o.Context, ErrNoCluster, o.looked())
	}
	return fmt.Errorf("context %q is not in the kubeconfig, which has: %s", o.Context, strings.Join(known, ", "))
}

// files are the kubeconfig files by precedence, as kubectl reads them.
func (o Options) files() []string {
	if list := o.env("KUBECONFIG"); list != "" {
		return filepath.SplitList(list)
	}
	if home := o.env("HOME"); home != "" {
		return []string{filepath.Join(home, clientcmd.RecommendedHomeDir, clientcmd.RecommendedFileName)}
	}
	return nil
}

func (o Options) looked() string {
	if o.Kubeconfig != "" {
		return o.Kubeconfig
	}
	if files := o.files(); len(files) > 0 {
		return strings.Join(files, ", ")
	}
	return "$KUBECONFIG"
}

func (o Options) env(name string) string {
	value := ""
	for _, kv := range o.Environ { // the last one counts, as for os.Getenv of a child
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}

// New makes a client of a configuration that is already there. It makes no connection.
func New(config *rest.Config, namespace, userAgent string) (*Client, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = userAgent
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: server %q: %w", config.Host, err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return &Client{config: config, http: client, base: base, namespace: namespace}, nil
}

// Server is the URL of the API server.
func (c *Client) Server() string { return c.base.String() }

// Namespace is the one to use where a command names none: that of the context, or "default".
func (c *Client) Namespace() string { return c.namespace }

// Path is the path of an object, of a list where name is empty, and of a cluster-wide list or object where namespace
// is. prefix is "/api/v1" or "/apis/GROUP/VERSION".
func Path(prefix, namespace, resource, name string) string {
	var b strings.Builder
	b.WriteString(prefix)
	if namespace != "" {
		b.WriteString("/namespaces/" + url.PathEscape(namespace))
	}
	b.WriteString("/" + resource)
	if name != "" {
		b.WriteString("/" + url.PathEscape(name))
	}
	return b.String()
}

// Get decodes the answer to a GET of path, which may carry a query, into a value.
func (c *Client) Get(ctx context.Context, path string, into any) error {
	_, err := c.do(ctx, http.MethodGet, path, nil, into)
	return err
}

// GetHeader is Get for those who need to know what came with the answer.
func (c *Client) GetHeader(ctx context.Context, path string, into any) (http.Header, error) {
	return c.do(ctx, http.MethodGet, path, nil, into)
}

// Create posts body as JSON to path and decodes the answer.
func (c *Client) Create(ctx context.Context, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, http.MethodPost, path, data, into)
	return err
}

// Each lists path page by page and shows every item to visit, which may keep what it needs of it. query may be nil.
func Each[T any](ctx context.Context, c *Client, path string, query url.Values, visit func(*T)) error {
	query = maps.Clone(query)
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", strconv.Itoa(pageSize))
	for {
		var page struct {
			Metadata metav1.ListMeta `json:"metadata"`
			Items    []T             `json:"items"`
		}
		if err := c.Get(ctx, path+"?"+query.Encode(), &page); err != nil {
			return err
		}
		for i := range page.Items {
			visit(&page.Items[i])
		}
		if page.Metadata.Continue == "" {
			return nil
		}
		query.Set("continue", page.Metadata.Continue)
	}
}

func (c *Client) do(ctx context.Context, method, path string, body []byte, into any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.base.String(), "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.send(req, path, into)
}

// send makes the request for path and decodes the answer.
func (c *Client) send(req *http.Request, path string, into any) (http.Header, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, statusError(resp.StatusCode, req.Method, path, data)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return nil, fmt.Errorf("%s: the answer of %s is not the expected JSON: %w", path, c.Server(), err)
	}
	return resp.Header, nil
}

// unreachable shortens what net/http says to what a user can act on.
func (c *Client) unreachable(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		return fmt.Errorf("API server %s: no answer in time: %w", c.Server(), context.DeadlineExceeded)
	}
	return fmt.Errorf("API server %s: %w", c.Server(), err)
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// statusError is the API server's own words where it has some.
func statusError(code int, method, path string, body []byte) error {
	status := metav1.Status{}
	if json.Unmarshal(body, &status) == nil && status.Kind == "Status" && status.Message != "" {
		return &apierrors.StatusError{ErrStatus: status}
	}
	const words = 200 // of an answer that may be a proxy's whole HTML page
	text := strings.TrimSpace(string(body[:min(len(body), words)]))
	resource, _, _ := strings.Cut(path, "?")
	return apierrors.NewGenericServerResponse(code, method, schema.GroupResource{Resource: resource}, "", text, 0, true)
}
