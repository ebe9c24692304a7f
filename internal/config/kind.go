package config

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// Scope says whether the objects of a kind live in namespaces.
type Scope uint8

// The scopes.
const (
	Namespaced Scope = iota + 1
	ClusterWide
)

// Form says how the objects of a kind come from an API server.
type Form uint8

const (
	// FilesOnly kinds are read from manifests, and not followed on an API server.
	FilesOnly Form = iota + 1
	// Whole objects of the API server itself, in protobuf.
	Whole
	// MetadataOnly objects are those of the API server itself of which nothing else is read. The rest of a Node is tens of
	// kilobytes, so it is left to the server to leave it out.
	MetadataOnly
	// Custom objects are those of a CRD, in JSON. They may be anything if the CRD has no schema, so each is decoded by
	// itself. The kind may be absent.
	Custom
	// ByName is Whole for objects of which only those are read that another object names (see Kind.Needs), each by itself:
	// the others are nobody's business, and whoever runs the mesh need not allow them to be read.
	ByName
)

// StatusForm says what the mesh writes into the status of a kind's objects.
type StatusForm uint8

const (
	// NoStatus is ours to write.
	NoStatus StatusForm = iota + 1
	// Conditions of the object, in Istio's form.
	Conditions
	// RouteParents is what became of each parent of a route, in the Gateway API's form.
	RouteParents
	// PolicyAncestors is what became of each target of a policy, in the Gateway API's form (GEP-713).
	PolicyAncestors
	// MirroredServices is what became of each Service of the cluster that a Link is about, in Linkerd's form.
	MirroredServices
	// ExportConditions are those of a ServiceExport.
	ExportConditions
)

// Kind is one row: everything that is particular to one kind of object.
type Kind struct {
	// Name, Group and Resource are as in "VirtualService", "networking.istio.io", "virtualservices".
	Name, Group, Resource string
	// Versions are those that read the same; the first is the one to advise. Custom kinds are followed in the first one
	// that is served.
	Versions []string
	Scope    Scope
	Form     Form
	// OfClusters is set for the kinds of which the objects of other clusters are read too: what there is to call. All else is
	// configuration, which is that of the control plane's own cluster.
	OfClusters bool
	// Selector is a field selector that leaves out objects which mean nothing to the mesh.
	Selector string
	// ReadsStatus keeps the status block of manifests: pods and nodes say there what they are. That of the other kinds
	// is written by controllers for people, and dropped.
	ReadsStatus bool
	// Status is the form of the status that the mesh writes; RouteSpec gives what that of a route is about.
	Status    StatusForm
	RouteSpec func(object any) *gatewayv1.CommonRouteSpec
	// AsWritten asks admission about every version: elsewhere the API server converts to the first one before it asks, and
	// here the meaning is in the version that was written.
	AsWritten bool
	// Gauge is the name of the metric that counts the objects, empty where there is none. Kinds may share one.
	Gauge string

	// New gives an empty object.
	New func() metav1.Object
	// Is reports whether an object is of the kind's Go type; the functions below take no other.
	Is func(object any) bool
	// Strip takes from an object of an API server what no translator reads. Metadata are the source's.
	Strip func(object any)
	// Translate says what an object means. It keeps nothing of it that changes.
	Translate func(object any, at Place) Translation
	// Needs lists the objects of ByName kinds that an object names; ok is false where the object is refused, and its last good
	// version with what that names stays. Nil where objects of the kind name none.
	Needs func(object any, at Place) (named []model.Ref, ok bool)
	// Remove is what the end of an object means to the store, nil where it means nothing.
	Remove func(tx *store.Txn, ref model.Ref)
	// Worsens is set for kinds whose objects say which endpoints there are; all others are configuration. It compares
	// two [Translation.Endpoints] of one object, or nothing, and reports whether calls that go somewhere now would go wrong
	// after the change. Such changes wait for nothing.
	Worsens func(before, after any) bool
}

// Place is where an object stands.
type Place struct {
	Ref           model.Ref
	ClusterDomain string
	// ClusterID is the name of the control plane's own cluster.
	ClusterID string
}

// Translation is what one object means to the store.
type Translation struct {
	// Commit puts the object in force; nil where its last good version stays.
	Commit   func(*store.Txn)
	Problems []model.Problem
	// Endpoints is the object's value in the model, for kinds that can worsen.
	Endpoints any
}

// APIVersion is the apiVersion to advise.
func (k *Kind) APIVersion() string { return k.in(k.Versions[0]) }

// Accepts reports whether the kind is read in an apiVersion.
func (k *Kind) Accepts(apiVersion string) bool {
	return slices.ContainsFunc(k.Versions, func(v string) bool { return apiVersion == k.in(v) })
}

func (k *Kind) in(version string) string {
	return schema.GroupVersion{Group: k.Group, Version: version}.String()
}

// Path is the URL path of the kind's objects, in all namespaces.
func (k *Kind) Path(version string) string {
	if k.Group == "" {
		return "/api/" + version + "/" + k.Resource
	}
	return "/apis/" + k.Group + "/" + version + "/" + k.Resource
}

// Qualified gives the resource as kubectl takes it, such as "virtualservices.networking.istio.io".
func (k *Kind) Qualified() string {
	return schema.GroupResource{Group: k.Group, Resource: k.Resource}.String()
}

// Table finds rows by name. The zero Table is empty.
type Table map[string]*Kind

// NewTable gives the table of all kinds. Names are unique among the kinds that are obeyed, whatever their groups.
func NewTable() Table {
	kinds := Kinds()
	t := make(Table, len(kinds))
	for i := range kinds {
		t[kinds[i].Name] = &kinds[i]
	}
	return t
}

// Translate says what an object means; nothing where its kind is in no row, or it is not of the kind's Go type.
func (t Table) Translate(object any, at Place) Translation {
	if k := t[at.Ref.Kind]; k != nil && k.Is(object) {
		return k.Translate(object, at)
	}
	return Translation{}
}

// Remove is what the end of an object means to the store, nil where it means nothing.
func (t Table) Remove(ref model.Ref) func(*store.Txn) {
	k := t[ref.Kind]
	if k == nil || k.Remove == nil {
		return nil
	}
	return func(tx *store.Txn) { k.Remove(tx, ref) }
}

// Has reports whether objects of a kind are read, in some version.
func (t Table) Has(group, name string) bool {
	k := t[name]
	return k != nil && k.Group == group
}
