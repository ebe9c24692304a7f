package incluster

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"fairlead.dev/fairlead/internal/observe"
)

const (
	// observeGroup is the API group of what may be observed. It has no objects: it is there for RBAC rules.
	observeGroup = "observe.fairlead.dev"
	// ObserveAudience is that of tokens which are made for observation and are good for nothing else.
	ObserveAudience = "observe.fairlead.dev"
)

func subjectAccessReviews() resource {
	return resource{"authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview"}
}

// Observers asks the API server who may see what sidecars see: a TokenReview says who asks, and a SubjectAccessReview
// whether RBAC lets them. It is safe for concurrent use.
type Observers struct {
	client *Client
	turns  chan struct{}
}

// NewObservers sends nothing.
func NewObservers(client *Client) *Observers {
	return &Observers{client: client, turns: make(chan struct{}, maxReviews)}
}

// attributes are what a permission is in RBAC's words, and role is the ClusterRole that has it.
func attributes(p observe.Permission) (a authorizationv1.ResourceAttributes, role string) {
	a = authorizationv1.ResourceAttributes{Group: observeGroup, Namespace: p.Namespace}
	switch p.Kind {
	case observe.View:
		a.Resource, a.Verb = "edges", "get"
		return a, "fairlead-viewer"
	case observe.TapHeads:
		a.Resource, a.Verb = "taps", "watch"
		return a, "fairlead-tap"
	case observe.Secrets:
	}
	a.Resource, a.Subresource, a.Verb = "taps", "credentials", "watch"
	return a, "fairlead-tap-secrets"
}

// Authorize is an [observe.Authorizer]. No error contains the token.
func (o *Observers) Authorize(ctx context.Context, token string, p observe.Permission) error {
	if token == "" || len(token) > maxToken {
		return &observe.RefusalError{Status: http.StatusUnauthorized, Message: "no token: the control plane of a cluster asks who wants to know; use the fairlead command of the same version"}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, reviewTimeout, errSlowReview)
	defer cancel()
	select {
	case o.turns <- struct{}{}:
		defer func() { <-o.turns }()
	case <-ctx.Done():
		return undecided(fmt.Errorf("%d other questions are under way: %w", maxReviews, context.Cause(ctx)))
	}
	user, err := o.identify(ctx, token)
	if err != nil {
		return err
	}
	wanted, role := attributes(p)
	review := authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, Groups: user.Groups, UID: user.UID, Extra: extras(user.Extra), ResourceAttributes: &wanted,
	}}
	if err := o.client.create(ctx, target{resource: subjectAccessReviews()}, &review); err != nil {
		return undecided(err)
	}
	if !review.Status.Allowed {
		return &observe.RefusalError{Status: http.StatusForbidden, Message: forbidden(user.Username, &wanted, role)}
	}
	return nil
}

// identify says who holds a token: one for observation, or one for the API server, as a kubeconfig has it.
func (o *Observers) identify(ctx context.Context, token string) (*authenticationv1.UserInfo, error) {
	says := ""
	for _, audiences := range [][]string{{ObserveAudience}, nil} {
		review := authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}
		if err := o.client.create(ctx, target{resource: tokenReviews()}, &review); err != nil {
			return nil, undecided(err)
		}
		s := &review.Status
		// A server that knows no audiences leaves them out: then the token is one for the API server.
		if s.Authenticated && (audiences == nil || slices.Contains(s.Audiences, ObserveAudience)) {
			return &s.User, nil
		}
		if s.Error != "" {
			says = ": " + s.Error
		}
	}
	return nil, &observe.RefusalError{Status: http.StatusUnauthorized, Message: "the API server does not accept the token" + says}
}

func undecided(err error) error {
	return &observe.RefusalError{Status: http.StatusServiceUnavailable, Message: "the API server could not be asked who may observe: " + err.Error()}
}

// forbidden says who may not do what, and the command that grants it.
func forbidden(user string, a *authorizationv1.ResourceAttributes, role string) string {
	where, kind := "in all namespaces", "clusterrolebinding NAME"
	if a.Namespace != "" {
		where, kind = "in namespace "+a.Namespace, "rolebinding NAME -n "+a.Namespace
	}
	what := a.Resource
	if a.Subresource != "" {
		what += "/" + a.Subresource
	}
	return fmt.Sprintf("%s may not %s %s.%s %s; who administers the cluster can grant it: kubectl create %s --clusterrole %s --user %s",
		user, a.Verb, what, a.Group, where, kind, role, user)
}

func extras(in map[string]authenticationv1.ExtraValue) map[string]authorizationv1.ExtraValue {
	out := make(map[string]authorizationv1.ExtraValue, len(in))
	for k, v := range in {
		out[k] = authorizationv1.ExtraValue(v)
	}
	return out
}
