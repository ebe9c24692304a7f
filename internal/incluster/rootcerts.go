package incluster

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// RootCertConfigMap is in every namespace and holds the roots that sidecars trust the control plane by.
	RootCertConfigMap = "fairlead-ca-root-cert"
	// IstioRootCertConfigMap is where tools for Istio look for the same, in the control plane's own namespace.
	IstioRootCertConfigMap = "istio-ca-root-cert"
	// istiodLabel is on the ConfigMaps of that name that an istiod keeps (istio pilot/pkg/serviceregistry/kube/controller,
	// namespacecontroller.go).
	istiodLabel = "istio.io/config"
	// RootCertKey is the key of RootCertConfigMap with the roots, PEM.
	RootCertKey = "root-cert.pem"
)

// noRootCert reports namespaces in which nothing ever runs: leases of nodes, and what is open to the world.
func noRootCert(namespace string) bool {
	return namespace == "kube-node-lease" || namespace == "kube-public"
}

// RootCertsOptions configure RootCerts.
type RootCertsOptions struct {
	// Client is required.
	Client *Client
	// Name is that of the ConfigMaps, RootCertConfigMap where it is empty. Namespace is the only one that gets one; empty means
	// all.
	Name, Namespace string
	// Roots are what to hand out first, PEM. Required.
	Roots []byte
	// Logger gets a line for what cannot be written. Required.
	Logger *slog.Logger
}

// RootCerts keeps the ConfigMap fairlead-ca-root-cert in every namespace that is not being deleted, or one of another name in
// one namespace, with the roots of the CA in it. One that an istiod keeps is left alone. One replica at a time should run it. Per namespace it keeps the name and a hash, about 200 bytes.
type RootCerts struct {
	o       RootCertsOptions
	repairs *repairs

	mu         sync.Mutex // taken before that of repairs
	roots      []byte
	want       [sha256.Size]byte
	namespaces map[string]struct{}  // those that need a ConfigMap; nil before the first list
	have       map[string]handedOut // what is in the ConfigMaps; nil before the first list
}

// handedOut is what a ConfigMap has.
type handedOut struct {
	hash [sha256.Size]byte // of the roots
	// istiod keeps it.
	istiod bool
}

// NewRootCerts checks the options. It sends nothing.
func NewRootCerts(o RootCertsOptions) (*RootCerts, error) {
	if o.Client == nil || o.Logger == nil || len(o.Roots) == 0 {
		return nil, errors.New("root certificates: Client, Roots and Logger are required")
	}
	o.Name = cmp.Or(o.Name, RootCertConfigMap)
	r := &RootCerts{o: o, roots: o.Roots, want: sha256.Sum256(o.Roots)}
	r.repairs = newRepairs(o.Logger, r.write)
	return r, nil
}

// SetRoots has other roots handed out, PEM. It may be called at any time, from any goroutine.
func (r *RootCerts) SetRoots(pem []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roots, r.want = pem, sha256.Sum256(pem)
	r.repairs.hurry()
	r.checkAll()
}

// Run keeps the ConfigMaps until ctx ends. It may be run again, but not twice at once.
func (r *RootCerts) Run(ctx context.Context) {
	r.mu.Lock()
	r.namespaces, r.have = nil, nil // both are listed anew
	if r.o.Namespace != "" {
		r.namespaces = map[string]struct{}{r.o.Namespace: {}}
	}
	r.mu.Unlock()
	var wg sync.WaitGroup
	if r.o.Namespace == "" {
		wg.Go(func() { r.followNamespaces(ctx) })
	}
	wg.Go(func() { r.followConfigMaps(ctx) })
	wg.Go(func() { r.repairs.run(ctx) })
	wg.Wait()
}

func (r *RootCerts) followNamespaces(ctx context.Context) {
	observer[*metav1.PartialObjectMetadata]{
		empty: func() *metav1.PartialObjectMetadata { return new(metav1.PartialObjectMetadata) },
		replace: func(list []*metav1.PartialObjectMetadata) {
			r.mu.Lock()
			defer r.mu.Unlock()
			former := r.namespaces
			r.namespaces = make(map[string]struct{}, len(list))
			for _, ns := range list {
				r.setNamespace(ns)
			}
			for name := range former {
				if _, ok := r.namespaces[name]; !ok {
					r.repairs.forget(name)
				}
			}
			r.checkAll()
		},
		set: func(ns *metav1.PartialObjectMetadata) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.setNamespace(ns)
			r.check(ns.Name)
		},
		gone: func(ns *metav1.PartialObjectMetadata) {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.namespaces, ns.Name)
			r.check(ns.Name)
		},
	}.follow(ctx, r.o.Logger, r.o.Client, target{resource: namespaces()})
}

func (r *RootCerts) setNamespace(ns *metav1.PartialObjectMetadata) {
	if ns.DeletionTimestamp != nil || noRootCert(ns.Name) {
		delete(r.namespaces, ns.Name)
		return
	}
	r.namespaces[ns.Name] = struct{}{}
}

func (r *RootCerts) followConfigMaps(ctx context.Context) {
	observer[*corev1.ConfigMap]{
		empty: func() *corev1.ConfigMap { return new(corev1.ConfigMap) },
		replace: func(list []*corev1.ConfigMap) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.have = make(map[string]handedOut, len(list))
			for _, m := range list {
				r.have[m.Namespace] = inConfigMap(m)
			}
			r.checkAll()
		},
		set: func(m *corev1.ConfigMap) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.have[m.Namespace] = inConfigMap(m)
			r.check(m.Namespace)
		},
		gone: func(m *corev1.ConfigMap) {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.have, m.Namespace)
			r.check(m.Namespace)
		},
	}.follow(ctx, r.o.Logger, r.o.Client, target{resource: configMaps(), namespace: r.o.Namespace, name: r.o.Name})
}

func inConfigMap(m *corev1.ConfigMap) handedOut {
	return handedOut{hash: sha256.Sum256([]byte(m.Data[RootCertKey])), istiod: m.Labels[istiodLabel] == "true"}
}

func (r *RootCerts) checkAll() {
	for ns := range r.namespaces {
		r.check(ns)
	}
}

// check has a namespace's ConfigMap written where it is missing or different. Before both lists are there, it would
// take all for missing.
func (r *RootCerts) check(namespace string) {
	if r.namespaces == nil || r.have == nil {
		return
	}
	have, exists := r.have[namespace]
	switch _, needs := r.namespaces[namespace]; {
	case !needs:
		r.repairs.forget(namespace)
	case exists && (have.hash == r.want || have.istiod):
		r.repairs.fine(namespace)
	default:
		r.repairs.want(namespace)
	}
}

// write makes or repairs the ConfigMap of one namespace. What others have added to it stays.
func (r *RootCerts) write(ctx context.Context, namespace string) error {
	r.mu.Lock()
	roots := r.roots
	r.mu.Unlock()
	patch, err := json.Marshal(map[string]any{
		"apiVersion": "v1",
		"kind":       "ConfigMap",
		"metadata": map[string]any{
			"name":      r.o.Name,
			"namespace": namespace,
			"labels":    map[string]string{"app.kubernetes.io/managed-by": fieldManager},
		},
		"data": map[string]string{RootCertKey: string(roots)},
	})
	if err != nil {
		return err
	}
	err = r.o.Client.apply(ctx, target{resource: configMaps(), namespace: namespace, name: r.o.Name}, patch)
	if apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil // the namespace goes, and the watch has not said so yet
	}
	return err
}
