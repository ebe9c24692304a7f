package cluster

import (
	"context"
	"errors"
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/rest"
)

// errNotSent ends a request that is made for its header alone.
var errNotSent = errors.New("not sent")

// headerOnly takes down the header of a request and does not send it.
type headerOnly struct{ header http.Header }

// RoundTrip implements http.RoundTripper.
func (h *headerOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	h.header = r.Header
	return nil, errNotSent
}

// Token is the bearer token by which the kubeconfig identifies its user, from wherever it says, a credential plugin
// included. It is empty where the user has another proof, such as a certificate.
func (c *Client) Token(ctx context.Context) (string, error) {
	var seen headerOnly
	wrapped, err := rest.HTTPWrappersForConfig(c.config, &seen)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Server(), http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := wrapped.RoundTrip(req)
	if resp != nil {
		resp.Body.Close()
	}
	if !errors.Is(err, errNotSent) {
		return "", err // of a credential plugin
	}
	token, _ := strings.CutPrefix(seen.header.Get("Authorization"), "Bearer ")
	return token, nil
}

// AccountToken has the API server make a token of a service account, for one audience and ten minutes.
func (c *Client) AccountToken(ctx context.Context, namespace, account, audience string) (string, error) {
	seconds := int64(600)
	request := authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds}}
	path := Path("/api/v1", namespace, "serviceaccounts", account) + "/token"
	if err := c.Create(ctx, path, &request, &request); err != nil {
		return "", err
	}
	return request.Status.Token, nil
}
