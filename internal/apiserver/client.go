package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

// maxAnswer bounds one answer in bytes. A page of 500 pods has about 10 MB.
const maxAnswer = 256 << 20

// What is asked for with Accept. The metadata alone is what Kubernetes calls PartialObjectMetadata.
const (
	JSON     = "application/json"
	Protobuf = "application/vnd.kubernetes.protobuf"

	onlyMetadata = ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	onlyOfList   = ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
)

// Client talks to one API server.
type Client struct {
	http  *http.Client
	base  *url.URL
	limit flowcontrol.RateLimiter // nil where there is none
	dated func(sent, got, date time.Time)
}

// New reads certificates and tokens where the config names files, and makes no connection.
func New(config *rest.Config) (*Client, error) {
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("the address of the API server, %q: %w", config.Host, err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("the API server's credentials: %w", err)
	}
	return &Client{http: client, base: base, dated: func(_, _, _ time.Time) {}}, nil
}

// Dated gives a client with the same connections that tells of each answer with a date when it was asked for, when its head came, and the date.
func (c *Client) Dated(dated func(sent, got, date time.Time)) *Client {
	out := *c
	out.dated = dated
	return &out
}

// Limited gives a client with the same connections whose requests stand in line: so many per second, and so many at once
// after a pause.
func (c *Client) Limited(perSecond float32, burst int) *Client {
	out := *c
	out.limit = flowcontrol.NewTokenBucketRateLimiter(perSecond, burst)
	return &out
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Server is the URL of the API server.
func (c *Client) Server() *url.URL { return c.base }

// Request is one request.
type Request struct {
	// Method is GET where it is empty.
	Method string
	// Path may carry a query; Query is added to it.
	Path  string
	Query url.Values
	// Accept is what the answer may be, JSON where it is empty.
	Accept string
	// ContentType is that of Body, JSON where it is empty.
	ContentType string
	Body        []byte
	// Retries is how often the request is made again where the server says when (Retry-After).
	Retries int
}

func (r *Request) method() string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

// Answer is a successful answer, read whole.
type Answer struct {
	Header http.Header
	Raw
}

// Do makes a request.
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	resp, err := c.open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Path, err)
	}
	raw, err := Raw{Text: text, Protobuf: isProtobuf(resp.Header)}.opened()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Path, err)
	}
	return &Answer{Header: resp.Header, Raw: raw}, nil
}

// Get decodes the answer to a GET of path, in JSON, into a value.
func (c *Client) Get(ctx context.Context, path string, into any) error {
	answer, err := c.Do(ctx, Request{Path: path})
	if err != nil {
		return err
	}
	return answer.Into(into)
}

// open makes a request and gives a successful answer, whose body is to be read and closed.
func (c *Client) open(ctx context.Context, r Request) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		if c.limit != nil {
			if err := c.limit.Wait(ctx); err != nil {
				return nil, err
			}
		}
		resp, err := c.send(ctx, r)
		if err != nil || resp.StatusCode/100 == 2 {
			return resp, err
		}
		pause, asked := retryAfter(resp)
		err = failure(resp, r)
		if !asked || attempt == r.Retries {
			return nil, err
		}
		if !sleep(ctx, pause) {
			return nil, ctx.Err()
		}
	}
}

func (c *Client) send(ctx context.Context, r Request) (*http.Response, error) {
	target := strings.TrimSuffix(c.base.String(), "/") + r.Path
	if len(r.Query) > 0 {
		mark := "?"
		if strings.Contains(r.Path, "?") {
			mark = "&"
		}
		target += mark + r.Query.Encode()
	}
	var body io.Reader = http.NoBody
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method(), target, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", orJSON(r.Accept))
	if r.Body != nil {
		req.Header.Set("Content-Type", orJSON(r.ContentType))
	}
	sent := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		c.dated(sent, time.Now(), date)
	}
	return resp, nil
}

func orJSON(mediaType string) string {
	if mediaType == "" {
		return JSON
	}
	return mediaType
}

// retryAfter says when the server wants to be asked again, in the way of Kubernetes: whole seconds, with 429 or 5xx.
func retryAfter(resp *http.Response) (pause time.Duration, asked bool) {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode/100 != 5 {
		return 0, false
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0, false
	}
	return time.Duration(seconds) * time.Second, true
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// failure closes an answer that is none and gives the API server's own words where it has some.
func failure(resp *http.Response, r Request) error {
	defer resp.Body.Close()
	const most = 1 << 20
	text, _ := io.ReadAll(io.LimitReader(resp.Body, most)) // what was read until then may say enough
	if status, ok := statusOf(Raw{Text: text, Protobuf: isProtobuf(resp.Header)}); ok {
		return &apierrors.StatusError{ErrStatus: *status}
	}
	const words = 200 // of an answer that may be a proxy's whole HTML page
	resource, _, _ := strings.Cut(r.Path, "?")
	return apierrors.NewGenericServerResponse(resp.StatusCode, r.method(), schema.GroupResource{Resource: resource}, "",
		strings.TrimSpace(string(text[:min(len(text), words)])), 0, true)
}

func statusOf(answer Raw) (*metav1.Status, bool) {
	raw, err := answer.opened()
	if err != nil {
		return nil, false
	}
	var status metav1.Status
	if raw.Into(&status) != nil || status.Message == "" || !raw.Protobuf && status.Kind != "Status" {
		return nil, false
	}
	return &status, true
}

// Unavailable reports whether err says that the API server is away or busy, rather than that it refuses.
func Unavailable(err error) bool {
	var status apierrors.APIStatus
	return !errors.As(err, &status) || apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err)
}

// Expired reports whether err says that a resourceVersion or a page of a list is too old, or not known (yet) to the
// server that was asked. Only a new list helps.
func Expired(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) ||
		apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}
