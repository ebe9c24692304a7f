package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/cluster"
	"fairlead.dev/fairlead/internal/observe"
)

const (
	// observerAccount is the service account, of the chart, in whose name a user observes whose kubeconfig has no token.
	observerAccount = "fairlead-tap"
	// observerAudience is what its token is good for: incluster.ObserveAudience.
	observerAudience = "observe.fairlead.dev"
)

// observerToken is what proves to the control plane who asks: the user's own token, or, where the kubeconfig has a
// certificate instead, which cannot be handed on, one of the chart's service account, which the API server gives to who may
// have it.
func (a *app) observerToken(ctx context.Context, c *cluster.Client) (string, error) {
	token, err := c.Token(ctx)
	if err != nil || token != "" {
		return token, err
	}
	token, err = c.AccountToken(ctx, a.system, observerAccount, observerAudience)
	switch {
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("the control plane in namespace %s is older than this command, or was installed without its ServiceAccount %s: fairlead upgrade --apply", a.system, observerAccount)
	case apierrors.IsForbidden(err):
		return "", fmt.Errorf("the kubeconfig has no token, and its user may not have one made for ServiceAccount %s/%s (create serviceaccounts/token): %w", a.system, observerAccount, err)
	}
	return token, err
}

// proof is the token of a mesh, empty where none is needed.
func (m *mesh) proof(ctx context.Context) (string, error) {
	if m.token == nil {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	return m.token(ctx)
}

// explainObserved says what a refusal of the control plane means.
func explainObserved(err error) error {
	page, ok := errors.AsType[*admin.PageError](err)
	switch {
	case !ok:
		return err
	case page.Code == http.StatusNotFound || page.Code == http.StatusMethodNotAllowed:
		return errors.New("the control plane is older than this command and cannot be asked this: fairlead upgrade --apply")
	case page.Message != "":
		return &observe.RefusalError{Status: page.Code, Message: page.Message}
	}
	return err
}
