package incluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/identity"
)

// The Secrets that a CA is kept in.
const (
	// pluggedSecret holds a CA that users bring along.
	pluggedSecret = "cacerts"
	// ownSecret holds a CA that was made here.
	ownSecret = "fairlead-ca"
)

// layout names the keys of a Secret that hold the parts of a CA; chain is optional, and an empty roots means that cert
// is its own root.
type layout struct{ key, cert, chain, roots string }

// istioLayout is what Istio reads from cacerts, certManagerLayout the other form it accepts, which is that of
// kubernetes.io/tls Secrets.
func istioLayout() layout {
	return layout{key: "ca-key.pem", cert: "ca-cert.pem", chain: "cert-chain.pem", roots: "root-cert.pem"}
}

func certManagerLayout() layout { return layout{key: "tls.key", cert: "tls.crt", roots: "ca.crt"} }

func ownLayout() layout { return layout{key: "ca.key", cert: "ca.crt"} }

// find gives the CA of the Secrets, and makes one where there is none.
func (a *Authority) find(ctx context.Context) (*ca.CA, error) {
	plugged, err := a.secret(ctx, pluggedSecret)
	if err != nil {
		return nil, err
	}
	if plugged == nil {
		return a.findOwn(ctx)
	}
	l := istioLayout()
	if plugged.Data[l.cert] == nil && plugged.Data[certManagerLayout().cert] != nil {
		l = certManagerLayout()
	}
	ca, err := a.parse(plugged, l)
	if err != nil {
		return nil, fmt.Errorf("secret %s/%s: %w: put a CA into it that is usable, or delete it to have one made",
			a.o.Namespace, pluggedSecret, err)
	}
	return a.withFormerRoots(ctx, ca)
}

// withFormerRoots adds the root of the CA that was made before a user brought one, as long as its Secret is there:
// certificates below it may still be around, also after a restart.
func (a *Authority) withFormerRoots(ctx context.Context, ca *ca.CA) (*ca.CA, error) {
	own, err := a.secret(ctx, ownSecret)
	if own == nil || err != nil {
		return ca, err
	}
	former, err := a.parse(own, ownLayout())
	if err != nil { // then there is nothing below it
		return ca, nil //nolint:nilerr // a CA that is not used any more need not be usable
	}
	return ca.WithRoots(former.Roots())
}

func (a *Authority) findOwn(ctx context.Context) (*ca.CA, error) {
	own, err := a.secret(ctx, ownSecret)
	if err != nil {
		return nil, err
	}
	if own == nil {
		if own, err = a.makeOwn(ctx); err != nil {
			return nil, err
		}
	}
	made, err := a.parse(own, ownLayout())
	if err != nil {
		fix := "delete it to have a new CA made"
		if td, ok := errors.AsType[*ca.TrustDomainError](err); ok {
			fix = fmt.Sprintf("start the controller with --trust-domain %s, or %s", td.MadeFor, fix)
		}
		return nil, fmt.Errorf("secret %s/%s: %w: %s", a.o.Namespace, ownSecret, err, fix)
	}
	return made, nil
}

// makeOwn makes the Secret with a new CA. Where another replica was faster it gives what that one made.
func (a *Authority) makeOwn(ctx context.Context) (*corev1.Secret, error) {
	key, cert, err := ca.Generate(a.trustDomain())
	if err != nil {
		return nil, err
	}
	l := ownLayout()
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: a.o.Namespace, Name: ownSecret,
			Labels: map[string]string{"app.kubernetes.io/managed-by": fieldManager},
		},
		Type: "fairlead.dev/ca",
		Data: map[string][]byte{l.key: key, l.cert: cert},
	}
	err = a.o.Client.create(ctx, a.target(ownSecret), s)
	switch {
	case apierrors.IsAlreadyExists(err):
		s, err = a.secret(ctx, ownSecret)
		if s == nil && err == nil {
			err = fmt.Errorf("secret %s/%s was made and deleted just now", a.o.Namespace, ownSecret)
		}
		return s, err
	case err != nil:
		return nil, err
	}
	a.o.CA.Logger.LogAttrs(ctx, slog.LevelInfo, "made a CA", slog.String("secret", a.o.Namespace+"/"+ownSecret))
	return s, nil
}

func (a *Authority) trustDomain() string {
	if a.o.CA.TrustDomain == "" {
		return identity.DefaultTrustDomain
	}
	return a.o.CA.TrustDomain
}

// secret gives nil where there is none.
func (a *Authority) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	var s corev1.Secret
	err := a.o.Client.get(ctx, a.target(name), &s)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // absence is no error here
	}
	if err != nil {
		return nil, err
	}
	return &s, nil
}

func (a *Authority) target(name string) target {
	return target{resource: secrets(), namespace: a.o.Namespace, name: name}
}

// parse makes a CA of the keys of a Secret.
func (a *Authority) parse(s *corev1.Secret, l layout) (*ca.CA, error) {
	for _, key := range []string{l.cert, l.key, l.roots} {
		if key != "" && len(s.Data[key]) == 0 {
			there := strings.Join(slices.Sorted(maps.Keys(s.Data)), ", ")
			return nil, fmt.Errorf("no key %s in it (there is: %s)", key, there)
		}
	}
	part := func(key string) ca.PEM { return ca.PEM{Name: key, Data: s.Data[key]} }
	m := ca.Material{Key: part(l.key), Cert: part(l.cert), Chain: part(l.chain)}
	if l.roots != "" {
		m.Roots = part(l.roots)
	}
	return ca.New(a.o.CA, m)
}
