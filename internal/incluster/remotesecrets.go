package incluster

import (
	"context"
	"errors"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
)

// RemoteSecretLabel is that of Secrets which say how to reach other clusters, Istio's.
const RemoteSecretLabel = "istio/multiCluster" //nolint:gosec // a name, no secret

// RemoteSecretsOptions configure RemoteSecrets.
type RemoteSecretsOptions struct {
	// Client and Namespace say where the Secrets are. Required.
	Client    *Client
	Namespace string
	// Set is told of a Secret, by its name: each key is the name of a cluster, each value a kubeconfig. None means that the Secret
	// is gone. Listed is told that all Secrets there were have been set.
	Set    func(secret string, kubeconfigs map[string][]byte)
	Listed func()
	Logger *slog.Logger
}

// RemoteSecrets follows the Secrets with the label istio/multiCluster: "true". While they cannot be followed, what was said last
// stays.
type RemoteSecrets struct {
	o     RemoteSecretsOptions
	known map[string]bool // by name; belongs to Run's goroutine
}

// NewRemoteSecrets does no I/O.
func NewRemoteSecrets(o RemoteSecretsOptions) (*RemoteSecrets, error) {
	if o.Client == nil || o.Namespace == "" || o.Set == nil || o.Listed == nil || o.Logger == nil {
		return nil, errors.New("remote secrets: Client, Namespace, Set, Listed and Logger are required")
	}
	return &RemoteSecrets{o: o, known: make(map[string]bool)}, nil
}

// Run follows until ctx ends.
func (r *RemoteSecrets) Run(ctx context.Context) {
	observer[*corev1.Secret]{
		empty: func() *corev1.Secret { return &corev1.Secret{} }, replace: r.replace, set: r.set,
		gone: func(s *corev1.Secret) { r.forget(s.Name) },
	}.follow(ctx, r.o.Logger, r.o.Client, target{resource: secrets(), namespace: r.o.Namespace, labels: RemoteSecretLabel + "=true"})
}

// set takes a Secret. One that lost the label is gone, whether or not the API server sees it so.
func (r *RemoteSecrets) set(s *corev1.Secret) {
	if s.Labels[RemoteSecretLabel] != "true" {
		if r.known[s.Name] {
			r.forget(s.Name)
		}
		return
	}
	r.known[s.Name] = true
	r.o.Set(s.Name, s.Data)
}

func (r *RemoteSecrets) forget(name string) {
	delete(r.known, name)
	r.o.Set(name, nil)
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
