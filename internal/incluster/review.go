package incluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"

	"fairlead.dev/fairlead/internal/ca"
)

const (
	// maxReviews is how many reviews are under way at once, for all sidecars. A thousand that connect anew at the same
	// moment are through in about a second.
	maxReviews = 32
	// reviewTimeout bounds one review, the wait for its turn included.
	reviewTimeout = 5 * time.Second
	// maxToken bounds what is sent to the API server, in bytes. Projected tokens have about 1 KB.
	maxToken = 16 << 10
)

// The keys of TokenReview's status.user.extra for bound tokens (k8s.io/apiserver, pkg/authentication/serviceaccount).
const (
	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
	extraNodeName = "authentication.kubernetes.io/node-name"
)

// serviceAccountPrefix precedes "<namespace>:<service account>" in user names.
const serviceAccountPrefix = "system:serviceaccount:"

// TokenReviewer asks the API server who holds a token. It is safe for concurrent use.
type TokenReviewer struct {
	client *Client
	turns  chan struct{}
}

// NewTokenReviewer sends nothing.
func NewTokenReviewer(client *Client) *TokenReviewer {
	return &TokenReviewer{client: client, turns: make(chan struct{}, maxReviews)}
}

// Review gives what a token proves: one for the audience ca.Audience, of a service account, bound to a pod that
// still exists. Issuer and times of the claims are not set; Node is empty before Kubernetes 1.30.
//
// A *TemporaryError means that the API server did not judge the token; any other error is its refusal. None contains
// the token.
func (r *TokenReviewer) Review(ctx context.Context, token string) (ca.Claims, error) {
	if token == "" {
		return ca.Claims{}, errors.New("the token is empty")
	}
	if len(token) > maxToken {
		return ca.Claims{}, fmt.Errorf("token of %d bytes: longer than %d", len(token), maxToken)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, reviewTimeout, errSlowReview)
	defer cancel()
	select {
	case r.turns <- struct{}{}:
		defer func() { <-r.turns }()
	case <-ctx.Done():
		return ca.Claims{}, &TemporaryError{fmt.Errorf("token review: %d others are under way: %w", maxReviews, context.Cause(ctx))}
	}
	review := authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{
		Token: token, Audiences: []string{ca.Audience},
	}}
	if err := r.client.create(ctx, target{resource: tokenReviews()}, &review); err != nil {
		return ca.Claims{}, &TemporaryError{fmt.Errorf("token review: %w", err)}
	}
	claims, err := judge(&review.Status)
	if err != nil {
		return ca.Claims{}, fmt.Errorf("token: %w%s", err, hint(token, time.Now()))
	}
	return claims, nil
}

var errSlowReview = fmt.Errorf("no answer of the API server within %s", reviewTimeout)

// judge turns the API server's answer into claims.
func judge(s *authenticationv1.TokenReviewStatus) (ca.Claims, error) {
	if !s.Authenticated {
		if s.Error == "" {
			return ca.Claims{}, errors.New("the API server does not accept it")
		}
		return ca.Claims{}, fmt.Errorf("the API server does not accept it: %s", s.Error)
	}
	// A server that knows no audiences leaves them out: then the token may have been made for anything.
	if !slices.Contains(s.Audiences, ca.Audience) {
		return ca.Claims{}, fmt.Errorf("it is good for the audiences %q, want %q", s.Audiences, ca.Audience)
	}
	rest, ok := strings.CutPrefix(s.User.Username, serviceAccountPrefix)
	namespace, account, split := strings.Cut(rest, ":")
	if !ok || !split || namespace == "" || account == "" {
		return ca.Claims{}, fmt.Errorf("it belongs to user %q, not to a service account", s.User.Username)
	}
	claims := ca.Claims{
		Audience: s.Audiences, Namespace: namespace, ServiceAccount: account, ServiceAccountUID: s.User.UID,
		Pod: extra(s, extraPodName), PodUID: extra(s, extraPodUID), Node: extra(s, extraNodeName),
	}
	if claims.Pod == "" || claims.PodUID == "" {
		return ca.Claims{}, fmt.Errorf("it belongs to service account %s/%s, but to no pod: use a projected volume, or kubectl create token --bound-object-kind Pod",
			namespace, account)
	}
	return claims, nil
}

func extra(s *authenticationv1.TokenReviewStatus, key string) string {
	if values := s.User.Extra[key]; len(values) == 1 {
		return values[0]
	}
	return ""
}

// hint adds what the token says of itself where that explains a refusal. Nothing of it is verified, and nothing but a
// message depends on it.
func hint(token string, now time.Time) string {
	var says struct {
		Audience  any     `json:"aud"` // a string or a list of strings (RFC 7519 §4.1.3)
		NotBefore float64 `json:"nbf"`
		Expires   float64 `json:"exp"`
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return fmt.Sprintf(" (it is no JSON web token: %d parts instead of 3)", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &says) != nil {
		return " (it is no JSON web token)"
	}
	stamp := func(seconds float64) string { return time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339) }
	here := now.UTC().Format(time.RFC3339)
	switch seconds := float64(now.Unix()); {
	case says.NotBefore > seconds:
		return fmt.Sprintf(" (it is not valid before %s, the clock here says %s: check the clocks)", stamp(says.NotBefore), here)
	case says.Expires != 0 && says.Expires < seconds:
		return fmt.Sprintf(" (it expired at %s, the clock here says %s)", stamp(says.Expires), here)
	case !hasAudience(says.Audience):
		return fmt.Sprintf(" (it was made for %q, want audience %q)", fmt.Sprint(says.Audience), ca.Audience)
	}
	return ""
}

func hasAudience(aud any) bool {
	if list, ok := aud.([]any); ok {
		return slices.Contains(list, any(ca.Audience))
	}
	return aud == ca.Audience
}
