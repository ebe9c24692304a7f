package incluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

const (
	// ImportManager marks the objects that are kept for imports: as app.kubernetes.io/managed-by, and of slices as the label that
	// EndpointSlices have for it.
	ImportManager  = "fairlead-multicluster"
	managedByLabel = "app.kubernetes.io/managed-by"
	// writtenAnnotation is a hash of what was last written into an object.
	writtenAnnotation = "fairlead.dev/written"
)

// Import is what clusters have exported under one name.
type Import struct {
	Namespace, Name     string
	Labels, Annotations map[string]string
	// Spec is without addresses.
	Spec mcsv1beta1.ServiceImportSpec
	// Clusters are those that export it.
	Clusters []string
	Slices   []ImportSlice
}

// ImportSlice is a copy of an EndpointSlice of a cluster that exports the Service.
type ImportSlice struct {
	Cluster, Name string
	AddressType   discoveryv1.AddressType
	Ports         []discoveryv1.EndpointPort
	Endpoints     []discoveryv1.Endpoint
}

func (m *Import) key() string { return m.Namespace + "/" + m.Name }

// ImportsOptions configure Imports. All fields are required.
type ImportsOptions struct {
	Client *Client
	// Logger gets a line for what cannot be written.
	Logger *slog.Logger
}

// Imports keeps what says in the cluster what clusters have exported: for each name a ServiceImport, with its status, and for pods
// without a sidecar a Service without selector, whose address it is, and slices with the endpoints of all clusters. Objects of these
// kinds that it has not made are left alone. One replica at a time should run it. It keeps the newest Import of each name, and of
// what there is names and hashes.
type Imports struct {
	o       ImportsOptions
	repairs *repairs

	mu       sync.Mutex // taken before that of repairs
	want     map[string]*Import
	unheard  map[string]bool // names of clusters of which it is not known what they export
	have     map[string]*importObjects
	lists    int                 // of the three kinds, how many were listed
	statuses map[string][32]byte // what was written into the status of an import, by its UID
	version  string              // of the API, as served
}

// importObjects is what there is for one import.
type importObjects struct {
	service madeObject // the ServiceImport
	foreign bool       // it is not ours
	derived madeObject // the Service
	ips     []string
	slices  map[string]slicedObject // by name
}

// madeObject is what is known of an object: nothing where it has no UID.
type madeObject struct{ uid, hash string }

type slicedObject struct {
	madeObject

	cluster string
}

const importLists = 3

// NewImports checks the options. It sends nothing.
func NewImports(o ImportsOptions) (*Imports, error) {
	if o.Client == nil || o.Logger == nil {
		return nil, errors.New("imports: Client and Logger are required")
	}
	m := &Imports{o: o, statuses: make(map[string][32]byte)}
	m.repairs = newRepairs(o.Logger, m.fix)
	return m, nil
}

// Set says which imports there are to be. What is known of clusters that are not heard yet stays. It does not block, and may be called
// at any time.
func (m *Imports) Set(list []*Import, unheard map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.want, m.unheard = make(map[string]*Import, len(list)), unheard
	for _, i := range list {
		m.want[i.key()] = i
	}
	m.repairs.hurry()
	m.checkAll()
}

// Run keeps the objects until ctx ends. It may be run again, but not twice at once.
func (m *Imports) Run(ctx context.Context) {
	version, ok := m.learn(ctx)
	if !ok {
		return
	}
	m.mu.Lock()
	m.have, m.lists, m.version = make(map[string]*importObjects), 0, version
	clear(m.statuses)
	m.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { m.followImports(ctx) })
	wg.Go(func() { m.followServices(ctx) })
	wg.Go(func() { m.followSlices(ctx) })
	wg.Go(func() { m.repairs.run(ctx) })
	wg.Wait()
}

// learn asks in which version the kinds are served, until that is known; false where ctx ends before.
func (m *Imports) learn(ctx context.Context) (string, bool) {
	again := retry{say: func(ctx context.Context, err error) {
		m.o.Logger.LogAttrs(ctx, slog.LevelWarn, "imported Services are not written: their definition is not installed, or cannot be read", slog.Any("error", err))
	}}
	for ctx.Err() == nil {
		for _, version := range []string{"v1beta1", "v1alpha1"} {
			var list metav1.PartialObjectMetadataList
			err := m.o.Client.list(ctx, target{resource: serviceImports(version), name: "none"}, &list)
			if err == nil {
				return version, true
			}
			again.report(ctx, err)
		}
		again.pause(ctx)
	}
	return "", false
}

func serviceImports(version string) resource {
	return resource{mcsv1beta1.GroupName, version, mcsv1beta1.ServiceImportPluralName, mcsv1beta1.ServiceImportKindName}
}

// of gives what there is for an import, with the lock held.
func (m *Imports) of(key string) *importObjects {
	o := m.have[key]
	if o == nil {
		o = &importObjects{slices: make(map[string]slicedObject)}
		m.have[key] = o
	}
	return o
}

func (m *Imports) followImports(ctx context.Context) {
	kept[*mcsv1beta1.ServiceImport]{
		of:    target{resource: serviceImports(m.version)},
		empty: func() *mcsv1beta1.ServiceImport { return new(mcsv1beta1.ServiceImport) },
		set: func(o *importObjects, in *mcsv1beta1.ServiceImport, there bool) {
			o.service, o.foreign = madeObject{}, false
			if there {
				o.service, o.foreign = objectOf(in), in.Labels[managedByLabel] != ImportManager
			}
		},
		key: func(in *mcsv1beta1.ServiceImport) string { return in.Namespace + "/" + in.Name },
	}.follow(ctx, m)
}

func (m *Imports) followServices(ctx context.Context) {
	kept[*corev1.Service]{
		of:    target{resource: services(), labels: managedByLabel + "=" + ImportManager},
		empty: func() *corev1.Service { return new(corev1.Service) },
		set: func(o *importObjects, in *corev1.Service, there bool) {
			o.derived, o.ips = madeObject{}, nil
			if there {
				o.derived, o.ips = objectOf(in), in.Spec.ClusterIPs
			}
		},
		key: func(in *corev1.Service) string { return in.Namespace + "/" + in.Labels[mcsv1beta1.LabelServiceName] },
	}.follow(ctx, m)
}

func (m *Imports) followSlices(ctx context.Context) {
	kept[*discoveryv1.EndpointSlice]{
		of:    target{resource: endpointSlices(), labels: discoveryv1.LabelManagedBy + "=" + ImportManager},
		empty: func() *discoveryv1.EndpointSlice { return new(discoveryv1.EndpointSlice) },
		set: func(o *importObjects, in *discoveryv1.EndpointSlice, there bool) {
			delete(o.slices, in.Name)
			if there {
				o.slices[in.Name] = slicedObject{objectOf(in), in.Labels[mcsv1beta1.LabelSourceCluster]}
			}
		},
		key: func(in *discoveryv1.EndpointSlice) string {
			return in.Namespace + "/" + in.Labels[mcsv1beta1.LabelServiceName]
		},
	}.follow(ctx, m)
}

func objectOf(in metav1.Object) madeObject {
	return madeObject{uid: string(in.GetUID()), hash: in.GetAnnotations()[writtenAnnotation]}
}

// kept is a collection of which set notes each object, and whether it is there, with the import that key names.
type kept[T metav1.Object] struct {
	of    target
	empty func() T
	set   func(o *importObjects, in T, there bool)
	key   func(T) string
}

// follow does so until ctx ends.
func (k kept[T]) follow(ctx context.Context, m *Imports) {
	known := make(map[string]T) // by namespace and name
	listed := false
	note := func(in T, there bool) {
		k.set(m.of(k.key(in)), in, there)
		if id := in.GetNamespace() + "/" + in.GetName(); there {
			known[id] = in
		} else {
			delete(known, id)
		}
	}
	observer[T]{
		empty: k.empty,
		replace: func(list []T) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, old := range known {
				note(old, false)
			}
			for _, in := range list {
				note(in, true)
			}
			if !listed {
				listed = true
				m.lists++
			}
			m.checkAll()
		},
		set: func(in T) {
			m.mu.Lock()
			defer m.mu.Unlock()
			note(in, true)
			m.check(k.key(in))
		},
		gone: func(in T) {
			m.mu.Lock()
			defer m.mu.Unlock()
			note(in, false)
			m.check(k.key(in))
		},
	}.follow(ctx, m.o.Logger, m.o.Client, k.of)
}

func (m *Imports) checkAll() {
	for key := range m.have {
		m.check(key)
	}
	for key := range m.want {
		m.check(key)
	}
}

// check has an import's objects written where they are not as they should be. Before all is known, everything would look so.
func (m *Imports) check(key string) {
	if m.want == nil || m.lists < importLists {
		return
	}
	if p := m.plan(key); p.nothing() {
		m.repairs.fine(key)
		if o := m.have[key]; m.want[key] == nil && len(o.slices) == 0 && o.service.uid == "" && o.derived.uid == "" {
			m.repairs.forget(key)
			delete(m.have, key)
		}
		return
	}
	m.repairs.want(key)
}

// plan says what is to be done for an import, with the lock held.
func (m *Imports) plan(key string) importPlan {
	want, have := m.want[key], m.of(key)
	p := importPlan{want: want, ips: have.ips, uid: have.service.uid}
	keep := func(cluster string) bool { return m.unheard[cluster] }
	var wanted []string
	if want != nil && have.foreign {
		p.refused = true
		return p
	}
	if want != nil {
		if want.Spec.Type == mcsv1beta1.ClusterSetIP {
			p.service = have.derived.uid == "" || have.derived.hash != want.serviceHash()
		}
		p.object = have.service.uid == "" || have.service.hash != want.importHash(have.ips)
		for i := range want.Slices {
			s := &want.Slices[i]
			name := want.sliceName(s)
			wanted = append(wanted, name)
			if have.slices[name].hash != want.sliceHash(s) {
				p.slices = append(p.slices, s)
			}
		}
		p.status = m.statuses[have.service.uid] != want.statusHash(have.ips)
	}
	kept := false
	for name, s := range have.slices {
		switch {
		case slices.Contains(wanted, name):
		case keep(s.cluster):
			kept = true
		default:
			p.stale = append(p.stale, name)
		}
	}
	if want == nil && !kept {
		p.dropImport = have.service.uid != "" && !have.foreign
	}
	p.dropService = have.derived.uid != "" && (want == nil && !kept || want != nil && want.Spec.Type == mcsv1beta1.Headless)
	slices.Sort(p.stale)
	return p
}

// importPlan is what is to be done for one import.
type importPlan struct {
	want *Import
	ips  []string
	uid  string
	// refused is set where a ServiceImport of the name is another's.
	refused                 bool
	object, service, status bool
	slices                  []*ImportSlice
	stale                   []string
	dropImport, dropService bool
}

func (p *importPlan) nothing() bool {
	return !p.refused && !p.object && !p.service && !p.status && len(p.slices)+len(p.stale) == 0 && !p.dropImport && !p.dropService
}

// hash tells apart what is written.
func hash(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "" // nothing here cannot be written as JSON
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// settled reports whether an error says that a namespace ends, so that nothing is to be done in it.
func settled(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
