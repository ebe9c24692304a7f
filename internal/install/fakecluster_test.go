package install

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	k8sschema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// fakeCluster is an API server and what runs behind it: kinds are established, workloads come up and go, the controller
// writes its caBundle, each some time after the object was applied.
type fakeCluster struct {
	objects map[string]*unstructured.Unstructured // by path
	applied map[string]time.Time
	// slow is how long things take; stuck is a pod that does not start or end.
	slow  time.Duration
	stuck *corev1.Pod
	fail  error
	calls []string // writes: verb and path
}

func newFakeCluster() *fakeCluster {
	return &fakeCluster{objects: map[string]*unstructured.Unstructured{}, applied: map[string]time.Time{}, slow: 2 * time.Second}
}

func (f *fakeCluster) Get(_ context.Context, path string, into any) error {
	if f.fail != nil {
		return f.fail
	}
	path, rawQuery, _ := strings.Cut(path, "?")
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return err
	}
	if path == "/version" {
		return json.Unmarshal([]byte(`{"gitVersion":"v1.34.4"}`), into)
	}
	if strings.HasSuffix(path, "/pods") {
		list := corev1.PodList{}
		if f.stuck != nil && strings.Contains(query.Get("labelSelector"), f.stuck.Labels["app.kubernetes.io/component"]) {
			list.Items = []corev1.Pod{*f.stuck}
		}
		return convert(list, into)
	}
	if rawQuery != "" { // a list by name or label, over all namespaces
		items := []any{}
		for _, p := range slices.Sorted(maps.Keys(f.objects)) {
			o := f.objects[p]
			byName := strings.HasSuffix(path, "/configmaps") && o.GetKind() == "ConfigMap" && query.Get("fieldSelector") == "metadata.name="+o.GetName()
			key, value, _ := strings.Cut(query.Get("labelSelector"), "=")
			byLabel := strings.HasSuffix(path, "/"+kind{name: o.GetKind()}.resource()) && o.GetLabels()[key] == value && key != ""
			if byName || byLabel {
				items = append(items, o.Object)
			}
		}
		return convert(map[string]any{"items": items}, into)
	}
	o := f.objects[path]
	if o == nil {
		return apierrors.NewNotFound(k8sschema.GroupResource{}, path)
	}
	return convert(f.grown(path, o).Object, into)
}

// grown is an object with what its controllers have made of it by now.
func (f *fakeCluster) grown(path string, o *unstructured.Unstructured) *unstructured.Unstructured {
	o = o.DeepCopy()
	if time.Since(f.applied[path]) < f.slow || f.stuck != nil {
		return o
	}
	set := func(value any, at ...string) {
		if err := unstructured.SetNestedField(o.Object, value, at...); err != nil {
			panic(err)
		}
	}
	switch o.GetKind() {
	case "CustomResourceDefinition":
		set([]any{map[string]any{"type": "Established", "status": "True"}}, "status", "conditions")
	case "Deployment":
		n, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
		for _, field := range []string{"replicas", "updatedReplicas", "availableReplicas"} {
			set(n, "status", field)
		}
	case "DaemonSet":
		for _, field := range []string{"desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"} {
			set(int64(3), "status", field)
		}
	case "MutatingWebhookConfiguration":
		hooks, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
		for _, h := range hooks {
			if hook, ok := h.(map[string]any); ok {
				if err := unstructured.SetNestedField(hook, "Y2E=", "clientConfig", "caBundle"); err != nil {
					panic(err)
				}
			}
		}
		set(hooks, "webhooks")
	}
	return o
}

func (f *fakeCluster) Patch(_ context.Context, path string, kind types.PatchType, patch []byte, into any) error {
	if f.fail != nil {
		return f.fail
	}
	path, rawQuery, _ := strings.Cut(path, "?")
	if kind == types.JSONPatchType { // field managers
		f.calls = append(f.calls, "take over "+path)
		return convert(f.objects[path].Object, into)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(patch); err != nil {
		return err
	}
	if ns := o.GetNamespace(); ns != "" && f.objects["/api/v1/namespaces/"+ns] == nil {
		return apierrors.NewNotFound(k8sschema.GroupResource{Resource: "namespaces"}, ns)
	}
	if strings.Contains(rawQuery, "dryRun=All") {
		return convert(o.Object, into)
	}
	f.calls = append(f.calls, "apply "+path)
	f.put(path, o)
	return convert(f.grown(path, o).Object, into)
}

func (f *fakeCluster) put(path string, o *unstructured.Unstructured) {
	f.objects[path] = o
	f.applied[path] = time.Now()
}

func (f *fakeCluster) Delete(_ context.Context, path string) error {
	if f.objects[path] == nil {
		return apierrors.NewNotFound(k8sschema.GroupResource{}, path)
	}
	f.calls = append(f.calls, "delete "+path)
	delete(f.objects, path)
	return nil
}

func convert(from, into any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// add puts an object that somebody else made into the cluster.
func (f *fakeCluster) add(t *testing.T, text string) {
	t.Helper()
	objects, err := parseObject([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	f.put(refOf(objects).path(), objects)
}

func (f *fakeCluster) paths() []string { return slices.Sorted(maps.Keys(f.objects)) }
