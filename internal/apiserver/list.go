package apiserver

import (
	"context"
	"maps"
	"net/url"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// pageSize is how many objects one request lists: a page of pods is a few megabytes before it is stripped.
	pageSize = 500
	// pageTimeout bounds the request of one page.
	pageTimeout = time.Minute
)

// List lists a path page by page and shows every object to visit, which may keep what it decodes of it. It gives the
// resourceVersion of the list.
func (c *Client) List(ctx context.Context, r Request, visit func(Raw) error) (version string, err error) {
	r.Query = maps.Clone(r.Query)
	if r.Query == nil {
		r.Query = url.Values{}
	}
	r.Query.Set("limit", strconv.Itoa(pageSize))
	for {
		about, err := c.page(ctx, r, visit)
		if err != nil {
			return "", err
		}
		if about.Continue == "" {
			return about.ResourceVersion, nil
		}
		r.Query.Set("continue", about.Continue)
	}
}

func (c *Client) page(ctx context.Context, r Request, visit func(Raw) error) (metav1.ListMeta, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	answer, err := c.Do(ctx, r)
	if err != nil {
		return metav1.ListMeta{}, err
	}
	p, err := answer.page()
	if err != nil {
		return metav1.ListMeta{}, err
	}
	for i := range p.items {
		if err := visit(p.items[i]); err != nil {
			return metav1.ListMeta{}, err
		}
	}
	return p.about, nil
}
