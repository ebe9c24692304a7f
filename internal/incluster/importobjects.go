package incluster

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"
)

// fix brings the objects of one import into the state that they should be in: the ServiceImport, which owns the others, first.
func (m *Imports) fix(ctx context.Context, key string) error {
	m.mu.Lock()
	p := m.plan(key)
	m.mu.Unlock()
	namespace, name, _ := strings.Cut(key, "/")
	if p.refused {
		return fmt.Errorf("ServiceImport %s was not made by Fairlead, and is left alone: delete it, or the exports of the name", key)
	}
	err := m.write(ctx, &p, namespace)
	if settled(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, slice := range p.stale {
		if err := m.o.Client.remove(ctx, target{resource: endpointSlices(), namespace: namespace, name: slice}); err != nil {
			return err
		}
	}
	if p.dropService {
		if err := m.o.Client.remove(ctx, target{resource: services(), namespace: namespace, name: derivedName(namespace, name)}); err != nil {
			return err
		}
	}
	if p.dropImport {
		return m.o.Client.remove(ctx, target{resource: serviceImports(m.version), namespace: namespace, name: name})
	}
	return nil
}

// write makes and changes what is wanted.
func (m *Imports) write(ctx context.Context, p *importPlan, namespace string) error {
	if p.want == nil {
		return nil
	}
	at := target{resource: serviceImports(m.version), namespace: namespace, name: p.want.Name}
	if p.uid == "" {
		if err := m.writeImport(ctx, p, at); err != nil {
			return err
		}
	}
	if p.service {
		var out corev1.Service
		if err := m.o.Client.applied(ctx, target{resource: services(), namespace: namespace, name: p.want.derivedName()}, p.want.service(m.version, p.uid), &out); err != nil {
			return err
		}
		p.object = p.object || !equalStrings(p.ips, out.Spec.ClusterIPs)
		p.ips = out.Spec.ClusterIPs
	}
	for _, s := range p.slices {
		err := m.o.Client.applied(ctx, target{resource: endpointSlices(), namespace: namespace, name: p.want.sliceName(s)}, p.want.slice(s, m.version, p.uid), nil)
		if err != nil {
			return err
		}
	}
	if p.object {
		if err := m.writeImport(ctx, p, at); err != nil {
			return err
		}
	}
	return m.writeStatus(ctx, p, at)
}

func (m *Imports) writeImport(ctx context.Context, p *importPlan, at target) error {
	var out mcsv1beta1.ServiceImport
	if err := m.o.Client.applied(ctx, at, p.want.object(p.ips), &out); err != nil {
		return err
	}
	p.uid = string(out.UID)
	return nil
}

func (m *Imports) writeStatus(ctx context.Context, p *importPlan, at target) error {
	want := p.want.statusHash(p.ips)
	m.mu.Lock()
	same := m.statuses[p.uid] == want
	m.mu.Unlock()
	if same {
		return nil
	}
	at.sub = "status"
	patch, err := json.Marshal(map[string]any{ // no empty spec
		"apiVersion": mcsv1beta1.GroupName + "/" + m.version, "kind": mcsv1beta1.ServiceImportKindName,
		"metadata": map[string]string{"name": p.want.Name, "namespace": p.want.Namespace}, "status": p.want.status(p.ips),
	})
	if err != nil {
		return err
	}
	if err := m.o.Client.apply(ctx, at, patch); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	const most = 10_000 // imports that are gone are forgotten with all others
	if len(m.statuses) >= most {
		clear(m.statuses)
	}
	m.statuses[p.uid] = want
	return nil
}

func equalStrings(a, b []string) bool { return strings.Join(a, " ") == strings.Join(b, " ") }

// derivedName is the name of an import's Service: no Service of a user is called so by accident.
func derivedName(namespace, name string) string { return "derived-" + hash(namespace+"/"+name) }

func (m *Import) derivedName() string { return derivedName(m.Namespace, m.Name) }

// sliceName is the same for a slice of a cluster in whichever order slices are heard of.
func (m *Import) sliceName(s *ImportSlice) string {
	return m.derivedName() + "-" + hash(s.Cluster+"/"+s.Name)
}

func (m *Import) object(ips []string) *mcsv1beta1.ServiceImport {
	labels, annotations := maps.Clone(m.Labels), maps.Clone(m.Annotations)
	if labels == nil {
		labels = make(map[string]string)
	}
	if annotations == nil {
		annotations = make(map[string]string)
	}
	labels[managedByLabel] = ImportManager
	annotations[writtenAnnotation] = m.importHash(ips)
	out := &mcsv1beta1.ServiceImport{
		ObjectMeta: metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, Labels: labels, Annotations: annotations}, Spec: m.Spec,
	}
	if m.Spec.Type == mcsv1beta1.ClusterSetIP {
		out.Spec.IPs = ips
	}
	return out
}

func (m *Import) importHash(ips []string) string {
	if m.Spec.Type == mcsv1beta1.Headless {
		ips = nil
	}
	return hash([]any{m.Labels, m.Annotations, m.Spec, ips})
}

// status says which clusters export the Service. It has no time in it but that of the first word.
func (m *Import) status(ips []string) mcsv1beta1.ServiceImportStatus {
	out := mcsv1beta1.ServiceImportStatus{EndpointSliceObjects: mcsv1beta1.EndpointSliceObjectsPresent}
	for _, c := range m.Clusters {
		out.Clusters = append(out.Clusters, mcsv1beta1.ClusterStatus{Cluster: c})
	}
	if m.Spec.Type == mcsv1beta1.Headless || len(ips) > 0 {
		out.Conditions = append(out.Conditions, mcsv1beta1.NewServiceImportCondition(
			mcsv1beta1.ServiceImportConditionReady, metav1.ConditionTrue, mcsv1beta1.ServiceImportReasonReady, "it can be called"))
	} else {
		out.Conditions = append(out.Conditions, mcsv1beta1.NewServiceImportCondition(
			mcsv1beta1.ServiceImportConditionReady, metav1.ConditionFalse, mcsv1beta1.ServiceImportReasonPending, "it has no address yet"))
	}
	return out
}

func (m *Import) statusHash(ips []string) [32]byte {
	text, _ := json.Marshal([]any{m.Clusters, m.Spec.Type, len(ips) > 0}) //nolint:errchkjson // nothing in it cannot be written
	return sha256.Sum256(text)
}

// meta is that of the objects that a ServiceImport owns.
func (m *Import) meta(name, version, owner, hash string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: m.Namespace, Annotations: map[string]string{writtenAnnotation: hash},
		Labels: map[string]string{managedByLabel: ImportManager, mcsv1beta1.LabelServiceName: m.Name},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: mcsv1beta1.GroupName + "/" + version, Kind: mcsv1beta1.ServiceImportKindName, Name: m.Name, UID: types.UID(owner),
		}},
	}
}

func (m *Import) serviceSpec() corev1.ServiceSpec {
	spec := corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, SessionAffinity: m.Spec.SessionAffinity, SessionAffinityConfig: m.Spec.SessionAffinityConfig,
		InternalTrafficPolicy: m.Spec.InternalTrafficPolicy,
	}
	for _, p := range m.Spec.Ports {
		spec.Ports = append(spec.Ports, corev1.ServicePort{Name: p.Name, Protocol: p.Protocol, AppProtocol: p.AppProtocol, Port: p.Port})
	}
	return spec
}

func (m *Import) serviceHash() string { return hash(m.serviceSpec()) }

// service is the Service whose address stands for the import: kube-proxy serves it.
func (m *Import) service(version, owner string) *corev1.Service {
	return &corev1.Service{ObjectMeta: m.meta(m.derivedName(), version, owner, m.serviceHash()), Spec: m.serviceSpec()}
}

func (m *Import) sliceHash(s *ImportSlice) string { return hash([]any{m.Spec.Type, s}) }

func (m *Import) slice(s *ImportSlice, version, owner string) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta:  m.meta(m.sliceName(s), version, owner, m.sliceHash(s)),
		AddressType: s.AddressType, Ports: s.Ports, Endpoints: s.Endpoints,
	}
	out.Labels[discoveryv1.LabelManagedBy] = ImportManager
	out.Labels[mcsv1beta1.LabelSourceCluster] = s.Cluster
	if m.Spec.Type == mcsv1beta1.ClusterSetIP {
		out.Labels[discoveryv1.LabelServiceName] = m.derivedName()
	}
	return out
}
