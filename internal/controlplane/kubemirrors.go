package controlplane

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/config/core"
	"fairlead.dev/fairlead/internal/incluster"
	"fairlead.dev/fairlead/internal/mirror"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/remote"
	"fairlead.dev/fairlead/internal/store"
)

// MirrorMode says what of mirrors this control plane writes into its cluster.
type MirrorMode string

// The modes.
const (
	NoMirrors         MirrorMode = "off"
	MirrorServices    MirrorMode = "services"   // of namespaces that are there
	MirrorsNamespaces MirrorMode = "namespaces" // and these, where they are not
)

// linkedClusters declares the clusters that Links name, by the Secrets that these name: one is followed where there are both. The Link
// says what the cluster is called.
type linkedClusters struct {
	set       *remote.Set
	namespace string
	of        kubeconfigs

	mu      sync.Mutex
	secrets map[string][]byte // kubeconfigs, by the name of the Secret; guarded by mu
	links   map[string]string // clusters, by the name of the Secret; guarded by mu
}

func (l *linkedClusters) secret(name string, kubeconfigs map[string][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(kubeconfigs) == 0 {
		delete(l.secrets, name)
	} else {
		l.secrets[name] = kubeconfigs[name]
	}
	l.declare(name)
}

func (l *linkedClusters) decided(links []*model.Link) {
	named := make(map[string]string, len(links))
	for _, link := range links {
		if link.Secret != "" {
			named[link.Secret] = link.Cluster
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if maps.Equal(named, l.links) {
		return
	}
	before := l.links
	l.links = named
	for name := range before {
		l.declare(name)
	}
	for name := range named {
		l.declare(name)
	}
}

// declare says which cluster a Secret is of, with the lock held.
func (l *linkedClusters) declare(name string) {
	by := l.namespace + "/" + name
	cluster, text := l.links[name], l.secrets[name]
	if cluster == "" || l.secrets[name] == nil {
		l.set.Declare(by, nil)
		return
	}
	spec := l.of.spec(text)
	spec.Apart = true
	l.set.Declare(by, map[string]remote.Spec{cluster: spec})
}

// declareLinked has Links and the Secrets that they name say which clusters there are.
func (c *cluster) declareLinked() error {
	c.linked = &linkedClusters{
		set: c.p.clusters.set, namespace: c.o.Namespace, of: kubeconfigs{c.p.o.KubeconfigPlugins, c.log}, secrets: map[string][]byte{}, links: map[string]string{},
	}
	followed, err := incluster.NewMirrorSecrets(incluster.RemoteSecretsOptions{
		Client: c.client, Namespace: c.o.Namespace, Set: func(name string, said incluster.RemoteSecret) { c.linked.secret(name, said.Clusters) }, Listed: func() {}, Logger: c.log,
	})
	if err != nil {
		return err
	}
	c.p.clusters.declarers = append(c.p.clusters.declarers, func(ctx context.Context) error {
		followed.Run(ctx)
		return nil
	})
	c.mirrors, err = incluster.NewMirrors(incluster.MirrorsOptions{Client: c.client, Namespace: c.o.Namespace, Logger: c.log})
	c.p.mirrors.make = c.makeMirrors
	return err
}

// makeMirrors has the leader write what was decided. A replica that does not lead remembers it for the day it does.
func (c *cluster) makeMirrors(look *store.Reader, d mirror.Decision) {
	c.linked.decided(d.Links)
	for ref, status := range d.Status {
		c.mirrors.Say(corev1.ObjectReference{APIVersion: "multicluster.linkerd.io/v1alpha3", Kind: "Link", Namespace: ref.Namespace, Name: ref.Name}, eventsOf(status))
	}
	if c.p.o.Mirrors == NoMirrors || c.p.o.Mirrors == "" {
		return
	}
	wanted, wrong := make(map[string]incluster.Mirror, len(d.Services)), map[string]bool{}
	for i := range d.Services {
		s := &d.Services[i]
		m := incluster.Mirror{Service: mirrorService(s), Slices: mirrorSlices(s)}
		wanted[s.Key.String()] = m
		if !isAsWanted(look, m.Service, c.p.o.ClusterDomain) {
			wrong[s.Key.String()] = true
		}
	}
	gone := make([]string, 0, len(d.Gone))
	for _, k := range d.Gone {
		gone = append(gone, k.String())
	}
	c.mirrors.Set(wanted, gone, wrong, d.Namespaces)
}

// isAsWanted reports whether the cluster has a mirror as it should be, as far as the mesh reads it.
func isAsWanted(look *store.Reader, want *corev1.Service, domain string) bool {
	meant, _ := core.Service(want, domain)
	return meant != nil && slices.ContainsFunc(look.ServicesByKey(meant.Key), func(s *model.Service) bool {
		return s.MadeHere && s.Headless == meant.Headless && reflect.DeepEqual(s.Mirror, meant.Mirror) && reflect.DeepEqual(s.Ports, meant.Ports)
	})
}

// eventsOf gives what is to be said about a Link: what has no mirror, and the reason.
func eventsOf(s mirror.Status) map[string]string {
	out := map[string]string{}
	for _, o := range slices.Concat(s.Mirrors, s.Federated) {
		if !o.Holds {
			out["Service "+o.Remote.String()+" has no mirror "+o.Local.Name+": "+o.Message] = o.Reason
		}
	}
	return out
}
