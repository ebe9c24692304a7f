package install

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Keep says what outlives the mesh. The zero value keeps nothing.
type Keep struct {
	// CRDs keeps the definitions of kinds, and so the users' objects: deleting a definition deletes its objects.
	CRDs bool
	// CA keeps the certificate authority, and the namespace that it is in. With it, sidecars that still run trust a mesh
	// that is installed again.
	CA bool
}

// keeps reports whether an object of a release stays.
func (k Keep) keeps(ref objectRef) bool {
	return k.CRDs && ref.kind == "CustomResourceDefinition" || k.CA && ref.kind == "Namespace"
}

// What controllers make for themselves.
const (
	caSecret  = "fairlead-ca"
	rootCert  = "fairlead-ca-root-cert"
	leaseName = "fairlead-leader"
)

// podsLeave bounds the waiting for our pods to end: twice their grace period.
const podsLeave = time.Minute

// Remove takes an installation out of the cluster: the webhooks first, so that pods can be made; then the control plane,
// and when its pods are gone the rest. The record goes last, so that what was broken off can be repeated.
func (i *Installer) Remove(ctx context.Context, installed *Record, keep Keep) error {
	record := objectRef{"v1", "ConfigMap", i.o.Namespace, recordName}
	refs := slices.DeleteFunc(slices.Clone(installed.objects), func(r objectRef) bool {
		return r == record || r.kind == "CustomResourceDefinition" || r.kind == "Namespace"
	})
	if !keep.CRDs {
		crds, err := i.definitions(ctx)
		if err != nil {
			return err
		}
		refs = append(refs, crds...)
	}
	if err := i.takeDown(ctx, refs); err != nil {
		return err
	}
	if err := i.deleteOwn(ctx, keep); err != nil {
		return err
	}
	last := []objectRef{record}
	if !keep.CA && slices.Contains(installed.objects, namespaceRef(i.o.Namespace)) {
		last = append(last, namespaceRef(i.o.Namespace))
	}
	if _, err := i.deleteAll(ctx, last); err != nil {
		return err
	}
	return i.adviseRestart(ctx, "pods that run with a sidecar keep it until they are restarted")
}

func namespaceRef(name string) objectRef { return objectRef{"v1", "Namespace", "", name} }

// takeDown deletes objects, in the reverse of the order in which they were applied. Between the workloads and what they
// need, it waits for their pods to end: a controller would make anew what is deleted under it, and the CNI plugin takes
// itself off the nodes with the rights that are deleted next.
func (i *Installer) takeDown(ctx context.Context, refs []objectRef) error {
	refs = slices.SortedFunc(slices.Values(refs), func(a, b objectRef) int { return b.compare(a) })
	needed := slices.IndexFunc(refs, func(r objectRef) bool { return r.rank() < firstWorkload().rank() })
	if needed < 0 {
		needed = len(refs)
	}
	gone, err := i.deleteAll(ctx, refs[:needed])
	if err != nil {
		return err
	}
	for _, ref := range gone {
		if component, ok := strings.CutPrefix(ref.name, "fairlead-"); ok && ref.apiVersion == firstWorkload().apiVersion {
			if err := i.awaitNoPods(ctx, component); err != nil {
				return err
			}
		}
	}
	_, err = i.deleteAll(ctx, refs[needed:])
	return err
}

// firstWorkload is of the first kind that runs pods; the kinds after it are webhooks, which need them.
func firstWorkload() objectRef { return objectRef{apiVersion: "apps/v1", kind: "DaemonSet"} }

// deleteAll deletes those of the objects that are there and say that they are part of Fairlead, and gives them back.
func (i *Installer) deleteAll(ctx context.Context, refs []objectRef) (gone []objectRef, err error) {
	for _, ref := range refs {
		live := &unstructured.Unstructured{}
		err := i.o.Cluster.Get(ctx, ref.path(), live)
		switch {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return gone, err
		case !ours(live):
			i.say("%s left as it is: it is not Fairlead's", ref)
			continue
		}
		if err := i.delete(ctx, ref); err != nil {
			return gone, err
		}
		gone = append(gone, ref)
	}
	return gone, nil
}

// delete deletes one object, also one of another owner.
func (i *Installer) delete(ctx context.Context, ref objectRef) error {
	if i.o.Mode == Live {
		err := i.o.Cluster.Delete(ctx, ref.path())
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
	}
	if ref.namespace != "" && ref.namespace != i.o.Namespace {
		i.say("%s in %s deleted", ref, ref.namespace)
	} else {
		i.say("%s deleted", ref)
	}
	return nil
}

// awaitNoPods waits until the pods of a component have ended. A node that is away does not hold up the removal for ever.
func (i *Installer) awaitNoPods(ctx context.Context, component string) error {
	if i.o.Mode == DryRun {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, podsLeave)
	defer cancel()
	err := i.await(ctx, "the end of the pods of fairlead-"+component, podsLeave, func(ctx context.Context) (string, error) {
		pods, err := observed{i.o}.pods(ctx, component)
		if err != nil || len(pods) == 0 {
			return "", err
		}
		return pods[0].Name + " on " + orDefault(pods[0].Spec.NodeName, "no node"), nil
	})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		i.say("going on without them")
		return nil
	}
	return err
}

// deleteOwn deletes what controllers made for themselves.
func (i *Installer) deleteOwn(ctx context.Context, keep Keep) error {
	own := []objectRef{{"coordination.k8s.io/v1", "Lease", i.o.Namespace, leaseName}}
	if !keep.CA {
		own = append(own, objectRef{"v1", "Secret", i.o.Namespace, caSecret})
		roots, err := i.rootCerts(ctx)
		if err != nil {
			return err
		}
		own = append(own, roots...)
	}
	for _, ref := range own {
		// Only the name is of interest; a Secret's content is none of ours.
		err := i.o.Cluster.Get(ctx, ref.path(), &metav1.PartialObjectMetadata{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := i.delete(ctx, ref); err != nil {
			return err
		}
	}
	return nil
}

// definitions are all that say that they are part of Fairlead: those of earlier installations are in no record any more.
func (i *Installer) definitions(ctx context.Context) ([]objectRef, error) {
	var list metav1.PartialObjectMetadataList
	all := objectRef{"apiextensions.k8s.io/v1", "CustomResourceDefinition", "", ""}
	if err := i.o.Cluster.Get(ctx, all.path()+"?"+url.Values{"labelSelector": {labelPartOf + "=" + partOf}}.Encode(), &list); err != nil {
		return nil, err
	}
	var refs []objectRef
	for n := range list.Items {
		refs = append(refs, objectRef{all.apiVersion, all.kind, "", list.Items[n].Name})
	}
	return refs, nil
}

// rootCerts are the copies of the root certificate in all namespaces.
func (i *Installer) rootCerts(ctx context.Context) ([]objectRef, error) {
	var list corev1.ConfigMapList
	path := objectRef{"v1", "ConfigMap", "", ""}.path() + "?" + url.Values{"fieldSelector": {"metadata.name=" + rootCert}}.Encode()
	if err := i.o.Cluster.Get(ctx, path, &list); err != nil {
		return nil, err
	}
	var refs []objectRef
	for n := range list.Items {
		refs = append(refs, objectRef{"v1", "ConfigMap", list.Items[n].Namespace, rootCert})
	}
	return refs, nil
}
