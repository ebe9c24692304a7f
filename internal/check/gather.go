package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/cluster"
	"fairlead.dev/fairlead/internal/config/catalog"
)

const (
	// answerTime is how long one question may take.
	answerTime = 10 * time.Second
	// totalTime is how long all of them may.
	totalTime = 30 * time.Second
)

// Options of Gather. All are required.
type Options struct {
	Cluster *cluster.Client
	// CLI is the version of this program.
	CLI string
	// System is the namespace of the control plane.
	System string
	Scope  Scope
}

// gatherer asks many things at once.
type gatherer struct {
	o     Options
	c     *cluster.Client
	f     *Facts
	tasks sync.WaitGroup
}

// Gather asks everything that Evaluate needs and takes at most 30 seconds. It does not fail: what cannot be learned is
// in the facts.
func Gather(ctx context.Context, o Options) *Facts {
	ctx, cancel := context.WithTimeout(ctx, totalTime)
	defer cancel()
	g := &gatherer{o: o, c: o.Cluster, f: &Facts{CLI: o.CLI, System: o.System, Scope: o.Scope}}
	fetch(ctx, g, &g.f.API, g.api)
	g.tasks.Wait()
	g.f.Now = time.Now()
	if g.f.API.Err != nil {
		return g.f // the rest would only wait for the same
	}
	fetch(ctx, g, &g.f.Webhooks, g.webhooks)
	object(ctx, g, &g.f.Namespace, cluster.Path("/api/v1", "", "namespaces", o.System))
	groups := catalog.Groups()
	g.f.Unobeyed = make([]Got[[]Unobeyed], len(groups))
	for i, group := range groups {
		fetch(ctx, g, &g.f.Unobeyed[i], func(ctx context.Context) ([]Unobeyed, error) { return g.unobeyed(ctx, group) })
	}
	if o.Scope.Pre {
		g.access(ctx)
	} else {
		g.installation(ctx)
	}
	g.tasks.Wait()
	if o.Scope.Pre {
		return g.f
	}
	g.replicas(ctx)
	g.tasks.Wait()
	return g.f
}

// fetch asks one question at the side. Only its answer is written, so tasks share nothing.
func fetch[T any](ctx context.Context, g *gatherer, into *Got[T], ask func(context.Context) (T, error)) {
	g.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		into.Value, into.Err = ask(ctx)
	})
}

// object fetches one object as it is.
func object[T any](ctx context.Context, g *gatherer, into *Got[T], path string) {
	fetch(ctx, g, into, func(ctx context.Context) (value T, err error) {
		err = g.c.Get(ctx, path, &value)
		return value, err
	})
}

func (g *gatherer) api(ctx context.Context) (API, error) {
	var v version.Info
	sent := time.Now()
	header, err := g.c.GetHeader(ctx, "/version", &v)
	if err != nil {
		return API{}, err
	}
	took := time.Since(sent)
	a := API{Server: g.c.Server(), Version: v.GitVersion, Major: number(v.Major), Minor: number(v.Minor)}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		// The header has whole seconds, cut off: half of one is the best guess of what is missing.
		a.Ahead = date.Add(time.Second / 2).Sub(sent.Add(took / 2))
	}
	return a, nil
}

// number reads "34" and the "27+" of some vendors.
func number(s string) int {
	n, _ := strconv.Atoi(strings.TrimRight(s, "+"))
	return n
}

// access asks what the user may do, all at once.
func (g *gatherer) access(ctx context.Context) {
	type question struct{ check, namespace, group, resource string }
	questions := []question{
		{accessNamespace, "", "", "namespaces"},
		{accessRBAC, "", "rbac.authorization.k8s.io", "clusterroles"},
		{accessRBAC, "", "rbac.authorization.k8s.io", "clusterrolebindings"},
		{accessRBAC, g.o.System, "rbac.authorization.k8s.io", "roles"},
		{accessRBAC, g.o.System, "rbac.authorization.k8s.io", "rolebindings"},
		{accessCRD, "", "apiextensions.k8s.io", "customresourcedefinitions"},
		{accessWebhook, "", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"},
		{accessWebhook, "", "admissionregistration.k8s.io", "validatingwebhookconfigurations"},
		{accessObjects, g.o.System, "", "serviceaccounts"},
		{accessObjects, g.o.System, "", "services"},
		{accessObjects, g.o.System, "", "configmaps"},
		{accessObjects, g.o.System, "", "secrets"},
		{accessObjects, g.o.System, "apps", "deployments"},
		{accessObjects, g.o.System, "apps", "daemonsets"},
		{accessObjects, g.o.System, "policy", "poddisruptionbudgets"},
	}
	g.f.Access = make([]Access, len(questions))
	for i, q := range questions {
		a := &g.f.Access[i]
		a.Check, a.What = q.check, "create "+q.resource
		if q.group != "" {
			a.What += "." + q.group
		}
		if q.namespace != "" {
			a.What += " in namespace " + q.namespace
		}
		fetch(ctx, g, &a.Allowed, func(ctx context.Context) (bool, error) {
			review := authorizationv1.SelfSubjectAccessReview{
				TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"},
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: q.namespace, Verb: "create", Group: q.group, Resource: q.resource,
				}},
			}
			err := g.c.Create(ctx, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review, &review)
			a.Reason = review.Status.Reason
			return review.Status.Allowed, err
		})
	}
}

func (g *gatherer) webhooks(ctx context.Context) ([]Webhook, error) {
	const prefix = "/apis/admissionregistration.k8s.io/v1"
	var all []Webhook
	add := func(w Webhook, c *admissionv1.WebhookClientConfig) {
		w.CABundle = c.CABundle
		switch {
		case c.Service != nil:
			w.Service = c.Service.Namespace + "/" + c.Service.Name
		case c.URL != nil:
			w.Service = *c.URL
		}
		all = append(all, w)
	}
	err := cluster.Each(ctx, g.c, cluster.Path(prefix, "", "mutatingwebhookconfigurations", ""), nil, func(m *admissionv1.MutatingWebhookConfiguration) {
		for i := range m.Webhooks {
			add(Webhook{Mutating: true, Config: m.Name, Name: m.Webhooks[i].Name}, &m.Webhooks[i].ClientConfig)
		}
	})
	if err != nil {
		return nil, err
	}
	err = cluster.Each(ctx, g.c, cluster.Path(prefix, "", "validatingwebhookconfigurations", ""), nil, func(v *admissionv1.ValidatingWebhookConfiguration) {
		for i := range v.Webhooks {
			add(Webhook{Config: v.Name, Name: v.Webhooks[i].Name}, &v.Webhooks[i].ClientConfig)
		}
	})
	return all, err
}

// installation asks for everything that an installation consists of.
func (g *gatherer) installation(ctx context.Context) {
	f, in := g.f, g.o.System
	object(ctx, g, &f.ServiceAccount, cluster.Path("/api/v1", in, "serviceaccounts", Controller))
	object(ctx, g, &f.Config, cluster.Path("/api/v1", in, "configmaps", configMap))
	object(ctx, g, &f.Service, cluster.Path("/api/v1", in, "services", Controller))
	object(ctx, g, &f.Deployment, cluster.Path("/apis/apps/v1", in, "deployments", Controller))
	object(ctx, g, &f.CNI, cluster.Path("/apis/apps/v1", in, "daemonsets", cniDaemonSet))
	object(ctx, g, &f.Lease, cluster.Path("/apis/coordination.k8s.io/v1", in, "leases", leaderLease))
	fetch(ctx, g, &f.CA, g.ca)
	fetch(ctx, g, &f.Bindings, g.bindings)
	fetch(ctx, g, &f.Roots, g.roots)
	fetch(ctx, g, &f.Namespaces, g.namespaces)
	fetch(ctx, g, &f.Opted, g.opted)
	fetch(ctx, g, &f.Endpoints, g.endpoints)
	fetch(ctx, g, &f.Pods, g.pods)
	fetch(ctx, g, &f.Events, g.events)
	if g.o.Scope.Proxy {
		fetch(ctx, g, &f.Workloads, g.workloads)
	}
	f.Kinds = kindsRead()
	for i := range f.Kinds {
		k := &f.Kinds[i]
		fetch(ctx, g, &k.Served, func(ctx context.Context) ([]string, error) { return g.served(ctx, k.Group) })
	}
}

// served lists the kinds of an API group, in any of its versions: the mesh reads older ones too.
func (g *gatherer) served(ctx context.Context, group string) ([]string, error) {
	var versions metav1.APIGroup
	if err := g.c.Get(ctx, "/apis/"+group, &versions); err != nil {
		return nil, err
	}
	var kinds []string
	for i := range versions.Versions {
		var list metav1.APIResourceList
		if err := g.c.Get(ctx, "/apis/"+versions.Versions[i].GroupVersion, &list); err != nil {
			return nil, err
		}
		for j := range list.APIResources {
			kinds = append(kinds, list.APIResources[j].Kind)
		}
	}
	return kinds, nil
}

func (g *gatherer) ca(ctx context.Context) (corev1.Secret, error) {
	var own, given Got[corev1.Secret]
	given.Err = g.c.Get(ctx, cluster.Path("/api/v1", g.o.System, "secrets", givenCASecret), &given.Value)
	if given.absent() {
		own.Err = g.c.Get(ctx, cluster.Path("/api/v1", g.o.System, "secrets", ownCASecret), &own.Value)
	}
	got := caSecret(own, given)
	return got.Value, got.Err
}

func (g *gatherer) bindings(ctx context.Context) ([]Binding, error) {
	const prefix = "/apis/rbac.authorization.k8s.io/v1"
	var found []Binding
	mine := func(subjects []rbacv1.Subject) bool {
		return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
			return s.Kind == rbacv1.ServiceAccountKind && s.Name == Controller && s.Namespace == g.o.System
		})
	}
	role := func(ctx context.Context, namespace string, ref rbacv1.RoleRef) error {
		resource := "clusterroles"
		if ref.Kind == "Role" {
			resource = "roles"
		} else {
			namespace = ""
		}
		var ignored metav1.PartialObjectMetadata
		return g.c.Get(ctx, cluster.Path(prefix, namespace, resource, ref.Name), &ignored)
	}
	err := cluster.Each(ctx, g.c, cluster.Path(prefix, "", "clusterrolebindings", ""), nil, func(b *rbacv1.ClusterRoleBinding) {
		if mine(b.Subjects) {
			found = append(found, Binding{"ClusterRoleBinding " + b.Name, b.RoleRef.Kind + " " + b.RoleRef.Name, role(ctx, "", b.RoleRef)})
		}
	})
	if err != nil {
		return nil, err
	}
	err = cluster.Each(ctx, g.c, cluster.Path(prefix, g.o.System, "rolebindings", ""), nil, func(b *rbacv1.RoleBinding) {
		if mine(b.Subjects) {
			found = append(found, Binding{"RoleBinding " + b.Namespace + "/" + b.Name, b.RoleRef.Kind + " " + b.RoleRef.Name, role(ctx, b.Namespace, b.RoleRef)})
		}
	})
	return found, err
}

func (g *gatherer) roots(ctx context.Context) (map[string]string, error) {
	byNamespace := map[string]string{}
	query := url.Values{"fieldSelector": {"metadata.name=" + rootsConfigMap}}
	err := cluster.Each(ctx, g.c, cluster.Path("/api/v1", "", "configmaps", ""), query, func(m *corev1.ConfigMap) {
		byNamespace[m.Namespace] = m.Data[rootsKey]
	})
	return byNamespace, err
}

func (g *gatherer) namespaces(ctx context.Context) ([]Namespace, error) {
	var all []Namespace
	err := cluster.Each(ctx, g.c, cluster.Path("/api/v1", "", "namespaces", ""), nil, func(n *corev1.Namespace) {
		all = append(all, namespace(n))
	})
	return all, err
}

// namespace keeps what matters of one.
func namespace(n *corev1.Namespace) Namespace {
	return Namespace{
		Name: n.Name, Labels: n.Labels, Terminating: n.DeletionTimestamp != nil,
		Linkerd: cmp.Or(n.Annotations[linkerdInject], n.Labels[linkerdInject]), Annotated: n.Annotations[injectLabel],
	}
}

// opted lists the namespaces of pods that opt in by themselves.
func (g *gatherer) opted(ctx context.Context) ([]string, error) {
	var all []string
	query := url.Values{"labelSelector": {injectLabel + " in (" + enabled + ",true)"}}
	err := cluster.Each(ctx, g.c, cluster.Path("/api/v1", "", "pods", ""), query, func(p *metav1.PartialObjectMetadata) {
		if !slices.Contains(all, p.Namespace) {
			all = append(all, p.Namespace)
		}
	})
	return all, err
}

func (g *gatherer) endpoints(ctx context.Context) ([]Endpoint, error) {
	var all []Endpoint
	query := url.Values{"labelSelector": {discoveryv1.LabelServiceName + "=" + Controller}}
	err := cluster.Each(ctx, g.c, cluster.Path("/apis/discovery.k8s.io/v1", g.o.System, "endpointslices", ""), query, func(s *discoveryv1.EndpointSlice) {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			// "nil should be interpreted as true": discovery/v1, EndpointConditions.
			endpoint := Endpoint{Ready: e.Conditions.Ready == nil || *e.Conditions.Ready}
			if e.TargetRef != nil {
				endpoint.Pod = e.TargetRef.Name
			}
			all = append(all, endpoint)
		}
	})
	return all, err
}

func (g *gatherer) pods(ctx context.Context) ([]corev1.Pod, error) {
	return g.c.PodsOf(ctx, ControllerPods(g.o.System))
}

// events keeps the newest warning about each object: what a user would look for with kubectl describe.
func (g *gatherer) events(ctx context.Context) (map[string]string, error) {
	text, at := map[string]string{}, map[string]time.Time{}
	query := url.Values{"fieldSelector": {"type=" + corev1.EventTypeWarning}}
	err := cluster.Each(ctx, g.c, cluster.Path("/api/v1", g.o.System, "events", ""), query, func(e *corev1.Event) {
		when := e.EventTime.Time // new API; the older one counts in LastTimestamp
		if e.LastTimestamp.After(when) {
			when = e.LastTimestamp.Time
		}
		about := e.InvolvedObject.Kind + "/" + e.InvolvedObject.Name
		if !when.Before(at[about]) {
			at[about], text[about] = when, e.Reason+": "+e.Message
		}
	})
	return text, err
}

// ControllerPods names the control plane's pods.
func ControllerPods(system string) cluster.PodRef {
	return cluster.PodRef{Kind: "deployments", Namespace: system, Name: Controller}
}

// replicas asks every running controller pod.
func (g *gatherer) replicas(ctx context.Context) {
	for i := range g.f.Pods.Value {
		p := &g.f.Pods.Value[i]
		if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			g.f.Replicas = append(g.f.Replicas, Replica{Pod: p.Name, Ready: cluster.Ready(p)})
		}
	}
	slices.SortFunc(g.f.Replicas, func(a, b Replica) int { return strings.Compare(a.Pod, b.Pod) })
	for i := range g.f.Replicas {
		r := &g.f.Replicas[i]
		pod := r.Pod
		dial := func(port uint16) admin.Dialer {
			return func(ctx context.Context) (net.Conn, error) { return g.c.DialPod(ctx, g.o.System, pod, port) }
		}
		monitor := admin.Client{Dial: dial(MonitorPort)}
		fetch(ctx, g, &r.Version, monitor.Version)
		fetch(ctx, g, &r.Problems, monitor.Problems)
		fetch(ctx, g, &r.Proxies, monitor.Proxies)
		fetch(ctx, g, &r.Clusters, monitor.Clusters)
		if !r.Ready {
			continue
		}
		fetch(ctx, g, &r.Serving, func(ctx context.Context) ([]*x509.Certificate, error) {
			return serving(ctx, dial(webhookPort), fmt.Sprintf("%s.%s.svc", Controller, g.o.System))
		})
	}
}

// serving looks at the certificates of a TLS server. Whether they are good is for Evaluate to say.
func serving(ctx context.Context, dial admin.Dialer, name string) ([]*x509.Certificate, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	//nolint:gosec // nothing is sent: the point is to see also a certificate that is not valid
	c := tls.Client(conn, &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS on port %d: %w", webhookPort, err)
	}
	chain := c.ConnectionState().PeerCertificates
	if len(chain) == 0 {
		return nil, errors.New("TLS without a certificate")
	}
	return chain, nil
}
