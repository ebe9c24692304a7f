package admin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// pathWhy is where a sidecar says what it does with a request of its app, or a connection.
const pathWhy = "/why"

// Asked is a request of an app, or a connection where Method is empty.
type Asked struct {
	Method, Host string
	Port         uint16
	// Path may have a query. Headers are names and values.
	Path    string
	Headers [][2]string
}

// String is the request as a user would write it.
func (q *Asked) String() string {
	at := net.JoinHostPort(q.Host, strconv.Itoa(int(q.Port)))
	if q.Method == "" {
		return at
	}
	return q.Method + " http://" + at + q.Path
}

// mostHeaders bounds the headers of a question.
const mostHeaders = 100

// ParseAsked reads what a user asks about: a URL of http, or tcp://HOST:PORT for a connection. Without a scheme it is http's. Headers are
// "Name: value".
func ParseAsked(method, target string, headers []string) (q Asked, err error) {
	if !strings.Contains(target, "://") {
		target = "http://" + target
	}
	u, err := url.Parse(target)
	if err != nil {
		return q, fmt.Errorf("%q is no URL: write http://HOST:PORT/PATH", target)
	}
	port := u.Port()
	switch {
	case u.Scheme == "http" && port == "":
		port = "80"
	case u.Scheme == "tcp":
		method = ""
	case u.Scheme != "http":
		return q, fmt.Errorf("%q: the sidecar sees no requests in what the app encrypts itself: write http://HOST:PORT/PATH, or tcp://HOST:PORT", target)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if u.Hostname() == "" || err != nil || number == 0 {
		return q, fmt.Errorf("%q names no host and port: write http://HOST:PORT/PATH, or tcp://HOST:PORT", target)
	}
	if len(headers) > mostHeaders {
		return q, fmt.Errorf("%d headers are more than %d", len(headers), mostHeaders)
	}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return q, fmt.Errorf("%q is no header: write NAME: VALUE", h)
		}
		q.Headers = append(q.Headers, [2]string{strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)})
	}
	q.Method, q.Host, q.Port, q.Path = method, u.Hostname(), uint16(number), u.RequestURI()
	return q, nil
}

// Why is what a sidecar does with a request of its app, step by step, by what its data path reads. What is not reached is empty.
type Why struct {
	Pod       string `json:"pod"`
	Namespace string `json:"namespace"`
	Request   string `json:"request"`
	// Name is the last one that the app's resolver asks for, Addresses the answer, AnsweredBy by whom: "mesh" or "DNS"; nothing for an
	// address.
	Name       string   `json:"name,omitempty"`
	AnsweredBy string   `json:"answeredBy,omitempty"`
	Addresses  []string `json:"addresses,omitempty"`
	// Dialled is the address that the request is taken to go to: the first.
	Dialled string `json:"dialled,omitempty"`
	// Host and Service are what the address stands for, Protocol what its port carries.
	Host     string `json:"host,omitempty"`
	Service  string `json:"service,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	// Route is the first one whose conditions hold.
	Route    *RouteDump   `json:"route,omitempty"`
	Backends []WhyBackend `json:"backends,omitempty"`
	// End says how it ends where no endpoint is called.
	End string `json:"end,omitempty"`
}

// WhyBackend is who gets a share of such requests.
type WhyBackend struct {
	Percent   float64        `json:"percent"`
	Cluster   ClusterDump    `json:"cluster"`
	Endpoints []EndpointDump `json:"endpoints"`
}

// whyPage answers questions.
func whyPage(why func(context.Context, *Asked) Why) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		values := r.URL.Query()
		q, err := ParseAsked(values.Get("method"), values.Get("target"), values["header"])
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeJSON(w, why(r.Context(), &q))
	}
}

// Why asks a sidecar what it does with a request of its app. The arguments are those of ParseAsked.
func (c Client) Why(ctx context.Context, method, target string, headers []string) (*Why, error) {
	values := url.Values{"method": {method}, "target": {target}, "header": headers}
	w, err := read[Why](ctx, c, pathWhy+"?"+values.Encode())
	return &w, err
}
