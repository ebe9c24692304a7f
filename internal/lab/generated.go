package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
)

// generated keeps the directory of objects that a cluster would have made: one file per object, replaced atomically.
// It belongs to the cluster's goroutine.
type generated struct {
	dir     string
	written map[string][]byte // by file name
}

func newGenerated(dir string) *generated {
	return &generated{dir: dir, written: map[string][]byte{}}
}

// object is one object to write.
type object struct {
	ref   model.Ref
	value any
}

func (o object) file() string {
	return fmt.Sprintf("%s_%s_%s.json", o.ref.Kind, o.ref.Namespace, o.ref.Name)
}

// put writes those of the objects that differ from what is there.
func (g *generated) put(objects []object) error {
	var errs []error
	for _, o := range objects {
		raw, err := json.Marshal(o.value)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", o.ref, err))
			continue
		}
		name := o.file()
		if bytes.Equal(g.written[name], raw) {
			continue
		}
		if err := writeAtomic(filepath.Join(g.dir, name), raw); err != nil {
			errs = append(errs, fmt.Errorf("generated object: %w", err))
			continue
		}
		g.written[name] = raw
	}
	return errors.Join(errs...)
}

// keepOnly removes every file that is not among objects.
func (g *generated) keepOnly(objects []object) error {
	keep := make(map[string]bool, len(objects))
	for _, o := range objects {
		keep[o.file()] = true
	}
	var errs []error
	for name := range g.written {
		if keep[name] {
			continue
		}
		if err := os.Remove(filepath.Join(g.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("generated object: %w", err))
			continue
		}
		delete(g.written, name)
	}
	return errors.Join(errs...)
}

// podObject gives the Pod as an API server would show it to the control plane. It says nothing of readiness: that
// is in the endpoint slices, and a file less is written on the way to the proxies.
func podObject(spec *podSpec, created time.Time) *corev1.Pod {
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: spec.key.Namespace, Name: spec.key.Name, Labels: spec.labels, Annotations: map[string]string{},
			CreationTimestamp: metav1.NewTime(created.Truncate(time.Second)),
		},
		Spec: *spec.template.Spec.DeepCopy(),
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: spec.addrs.first().String(), HostIP: nodeAddr(spec.addrs.first()).String(),
		},
	}
	maps.Copy(p.Annotations, spec.annotations)
	if spec.ownerKind != "Pod" {
		yes := true
		kind, name := spec.ownerKind, spec.owner
		if kind == "Deployment" { // a cluster puts a ReplicaSet in between
			kind, name = "ReplicaSet", spec.owner+"-"+spec.hash
		}
		group := "apps/v1"
		if kind == "Job" {
			group = "batch/v1"
		}
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: group, Kind: kind, Name: name, Controller: &yes}}
	}
	for _, a := range spec.addrs.list() {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a.String()})
	}
	p.Spec.HostNetwork = false // it has a network of its own here, see ignoredFields
	p.Spec.NodeName, p.Spec.ServiceAccountName = spec.node, spec.serviceAccount
	p.Spec.Hostname, p.Spec.Subdomain = spec.hostname, spec.subdomain
	if spec.proxyless != "" {
		p.Annotations["fairlead.dev/status"] = `{"template":"` + spec.proxyless + `"}`
	}
	if spec.injected {
		always := corev1.ContainerRestartPolicyAlways
		p.Annotations["fairlead.dev/status"] = "injected"
		p.Spec.InitContainers = append([]corev1.Container{{
			Name: proxyBinary, Image: "fairlead.dev/proxy", RestartPolicy: &always,
		}}, p.Spec.InitContainers...)
	}
	return p
}

// object gives the Pod as it is now.
func (p *pod) object() *corev1.Pod {
	o := podObject(&p.spec, p.created)
	if p.terminating {
		o.DeletionTimestamp = &o.CreationTimestamp
		grace := int64(p.spec.grace / time.Second)
		o.DeletionGracePeriodSeconds = &grace
	}
	return o
}

// nodeObject gives the node that pods run on where the user wrote none.
func nodeObject() object {
	return object{
		ref: model.Ref{Kind: "Node", Key: model.Key{Name: nodeName}},
		value: &corev1.Node{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
			ObjectMeta: metav1.ObjectMeta{Name: nodeName, Labels: map[string]string{corev1.LabelHostname: nodeName}},
		},
	}
}

// namespaceObject gives a namespace that is used without having been written.
func namespaceObject(name string) object {
	return object{
		ref: model.Ref{Kind: "Namespace", Key: model.Key{Name: name}},
		value: &corev1.Namespace{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}},
		},
	}
}
