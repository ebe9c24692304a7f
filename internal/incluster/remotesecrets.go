package incluster

import (
	"context"
	"errors"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
)

// Labels of Secrets about other clusters: how to reach them, which is Istio's, and whom to trust.
const (
	RemoteSecretLabel = "istio/multiCluster" //nolint:gosec // a name, no secret
	TrustSecretLabel  = "fairlead.dev/trust" //nolint:gosec // a name, no secret
)

// TrustDomainAnnotation of a Secret with roots says for which trust domain they vouch.
const TrustDomainAnnotation = "fairlead.dev/trust-domain"

// RemoteSecret is what a Secret says of other clusters.
type RemoteSecret struct {
	// Clusters have the names of clusters, and what the label is about: a kubeconfig, or roots. None means that the Secret is gone.
	Clusters map[string][]byte
	// TrustDomain is what TrustDomainAnnotation says.
	TrustDomain string
}

// RemoteSecretsOptions configure RemoteSecrets.
type RemoteSecretsOptions struct {
	// Client and Namespace say where the Secrets are. Required.
	Client    *Client
	Namespace string
	// Label is that of the Secrets. Required.
	Label string
	// Set is told of a Secret, by its name. Listed is told that all Secrets there were have been set.
	Set    func(secret string, said RemoteSecret)
	Listed func()
	Logger *slog.Logger
}

// RemoteSecrets follows the Secrets whose label is "true". While they cannot be followed, what was said last
// stays.
type RemoteSecrets struct {
	o     RemoteSecretsOptions
	known map[string]bool // by name; belongs to Run's goroutine
	// ofType is the type of the Secrets that are followed, empty for those with the label.
	ofType string
}

// NewRemoteSecrets does no I/O.
func NewRemoteSecrets(o RemoteSecretsOptions) (*RemoteSecrets, error) {
	if o.Client == nil || o.Namespace == "" || o.Label == "" || o.Set == nil || o.Listed == nil || o.Logger == nil {
		return nil, errors.New("remote secrets: Client, Namespace, Label, Set, Listed and Logger are required")
	}
	return &RemoteSecrets{o: o, known: make(map[string]bool)}, nil
}

// Run follows until ctx ends.
func (r *RemoteSecrets) Run(ctx context.Context) {
	observer[*corev1.Secret]{
		empty: func() *corev1.Secret { return &corev1.Secret{} }, replace: r.replace, set: r.set,
		gone: func(s *corev1.Secret) { r.forget(s.Name) },
	}.follow(ctx, r.o.Logger, r.o.Client, r.followed())
}

// followed are the Secrets that are followed.
func (r *RemoteSecrets) followed() target {
	t := target{resource: secrets(), namespace: r.o.Namespace, ofType: r.ofType}
	if r.ofType == "" {
		t.labels = r.o.Label + "=true"
	}
	return t
}

// set takes a Secret. One that lost the label is gone, whether or not the API server sees it so.
func (r *RemoteSecrets) set(s *corev1.Secret) {
	if !r.mine(s) {
		if r.known[s.Name] {
			r.forget(s.Name)
		}
		return
	}
	r.known[s.Name] = true
	r.o.Set(s.Name, RemoteSecret{r.kubeconfigs(s), s.Annotations[TrustDomainAnnotation]})
}

func (r *RemoteSecrets) forget(name string) {
	delete(r.known, name)
	r.o.Set(name, RemoteSecret{})
}

func (r *RemoteSecrets) replace(list []*corev1.Secret) {
	there := make(map[string]bool, len(list))
	for _, s := range list {
		there[s.Name] = true
		r.set(s)
	}
	for name := range r.known {
		if !there[name] {
			r.forget(name)
		}
	}
	r.o.Listed()
}
