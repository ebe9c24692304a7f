package mirror

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// What a Link may bring about: each mirror is an object of this cluster, and an entry of the Link's status.
const (
	// MaxMirrors is how many Services of one cluster have mirrors.
	MaxMirrors = 2000
	// maxName is how long the name of a Service may be.
	maxName = 63
	// maxValue is how long an annotation may be that a mirror takes over.
	maxValue = 4096
)

// Options say what is the same for all Links.
type Options struct {
	// Namespace is where Links count. Whoever may write them there says what every namespace of the cluster gets.
	Namespace string
	// Own is the name of the own cluster.
	Own string
	// Domain is the own cluster's, which counts where a Link names none.
	Domain string
	// Missing says what becomes of Services whose namespace this cluster does not have.
	Missing MissingNamespace
	// Headless has headless Services, whose endpoints have hostnames, be mirrored as what they are, with a Service for each such pod.
	Headless bool
	// Alive are the addresses of gateways that are alive, by the name of the cluster.
	Alive map[string][]netip.AddrPort
}

// MissingNamespace is what becomes of Services whose namespace is not there.
type MissingNamespace uint8

// The ways.
const (
	SkipMissing   MissingNamespace = iota // they have no mirror
	CreateMissing                         // it is made
	IgnoreMissing                         // namespaces are no objects here
)

// Service is a mirror that there is to be.
type Service struct {
	Key model.Key
	// Cluster is that of the Link, empty for a union.
	Cluster             string
	Labels, Annotations map[string]string
	Ports               []model.ServicePort
	// ByGateway mirrors have an EndpointSlice with Gateways, which may be none.
	ByGateway bool
	Gateways  []netip.AddrPort
	// Headless mirrors have EndpointSlices with Pods in place of an address of their own.
	Headless bool
	Pods     []Pod
}

// Outcome is what became of a Service that a Link selects.
type Outcome struct {
	Remote, Local   model.Key
	Holds           bool
	Reason, Message string
}

// Status is what became of all Services that a Link selects.
type Status struct{ Mirrors, Federated []Outcome }

// Decision is what there is to be.
type Decision struct {
	// Services are sorted by key.
	Services []Service
	// Gone are mirrors made here that are to be deleted, Namespaces those to be made.
	Gone       []model.Key
	Namespaces []string
	Links      []*model.Link // those that count, by cluster
	Status     map[model.Ref]Status
	Problems   []model.Problem
}

// Decide gives what there is to be.
func Decide(r *store.Reader, o Options) Decision {
	d := &decider{
		r: r, o: o, out: Decision{Status: map[model.Ref]Status{}},
		unions: map[model.Key]*union{}, wanted: map[model.Key]*Service{}, count: map[string]int{}, spaces: map[string]bool{},
	}
	d.links()
	for _, l := range d.out.Links {
		d.link(l)
	}
	if len(d.out.Links) > 0 {
		d.home()
	}
	d.federate()
	d.finish()
	return d.out
}

// decider gathers a decision.
type decider struct {
	r      *store.Reader
	o      Options
	out    Decision
	wanted map[model.Key]*Service
	count  map[string]int       // of those, how many are of a cluster alone
	unions map[model.Key]*union // by the key of the Service that they are unions of
	spaces map[string]bool
}

// readable warns of a Link to a cluster that nothing says how to read.
func (d *decider) readable(l *model.Link) {
	switch {
	case store.FindRemoteCluster(d.r, l.Cluster) != nil:
	case l.Cluster == d.o.Own:
		d.warn(l, "spec.targetClusterName", l.Cluster+" is the name of this cluster itself: mirrors stay as they are",
			"the cluster that is linked prints it, and it is applied in the other one: fairlead multicluster link-gen --cluster-name NAME")
	default:
		d.warn(l, "spec.clusterCredentialsSecret", fmt.Sprintf("nothing says how cluster %s is read: mirrors stay as they are", l.Cluster),
			fmt.Sprintf("a Secret %s of type mirror.linkerd.io/remote-kubeconfig in namespace %s", cmp.Or(l.Secret, "cluster-credentials-"+l.Cluster), d.o.Namespace))
	}
}

// Links gives all Links, in the order in which they count: of two for one cluster the older.
func Links(r *store.Reader) []*model.Link {
	all := store.List[model.Link](r)
	slices.SortFunc(all, func(a, b *model.Link) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), a.Ref.Compare(b.Ref.Key))
	})
	return all
}

// links picks the Links that count.
func (d *decider) links() {
	for _, l := range Links(d.r) {
		d.out.Status[l.Ref] = Status{}
		same := slices.IndexFunc(d.out.Links, func(o *model.Link) bool { return o.Cluster == l.Cluster })
		switch {
		case l.Ref.Namespace != d.o.Namespace:
			d.warn(l, "metadata.namespace", fmt.Sprintf("Links count in namespace %s only", d.o.Namespace), "write it there")
		case same >= 0:
			d.warn(l, "spec.targetClusterName", fmt.Sprintf("cluster %s is that of %s already: no effect", l.Cluster, d.out.Links[same].Ref),
				"remove one, or give the clusters different names")
		default:
			d.out.Links = append(d.out.Links, l)
			d.readable(l)
		}
	}
	slices.SortFunc(d.out.Links, func(a, b *model.Link) int { return cmp.Compare(a.Cluster, b.Cluster) })
}

func (d *decider) warn(l *model.Link, field, message, fix string) {
	d.out.Problems = append(d.out.Problems, model.Problem{Ref: l.Ref, Severity: model.Warning, Field: field, Message: message, Fix: fix})
}

// heard reports whether what is known of a cluster is all it has.
func (d *decider) heard(cluster string) bool {
	c := store.FindRemoteCluster(d.r, cluster)
	return c != nil && c.Heard
}

// link decides about the Services of one cluster.
func (d *decider) link(l *model.Link) {
	if !d.heard(l.Cluster) {
		return
	}
	var status Status
	var headless []*store.RemoteService
	services := store.By[store.RemoteService](d.r, store.RemoteServicesOfCluster, l.Cluster)
	slices.SortFunc(services, func(a, b *store.RemoteService) int { return a.Key.Compare(b.Key) })
	for _, s := range services {
		if s.Mirror != nil || s.Labels[model.MirroredLabel] == "true" || s.Labels[model.MirrorClusterLabel] != "" {
			continue // one of ours there, or of another cluster: mirrors have none
		}
		exported, discovered := l.Exported.Selects(s.Labels), l.Discovered.Selects(s.Labels)
		if exported || discovered {
			o := d.mirror(l, s, exported && !discovered)
			status.Mirrors = append(status.Mirrors, o)
			if m := d.wanted[o.Local]; m != nil && m.Headless {
				headless = append(headless, s)
			}
		}
		if l.Federated.Selects(s.Labels) {
			u := d.union(s.Key)
			u.members = append(u.members, member{link: l, service: s, labels: s.Labels, annotations: s.Annotations})
		}
	}
	for _, s := range headless { // behind the Services: a name that one of these has is not a pod's
		status.Mirrors = append(status.Mirrors, d.pods(l, s)...)
	}
	d.out.Status[l.Ref] = status
}

// mirror decides about one Service.
func (d *decider) mirror(l *model.Link, s *store.RemoteService, byGateway bool) Outcome { //nolint:revive // what the mirror is like
	local := model.Key{Namespace: s.Key.Namespace, Name: model.MirrorName(s.Key.Name, l.Cluster)}
	o := Outcome{Remote: s.Key, Local: local}
	switch {
	case byGateway && len(l.Gateways) == 0:
		return o.not("NoGateway", "the Link has no gatewayAddress: label the Service "+model.ExportedLabel+": "+model.RemoteDiscovery+" where its pods can be called directly")
	case d.count[l.Cluster] >= MaxMirrors:
		return o.not("TooMany", fmt.Sprintf("there are %d mirrors of the cluster already", MaxMirrors))
	}
	if o = d.admit(o, &s.Service); !o.Holds {
		return o
	}
	m := &Service{Key: local, Cluster: l.Cluster, Ports: s.Ports, ByGateway: byGateway}
	m.Labels, m.Annotations = copied(l, s.Labels, s.Annotations)
	m.Labels[model.MirrorClusterLabel] = l.Cluster
	m.Annotations[model.MirroredName] = string(model.ServiceHost(s.Key.Name, s.Key.Namespace, cmp.Or(l.Domain, d.o.Domain)))
	if byGateway {
		m.Gateways = d.o.Alive[l.Cluster]
		if l.GatewayIdentity != "" {
			m.Annotations[model.MirroredGatewayID] = l.GatewayIdentity
		}
	} else {
		m.Labels[model.RemoteDiscoveryKey], m.Labels[model.RemoteServiceLabel] = l.Cluster, s.Key.Name
	}
	if s.Headless {
		if m.Headless, o = d.asHeadless(s, o); !o.Holds {
			return o
		}
	}
	d.want(m)
	return o
}

// want adds a mirror of a cluster.
func (d *decider) want(m *Service) {
	d.wanted[m.Key] = m
	d.count[m.Cluster]++
}

// admit says whether there can be a Service of a name, and holds where there can.
func (d *decider) admit(o Outcome, s *model.Service) Outcome {
	switch {
	case len(o.Local.Name) > maxName:
		return o.not("InvalidName", fmt.Sprintf("%s has %d characters, a Service at most %d", o.Local.Name, len(o.Local.Name), maxName))
	case s.ExternalName != "":
		return o.not("ExternalName", "it is a name for another host in its own cluster")
	case len(s.Ports) == 0:
		return o.not("NoPorts", "it has no ports")
	case d.foreign(o.Local):
		return o.not("Foreign", fmt.Sprintf("Service %s was not made as a mirror: it stays as it is", o.Local))
	case !d.hasNamespace(o.Local.Namespace):
		return o.not("NamespaceMissing", "this cluster has no namespace "+o.Local.Namespace)
	}
	o.Holds, o.Reason = true, "Mirrored"
	return o
}

// not says why there is no mirror.
func (o Outcome) not(reason, message string) Outcome {
	o.Holds, o.Reason, o.Message = false, reason, message
	return o
}

// foreign reports whether this cluster has a Service of a name that was not made here.
func (d *decider) foreign(k model.Key) bool {
	return slices.ContainsFunc(d.r.ServicesByKey(k), func(s *model.Service) bool {
		return s.Origin.Kind == "Service" && s.Origin.Cluster == "" && !s.MadeHere
	})
}

func (d *decider) hasNamespace(name string) bool {
	if d.o.Missing == IgnoreMissing || d.r.Namespace("", name) != nil {
		return true
	}
	if d.o.Missing == CreateMissing {
		d.spaces[name] = true
		return true
	}
	return false
}

// copied gives what of the labels and annotations of a Service its mirror has: not what says how the Service is mirrored, whose it is,
// or that it is the gateway of a network, which would cut pods of this cluster off.
func copied(l *model.Link, labels, annotations map[string]string) (outLabels, outAnnotations map[string]string) {
	outLabels, outAnnotations = map[string]string{}, map[string]string{}
	for k, v := range labels {
		if !isOwn(k) && !excluded(l.ExcludedLabels, k) {
			outLabels[k] = v
		}
	}
	for k, v := range annotations {
		if !isOwn(k) && !excluded(l.ExcludedAnnotations, k) && len(v) <= maxValue {
			outAnnotations[k] = v
		}
	}
	outLabels[model.MirroredLabel], outLabels[model.ManagedByLabel] = "true", model.ManagedBy
	return outLabels, outAnnotations
}

func isOwn(name string) bool {
	return model.IsMirrorLabel(name) || name == model.ManagedByLabel || name == model.LabelNetwork || name == model.GatewayPortLabel ||
		strings.HasPrefix(name, "kubectl.kubernetes.io/") || strings.HasPrefix(name, "meta.helm.sh/")
}

// excluded reports whether a list names a key, or a prefix of it: one that ends with a slash or an asterisk.
func excluded(list []string, key string) bool {
	return slices.ContainsFunc(list, func(x string) bool {
		if p, ok := strings.CutSuffix(x, "*"); ok {
			return strings.HasPrefix(key, p)
		}
		return x == key || strings.HasSuffix(x, "/") && strings.HasPrefix(key, x)
	})
}

// finish sorts what is wanted, and finds what is to go.
func (d *decider) finish() {
	for _, s := range d.wanted {
		d.out.Services = append(d.out.Services, *s)
	}
	slices.SortFunc(d.out.Services, func(a, b Service) int { return a.Key.Compare(b.Key) })
	for name := range d.spaces {
		d.out.Namespaces = append(d.out.Namespaces, name)
	}
	slices.Sort(d.out.Namespaces)
	for _, s := range store.List[model.Service](d.r) {
		if s.MadeHere && s.Origin.Kind == "Service" && s.Origin.Cluster == "" && d.wanted[s.Key] == nil && !d.stays(s) {
			d.out.Gone = append(d.out.Gone, s.Key)
		}
	}
	slices.SortFunc(d.out.Gone, model.Key.Compare)
	d.complain()
}

// stays reports whether a mirror is of a cluster of which it is not known what it has.
func (d *decider) stays(s *model.Service) bool {
	if s.Mirror == nil {
		return false
	}
	return slices.ContainsFunc(s.Mirror.Sources, func(m model.MirrorSource) bool {
		return m.Cluster != "" && !d.heard(m.Cluster) && slices.ContainsFunc(d.out.Links, func(l *model.Link) bool { return l.Cluster == m.Cluster })
	})
}

// mostComplaints is how many problems a Link has at most; its status has all.
const mostComplaints = 20

// complain makes problems of what has no mirror.
func (d *decider) complain() {
	for _, l := range d.out.Links {
		n := 0
		status := d.out.Status[l.Ref]
		for _, o := range slices.Concat(status.Mirrors, status.Federated) {
			if !o.Holds && n < mostComplaints {
				n++
				d.warn(l, "", fmt.Sprintf("Service %s of cluster %s has no mirror %s: %s", o.Remote, l.Cluster, o.Local.Name, o.Message), "")
			}
		}
	}
}
