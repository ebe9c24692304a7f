package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.dev/fairlead/internal/apiserver"
)

// ErrNoCluster says that nothing names a cluster: no kubeconfig file has a context to use.
var ErrNoCluster = errors.New("no cluster: no kubeconfig with a current context")

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
	api       *apiserver.Client
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
	api, err := apiserver.New(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return &Client{config: config, api: api, namespace: namespace}, nil
}

// Server is the URL of the API server.
func (c *Client) Server() string { return c.api.Server().String() }

// Namespace is the one to use where a command names none: that of the context, or "default".
func (c *Client) Namespace() string { return c.namespace }

// Path is apiserver.Path.
func Path(prefix, namespace, resource, name string) string {
	return apiserver.Path(prefix, namespace, resource, name)
}

// Get decodes the answer to a GET of path, which may carry a query, into a value.
func (c *Client) Get(ctx context.Context, path string, into any) error {
	_, err := c.do(ctx, apiserver.Request{Path: path}, into)
	return err
}

// GetHeader is Get, and gives the header of the answer as well.
func (c *Client) GetHeader(ctx context.Context, path string, into any) (http.Header, error) {
	return c.do(ctx, apiserver.Request{Path: path}, into)
}

// Create posts body as JSON to path and decodes the answer.
func (c *Client) Create(ctx context.Context, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, apiserver.Request{Method: http.MethodPost, Path: path, Body: data}, into)
	return err
}

// Each lists path page by page and shows every item to visit, which may keep what it needs of it. query may be nil.
func Each[T any](ctx context.Context, c *Client, path string, query url.Values, visit func(*T)) error {
	_, err := c.api.List(ctx, apiserver.Request{Path: path, Query: query}, func(raw apiserver.Raw) error {
		item := new(T)
		if err := c.decode(path, raw, item); err != nil {
			return err
		}
		visit(item)
		return nil
	})
	return c.explain(err)
}

// do makes a request and decodes the answer.
func (c *Client) do(ctx context.Context, r apiserver.Request, into any) (http.Header, error) {
	answer, err := c.api.Do(ctx, r)
	if err != nil {
		return nil, c.explain(err)
	}
	if err := c.decode(r.Path, answer.Raw, into); err != nil {
		return nil, err
	}
	return answer.Header, nil
}

func (c *Client) decode(path string, raw apiserver.Raw, into any) error {
	if err := raw.Into(into); err != nil {
		return fmt.Errorf("%s: the answer of %s is not the expected JSON: %w", path, c.Server(), err)
	}
	return nil
}

// explain shortens what net/http says to what a user can act on. What the API server says is left as it is.
func (c *Client) explain(err error) error {
	e, away := errors.AsType[*url.Error](err)
	switch {
	case !away:
		return err
	case errors.Is(e.Err, context.DeadlineExceeded) || isTimeout(e.Err):
		return fmt.Errorf("API server %s: no answer in time: %w", c.Server(), context.DeadlineExceeded)
	}
	return fmt.Errorf("API server %s: %w", c.Server(), e.Err)
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}
