package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fairlead.dev/fairlead/internal/admin"
)

const release = "0.1.0"

// pair is a certificate with its key.
type pair struct {
	cert        *x509.Certificate
	key         *ecdsa.PrivateKey
	pem, keyPEM []byte
}

// issue makes a certificate by parent, or a root where parent is nil.
func issue(tb testing.TB, template *x509.Certificate, parent *pair) *pair {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		tb.Fatal(err)
	}
	signer, signerKey := template, key
	if parent != nil {
		signer, signerKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return &pair{
		cert: cert, key: key,
		pem:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

// newCA makes a root that ends after a time.
func newCA(tb testing.TB, trustDomain string, from time.Time, life time.Duration) *pair {
	tb.Helper()
	return issue(tb, &x509.Certificate{
		Subject: pkix.Name{Organization: []string{trustDomain}}, NotBefore: from.Add(-time.Minute), NotAfter: from.Add(life), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
	}, nil)
}

// newServing makes the certificate of the webhooks.
func newServing(tb testing.TB, ca *pair, name string, from time.Time) *pair {
	tb.Helper()
	return issue(tb, &x509.Certificate{
		NotBefore: from.Add(-time.Minute), NotAfter: from.Add(24 * time.Hour), DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca)
}

// secret is the CA as the controller writes it.
func (p *pair) secret() corev1.Secret {
	return corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: ownCASecret}, Data: map[string][]byte{"ca.crt": p.pem, "ca.key": p.keyPEM}}
}

// denied and missing are errors as the API server gives them.
func denied(resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "x", nil)
}

func missing(resource string) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: resource}, "x")
}

// healthy is a cluster in which everything is well, and the CA that it has.
func healthy(tb testing.TB) (*Facts, *pair) {
	tb.Helper()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	ca := newCA(tb, "cluster.local", now, 3650*24*time.Hour)
	serving := newServing(tb, ca, "fairlead-controller.fairlead-system.svc", now)
	roots := string(ca.pem)
	webhook := func(mutating bool, config, name string) Webhook {
		return Webhook{Mutating: mutating, Config: config, Name: name, Service: "fairlead-system/fairlead-controller", CABundle: ca.pem}
	}
	ready := []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	pod := func(name string) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: ready}}
	}
	acked := now.Add(-time.Hour)
	replica := func(pod string, proxies ...admin.Proxy) Replica {
		return Replica{Pod: pod, Ready: true, Version: Got[string]{Value: release}, Proxies: Got[[]admin.Proxy]{Value: proxies}, Serving: Got[[]*x509.Certificate]{Value: []*x509.Certificate{serving.cert}}}
	}
	sidecar := func(name string) Workload {
		return Workload{Namespace: "shop", Name: name, Owner: "deploy/web", Created: now.Add(-time.Hour), Sidecar: &Sidecar{Ready: true}}
	}
	f := &Facts{
		Now: now, CLI: release, System: SystemNamespace, Scope: Scope{Proxy: true},
		API:      Got[API]{Value: API{Server: "https://c:6443", Version: "v1.34.4", Major: 1, Minor: 34}},
		Webhooks: Got[[]Webhook]{Value: []Webhook{webhook(true, injectorWebhook, "namespace.sidecar-injector.fairlead.dev"), webhook(false, validatorWebhook, "validator.fairlead.dev")}},
		Bindings: Got[[]Binding]{Value: []Binding{
			{Name: "ClusterRoleBinding fairlead-controller", Role: "ClusterRole fairlead-controller"},
			{Name: "RoleBinding fairlead-system/fairlead-controller", Role: "Role fairlead-controller"},
		}},
		Kinds: []Kinds{
			{Title: "Istio networking", Wanted: []string{"DestinationRule", "VirtualService"}, Served: Got[[]string]{Value: []string{"DestinationRule", "Gateway", "VirtualService"}}},
			{Title: "Gateway API", Wanted: []string{"GRPCRoute", "HTTPRoute"}, Optional: true, Served: Got[[]string]{Err: missing("x")}},
		},
		Config:     Got[corev1.ConfigMap]{Value: corev1.ConfigMap{Data: map[string]string{injectorKey: "image: fairlead/proxy:0.1.0\ncni: true\n"}}},
		CA:         Got[corev1.Secret]{Value: ca.secret()},
		Roots:      Got[map[string]string]{Value: map[string]string{"default": roots, "shop": roots}},
		Namespaces: Got[[]Namespace]{Value: []Namespace{{Name: "default"}, {Name: "kube-system"}, {Name: "shop", Labels: map[string]string{injectLabel: enabled}}}},
		Deployment: Got[appsv1.Deployment]{Value: appsv1.Deployment{
			Spec: appsv1.DeploymentSpec{Replicas: new(int32(2)), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Args: []string{"--kube", "--trust-domain=cluster.local"}}},
			}}},
			Status: appsv1.DeploymentStatus{ReadyReplicas: 2, UpdatedReplicas: 2},
		}},
		Pods:      Got[[]corev1.Pod]{Value: []corev1.Pod{pod("fairlead-controller-1"), pod("fairlead-controller-2")}},
		Service:   Got[corev1.Service]{Value: corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}, {Port: 15012}}}}},
		Endpoints: Got[[]Endpoint]{Value: []Endpoint{{Pod: "fairlead-controller-1", Ready: true}, {Pod: "fairlead-controller-2", Ready: true}}},
		Lease: Got[coordinationv1.Lease]{Value: coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("fairlead-controller-1"), LeaseDurationSeconds: new(int32(15)), RenewTime: &metav1.MicroTime{Time: now.Add(-time.Second)},
		}}},
		Replicas: []Replica{
			replica("fairlead-controller-1", admin.Proxy{ID: "web-1.shop", Namespace: "shop", Version: release, State: "SYNCED", AckedAt: &acked}),
			// web-1 was here before it moved.
			replica("fairlead-controller-2", admin.Proxy{ID: "web-1.shop", Namespace: "shop", Version: "0.0.1", State: "ERROR", ConnectedSince: now.AddDate(-1, 0, 0)},
				admin.Proxy{ID: "web-2.shop", Namespace: "shop", Version: release, State: "STALE"}),
		},
		CNI:       Got[appsv1.DaemonSet]{Value: appsv1.DaemonSet{Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 3, NumberReady: 3, UpdatedNumberScheduled: 3}}},
		Workloads: Got[[]Workload]{Value: []Workload{sidecar("web-1"), sidecar("web-2"), {Namespace: "kube-system", Name: "dns", Missing: true}, {Namespace: "shop", Name: "job", Missing: true, Finished: true}}},
	}
	f.Replicas[0].Proxies.Value[0].ConnectedSince = now
	return f, ca
}

// bare is a cluster before an installation that nothing is in the way of.
func bare() *Facts {
	f := &Facts{
		CLI: release, System: SystemNamespace, Scope: Scope{Pre: true},
		API:       Got[API]{Value: API{Server: "https://c:6443", Version: "v1.25.0", Major: 1, Minor: 25}},
		Namespace: Got[corev1.Namespace]{Err: missing("namespaces")},
	}
	for _, anchor := range []string{accessNamespace, accessRBAC, accessCRD, accessWebhook, accessObjects} {
		f.Access = append(f.Access, Access{Check: anchor, What: "create " + anchor, Allowed: Got[bool]{Value: true}})
	}
	return f
}
