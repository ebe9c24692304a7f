package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
)

// Cluster is the API server. *cluster.Client is one. Errors are those of k8s.io/apimachinery/pkg/api/errors.
type Cluster interface {
	// Get decodes what a GET of path, which may carry a query, gives.
	Get(ctx context.Context, path string, into any) error
	// Patch sends a patch and decodes the object that came of it.
	Patch(ctx context.Context, path string, kind types.PatchType, patch []byte, into any) error
	// Delete deletes the object at path, and what it owns in the background.
	Delete(ctx context.Context, path string) error
}

var (
	// ErrNotInstalled says that there is no installation in the namespace.
	ErrNotInstalled = errors.New("not installed")
	// ErrNotOurs says that something in the cluster belongs to another owner.
	ErrNotOurs = errors.New("not part of this installation")
)

// Mode says whether changes are made.
type Mode int

// Modes.
const (
	// Live makes the changes.
	Live Mode = iota + 1
	// DryRun has the API server check the changes, and makes none.
	DryRun
)

// InstallerOptions say how to install.
type InstallerOptions struct {
	Cluster Cluster
	// Namespace of the control plane.
	Namespace string
	Mode      Mode
	// Timeout bounds the waiting until the control plane works; 0 does not wait.
	Timeout time.Duration
	// Progress gets one line for each object and for each thing that is waited for.
	Progress io.Writer
}

// Installer changes what is installed in one cluster.
type Installer struct{ o InstallerOptions }

// NewInstaller makes an installer. It asks nothing of the cluster.
func NewInstaller(o InstallerOptions) (*Installer, error) {
	if o.Cluster == nil || o.Namespace == "" || o.Progress == nil || o.Mode == 0 {
		return nil, errors.New("an installer needs a cluster, a namespace, a mode and a place for its progress")
	}
	return &Installer{o}, nil
}

// KubeVersion is the version of the API server.
func (i *Installer) KubeVersion(ctx context.Context) (string, error) {
	var v struct{ GitVersion string }
	err := i.o.Cluster.Get(ctx, "/version", &v)
	return v.GitVersion, err
}

// Installed reads the record of the installation. The error is ErrNotInstalled where there is none, and ErrNotOurs where
// the cluster has a Fairlead that this installer must leave alone: one of Helm's, or one in another namespace.
func (i *Installer) Installed(ctx context.Context) (*Record, error) {
	var hook admissionv1.MutatingWebhookConfiguration
	err := i.o.Cluster.Get(ctx, objectRef{"admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "", "fairlead-sidecar-injector"}.path(), &hook)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	if len(hook.Webhooks) > 0 && hook.Webhooks[0].ClientConfig.Service != nil {
		if at := hook.Webhooks[0].ClientConfig.Service.Namespace; at != i.o.Namespace {
			return nil, fmt.Errorf("fairlead is installed in namespace %s, not %s; a cluster has room for one, give -n %s: %w", at, i.o.Namespace, at, ErrNotOurs)
		}
	}
	var deployment appsv1.Deployment
	err = i.o.Cluster.Get(ctx, controllerRef(i.o.Namespace).path(), &deployment)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	if by := deployment.Labels[labelManagedBy]; err == nil && by != managedBy {
		return nil, fmt.Errorf("fairlead in namespace %s was installed by %s (release %s), which must change it: %w",
			i.o.Namespace, by, deployment.Labels["app.kubernetes.io/instance"], ErrNotOurs)
	}
	var cm corev1.ConfigMap
	err = i.o.Cluster.Get(ctx, objectRef{"v1", "ConfigMap", i.o.Namespace, recordName}.path(), &cm)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("namespace %s has no ConfigMap %s: %w", i.o.Namespace, recordName, ErrNotInstalled)
	}
	if err != nil {
		return nil, err
	}
	return parseRecord(&cm)
}

func controllerRef(namespace string) objectRef {
	return objectRef{"apps/v1", "Deployment", namespace, "fairlead-controller"}
}

// Apply puts a release into the cluster, deletes what an earlier one had made and this one has not, and waits until the
// control plane works. earlier is nil for a first installation. Applying the same release again changes nothing, so what
// was broken off can be repeated.
func (i *Installer) Apply(ctx context.Context, r *Release, earlier *Record) error {
	live, err := i.survey(ctx, r.Objects)
	if err != nil {
		return err
	}
	if earlier == nil {
		earlier = &Record{}
	}
	if err := i.applyAll(ctx, r, live, earlier); err != nil {
		return err
	}
	if i.o.Mode == DryRun {
		return i.prune(ctx, r, earlier)
	}
	if i.o.Timeout > 0 {
		if err := i.awaitRelease(ctx, r); err != nil {
			return err
		}
	}
	if err := i.prune(ctx, r, earlier); err != nil {
		return err
	}
	for _, o := range r.Objects {
		if !isRecord(o) {
			continue
		}
		if _, err := i.apply(ctx, o); err != nil { // now without what was pruned
			return err
		}
	}
	if earlier.Version == "" || earlier.Version == r.Version {
		return nil
	}
	return i.adviseRestart(ctx, "sidecars stay at "+earlier.Version+" until their pods are restarted")
}

// adviseRestart says how to restart what has sidecars, and why.
func (i *Installer) adviseRestart(ctx context.Context, why string) error {
	if i.o.Mode == DryRun {
		return nil
	}
	var list corev1.NamespaceList
	path := objectRef{"v1", "Namespace", "", ""}.path() + "?" + url.Values{"labelSelector": {"fairlead.dev/inject=enabled"}}.Encode()
	if err := i.o.Cluster.Get(ctx, path, &list); err != nil || len(list.Items) == 0 {
		return err
	}
	i.say("%s:", why)
	for n := range list.Items {
		i.say("  kubectl -n %s rollout restart deployment,statefulset,daemonset", list.Items[n].Name)
	}
	return nil
}

// survey reads the objects as they are in the cluster, by reference, and refuses where one of them is another owner's.
// It changes nothing.
func (i *Installer) survey(ctx context.Context, objects []*unstructured.Unstructured) (map[objectRef]*unstructured.Unstructured, error) {
	live := map[objectRef]*unstructured.Unstructured{}
	for _, o := range objects {
		ref := refOf(o)
		found := &unstructured.Unstructured{}
		err := i.o.Cluster.Get(ctx, ref.path(), found)
		switch {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return nil, err
		case !ours(found) && !shared(ref):
			return nil, fmt.Errorf("%s in %s exists and has no label %s=%s: rename or delete it first: %w", ref, orDefault(ref.namespace, "the cluster"), labelPartOf, partOf, ErrNotOurs)
		}
		live[ref] = found
	}
	return live, nil
}

// ours reports whether an object says that it is part of Fairlead.
func ours(o *unstructured.Unstructured) bool { return o.GetLabels()[labelPartOf] == partOf }

// shared reports whether an object may be another owner's and do for us as well. It is left as it is then.
func shared(ref objectRef) bool {
	return ref.kind == "CustomResourceDefinition" || ref.kind == "Namespace"
}

func isRecord(o *unstructured.Unstructured) bool {
	return o.GetKind() == "ConfigMap" && o.GetName() == recordName
}

// applyAll applies the objects in their order.
func (i *Installer) applyAll(ctx context.Context, r *Release, live map[objectRef]*unstructured.Unstructured, earlier *Record) error {
	for _, o := range r.Objects {
		ref := refOf(o)
		before := live[ref]
		if before != nil && shared(ref) && !ours(before) {
			i.say("%s left as it is: it is not Fairlead's", ref)
			continue
		}
		if isRecord(o) {
			var err error
			if o, err = withObjects(o, earlier.objects); err != nil {
				return err
			}
		}
		if err := i.applyOne(ctx, o, before); err != nil {
			return err
		}
	}
	return nil
}

// applyOne applies an object and says what came of it.
func (i *Installer) applyOne(ctx context.Context, o, before *unstructured.Unstructured) error {
	ref := refOf(o)
	if before != nil {
		taken, err := i.takeOver(ctx, before)
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
		before = taken
	}
	after, err := i.apply(ctx, o)
	if i.o.Mode == DryRun && before == nil && apierrors.IsNotFound(err) {
		err = nil // its namespace would be there by now
	}
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: the cluster knows no %s: install the definition of that kind first, or leave it out (%w)", ref, ref.kind, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	switch {
	case before == nil:
		i.say("%s created", ref)
	case changed(before, after):
		i.say("%s configured", ref)
	default:
		i.say("%s unchanged", ref)
	}
	return nil
}

// changed compares the configuration of an object before and after, not what the API server notes about it. A dry run
// gives no new resource version to go by.
func changed(before, after *unstructured.Unstructured) bool {
	if before.GetGeneration() != after.GetGeneration() {
		return true
	}
	strip := func(o *unstructured.Unstructured) map[string]any {
		o = o.DeepCopy()
		o.SetManagedFields(nil)
		o.SetResourceVersion("")
		delete(o.Object, "status")
		return o.Object
	}
	return !equalJSON(strip(before), strip(after))
}

// takeOver makes us the manager of the fields that `kubectl apply` had written, or fields that a later version does
// without would stay for ever. It gives the object as it is then.
func (i *Installer) takeOver(ctx context.Context, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if i.o.Mode == DryRun {
		return live, nil
	}
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New(csaManager), managedBy)
	if err != nil || patch == nil {
		return live, err
	}
	after := &unstructured.Unstructured{}
	return after, i.o.Cluster.Patch(ctx, refOf(live).path(), types.JSONPatchType, patch, after)
}

// csaManager is the field manager of `kubectl apply` without --server-side.
const csaManager = "kubectl-client-side-apply"

// apply is one server-side apply. Conflicts are ours to win: the objects are ours, and what others are meant to write
// (a webhook's caBundle) is not in them.
func (i *Installer) apply(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	text, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	query := url.Values{"fieldManager": {managedBy}, "force": {"true"}}
	if i.o.Mode == DryRun {
		query.Set("dryRun", "All")
	}
	after := &unstructured.Unstructured{}
	return after, i.o.Cluster.Patch(ctx, refOf(o).path()+"?"+query.Encode(), types.ApplyPatchType, text, after)
}

// prune deletes what earlier releases had made and this one has not. Definitions of kinds are kept: their objects are
// the users'.
func (i *Installer) prune(ctx context.Context, r *Release, earlier *Record) error {
	wanted := map[objectRef]bool{}
	for _, o := range r.Objects {
		wanted[refOf(o)] = true
	}
	var gone []objectRef
	for _, ref := range earlier.objects {
		if !wanted[ref] && !shared(ref) {
			gone = append(gone, ref)
		}
	}
	return i.takeDown(ctx, gone)
}

// say writes one line of progress.
func (i *Installer) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if i.o.Mode == DryRun {
		line += " (dry run)"
	}
	fmt.Fprintln(i.o.Progress, line)
}
