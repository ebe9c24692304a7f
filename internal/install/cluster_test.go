package install

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// world is a cluster and an installer for it.
type world struct {
	*fakeCluster
	*Installer
	out bytes.Buffer
}

func newWorld(t *testing.T, mode Mode) *world {
	t.Helper()
	w := &world{fakeCluster: newFakeCluster()}
	in, err := NewInstaller(InstallerOptions{Cluster: w.fakeCluster, Namespace: DefaultNamespace, Mode: mode, Timeout: time.Minute, Progress: &w.out})
	if err != nil {
		t.Fatal(err)
	}
	w.Installer = in
	return w
}

// install renders values and applies them as `fairlead install --apply` does.
func (w *world) install(t *testing.T, version, text string) error {
	t.Helper()
	earlier, err := w.Installed(t.Context())
	if err != nil && !errors.Is(err, ErrNotInstalled) {
		return err
	}
	return w.Apply(t.Context(), rendered(t, Options{Version: version, Values: small(t, text)}), earlier)
}

func TestInstallWaitsUntilEverythingWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Live)
		if err := w.install(t, "1.0.0", "cni: {enabled: true}"); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, o := range rendered(t, Options{Version: "1.0.0", Values: small(t, "cni: {enabled: true}")}).Objects {
			want = append(want, refOf(o).path())
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, w.paths()); diff != "" {
			t.Errorf("objects (-want +got):\n%s", diff)
		}
		for _, line := range []string{
			"namespace/fairlead-system created\n", "waiting for customresourcedefinition.apiextensions.k8s.io/healthcheckpolicies.fairlead.dev: not established\n",
			"fairlead 1.0.0 is ready\n",
		} {
			if !strings.Contains(w.out.String(), line) {
				t.Errorf("progress has no %q:\n%s", line, w.out.String())
			}
		}
		record, err := w.Installed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(merge(append(small(t, "cni: {enabled: true}"), values(t, somewhere))), record.Values.Settings); record.Version != "1.0.0" || diff != "" {
			t.Errorf("record: version %s, values (-want +got):\n%s", record.Version, diff)
		}
	})
}

func TestInstallAgainChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Live)
		w.slow = 0
		for range 2 {
			w.out.Reset()
			if err := w.install(t, "1.0.0", "{}"); err != nil {
				t.Fatal(err)
			}
		}
		// The fake replaces webhooks, and with them their caBundle; all else must be the same.
		for line := range strings.Lines(w.out.String()) {
			if !strings.Contains(line, "unchanged") && !strings.Contains(line, "webhook") && !strings.Contains(line, "ready") {
				t.Errorf("second time: %s", line)
			}
		}
	})
}

func TestUpgradePrunes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Live)
		w.add(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {fairlead.dev/inject: enabled}}}")
		if err := w.install(t, "1.0.0", "{cni: {enabled: true}, crds: {smi: true}}"); err != nil {
			t.Fatal(err)
		}
		w.calls = nil
		w.out.Reset()
		if err := w.install(t, "1.1.0", "{}"); err != nil {
			t.Fatal(err)
		}
		var deleted []string
		for _, c := range w.calls {
			if path, ok := strings.CutPrefix(c, "delete "); ok {
				deleted = append(deleted, path)
			}
		}
		want := []string{
			"/apis/apps/v1/namespaces/fairlead-system/daemonsets/fairlead-cni",
			"/apis/rbac.authorization.k8s.io/v1/namespaces/fairlead-system/rolebindings/fairlead-cni",
			"/apis/rbac.authorization.k8s.io/v1/namespaces/fairlead-system/roles/fairlead-cni",
			"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/fairlead-cni",
			"/apis/rbac.authorization.k8s.io/v1/clusterroles/fairlead-cni",
			"/api/v1/namespaces/fairlead-system/serviceaccounts/fairlead-cni",
		}
		if diff := cmp.Diff(want, deleted); diff != "" {
			t.Errorf("deleted (-want +got):\n%s", diff)
		}
		if !strings.Contains(w.out.String(), "sidecars stay at 1.0.0 until their pods are restarted:\n  kubectl -n shop rollout restart") {
			t.Errorf("no advice to restart:\n%s", w.out.String())
		}
		record, err := w.Installed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range record.objects {
			if ref.name == "fairlead-cni" {
				t.Errorf("the record still has %s", ref)
			}
		}
	})
}

// TestUpgradeThatFailsForgetsNothing: what is to be pruned stays in the record until it is.
func TestUpgradeThatFailsForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Live)
		if err := w.install(t, "1.0.0", "cni: {enabled: true}"); err != nil {
			t.Fatal(err)
		}
		w.stuck = &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "fairlead-controller-x", Namespace: DefaultNamespace, Labels: map[string]string{"app.kubernetes.io/component": "controller"}},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
				Name: "controller", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"}},
			}}},
		}
		for path := range w.objects { // kinds and webhooks are there; only the new controller does not start
			if strings.Contains(path, "customresourcedefinitions") {
				w.objects[path] = established(w.objects[path])
			}
		}
		err := w.Apply(t.Context(), withEstablished(rendered(t, Options{Version: "1.1.0", Values: small(t, "{}")})), mustInstalled(t, w))
		want := "waited 1m0s for deployment.apps/fairlead-controller: 0 of 1 replicas updated, 0 available; pod fairlead-controller-x: ErrImagePull: no such image"
		if err == nil || err.Error() != want {
			t.Fatalf("Apply = %v\nwant %s", err, want)
		}
		record := mustInstalled(t, w)
		if !slices.ContainsFunc(record.objects, func(r objectRef) bool { return r.kind == "DaemonSet" }) {
			t.Error("the record forgot the DaemonSet, which is still there")
		}
		w.stuck = nil
		if err := w.install(t, "1.1.0", "{}"); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(w.paths(), func(p string) bool { return strings.Contains(p, "daemonsets") }) {
			t.Error("the second try left the DaemonSet")
		}
	})
}

func established(o *unstructured.Unstructured) *unstructured.Unstructured {
	o = o.DeepCopy()
	if err := unstructured.SetNestedSlice(o.Object, []any{map[string]any{"type": "Established", "status": "True"}}, "status", "conditions"); err != nil {
		panic(err)
	}
	return o
}

func withEstablished(r *Release) *Release {
	for n, o := range r.Objects {
		if o.GetKind() == "CustomResourceDefinition" {
			r.Objects[n] = established(o)
		}
	}
	return r
}

func mustInstalled(t *testing.T, w *world) *Record {
	t.Helper()
	record, err := w.Installed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func TestInstallLeavesOthersAlone(t *testing.T) {
	const theirs = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: trafficsplits.split.smi-spec.io, labels: {app: osm}}, status: {conditions: [{type: Established, status: 'True'}]}}"
	tests := []struct {
		name, object string
		want         string // in the error; empty for none
		progress     string
	}{
		{
			name: "definitions_of_another_mesh", object: theirs,
			progress: "customresourcedefinition.apiextensions.k8s.io/trafficsplits.split.smi-spec.io left as it is: it is not Fairlead's\n",
		},
		{
			name: "namespace_of_the_user", object: "{apiVersion: v1, kind: Namespace, metadata: {name: fairlead-system}}",
			progress: "namespace/fairlead-system left as it is: it is not Fairlead's\n",
		},
		{
			name: "object_of_the_same_name", object: "{apiVersion: v1, kind: ConfigMap, metadata: {name: fairlead, namespace: fairlead-system}}",
			want: "configmap/fairlead in fairlead-system exists and has no label app.kubernetes.io/part-of=fairlead",
		},
		{
			name:   "release_of_helm",
			object: "{apiVersion: apps/v1, kind: Deployment, metadata: {name: fairlead-controller, namespace: fairlead-system, labels: {app.kubernetes.io/managed-by: Helm, app.kubernetes.io/instance: mine}}}",
			want:   "fairlead in namespace fairlead-system was installed by Helm (release mine)",
		},
		{
			name:   "mesh_in_another_namespace",
			object: "{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: fairlead-sidecar-injector}, webhooks: [{name: a, clientConfig: {service: {name: a, namespace: elsewhere}}}]}",
			want:   "fairlead is installed in namespace elsewhere, not fairlead-system",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Live)
				w.add(t, tt.object)
				before := w.paths()
				err := w.install(t, "1.0.0", "{}")
				if tt.want == "" {
					if err != nil || !strings.Contains(w.out.String(), tt.progress) {
						t.Fatalf("install = %v, progress:\n%s", err, w.out.String())
					}
					return
				}
				if !errors.Is(err, ErrNotOurs) || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("install = %v, want ErrNotOurs with %q", err, tt.want)
				}
				if diff := cmp.Diff(before, w.paths()); diff != "" {
					t.Errorf("changed before it refused:\n%s", diff)
				}
			})
		})
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, DryRun)
		if err := w.install(t, "1.0.0", "{}"); err != nil {
			t.Fatal(err)
		}
		if len(w.calls) > 0 || len(w.objects) > 0 {
			t.Errorf("calls = %v", w.calls)
		}
		if !strings.Contains(w.out.String(), "deployment.apps/fairlead-controller created (dry run)\n") {
			t.Errorf("progress:\n%s", w.out.String())
		}
	})
}

func TestWaitingSurvivesAnAPIServerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Live)
		calls := 0
		err := w.await(t.Context(), "x", time.Minute, func(context.Context) (string, error) {
			calls++
			if calls < 3 {
				return "", errors.New("connection refused")
			}
			return "", nil
		})
		if err != nil || w.out.String() != "waiting for x: connection refused\n" {
			t.Errorf("await = %v, progress %q", err, w.out.String())
		}
	})
}

func TestPodTrouble(t *testing.T) {
	status := func(c corev1.ContainerStatus) corev1.PodStatus {
		c.Name = "c"
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{c}}
	}
	tests := []struct {
		name   string
		status corev1.PodStatus
		want   string
	}{
		{"starting", status(corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}), ""},
		{
			"no_image", status(corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "not found"}}}),
			"ImagePullBackOff: not found",
		},
		{
			"crashing", status(corev1.ContainerStatus{RestartCount: 2, LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2}}}),
			"container c ended with exit code 2, restarted 2 times: see kubectl -n n logs p -p",
		},
		{
			"not_ready", status(corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}),
			"container c runs but is not ready: see kubectl -n n logs p",
		},
		{
			"no_room",
			corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes"}}},
			"not scheduled: 0/1 nodes",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := podTrouble(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n"}, Status: tt.status})
			if got != tt.want {
				t.Errorf("podTrouble = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestTakesOverFromKubectl: what `kubectl apply` wrote must be ours, or later versions could not take it away.
func TestTakesOverFromKubectl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Live)
		r := rendered(t, Options{Values: small(t, "{}")})
		for _, o := range r.Objects {
			o = o.DeepCopy()
			o.SetManagedFields([]metav1.ManagedFieldsEntry{{
				Manager: csaManager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: o.GetAPIVersion(),
				FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`),
			}})
			w.put(refOf(o).path(), o)
		}
		if err := w.install(t, "", "{}"); err != nil {
			t.Fatal(err)
		}
		taken := 0
		for _, c := range w.calls {
			if strings.HasPrefix(c, "take over ") {
				taken++
			}
		}
		if taken != len(r.Objects) {
			t.Errorf("took over %d of %d objects", taken, len(r.Objects))
		}
	})
}

func TestRecordReadsBack(t *testing.T) {
	r := rendered(t, Options{Version: "1.0.0", Values: []Values{values(t, everything), values(t, noForeignKinds)}})
	record, err := parseRecord(find[corev1.ConfigMap](t, r, "ConfigMap", recordName))
	if err != nil {
		t.Fatal(err)
	}
	var want []objectRef
	for _, o := range r.Objects {
		want = append(want, refOf(o))
	}
	if diff := cmp.Diff(want, record.objects, cmp.AllowUnexported(objectRef{})); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	again := rendered(t, Options{Version: "1.0.0", Values: []Values{record.Values}})
	var a, b bytes.Buffer
	if err := errors.Join(r.WriteYAML(&a), again.WriteYAML(&b)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a.String(), b.String()); diff != "" {
		t.Errorf("rendered from the record (-first +second):\n%s", diff)
	}
	if _, err := parseRecord(&corev1.ConfigMap{Data: map[string]string{keyObjects: "what"}}); err == nil {
		t.Error("parseRecord takes a line that names nothing")
	}
}
