package inject_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.dev/fairlead/internal/inject"
)

const key = "fairlead.dev/inject"

func app(labels, annotations map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "orders", Labels: labels, Annotations: annotations},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "shop/orders:1"}}},
	}
}

// defaultConfig is the configuration of an operator who says no more than where the image is.
func defaultConfig() inject.Config {
	c := inject.DefaultConfig()
	c.Image = "fairlead/proxy:v0"
	return c
}

func request(namespaceLabels map[string]string) inject.Request {
	return inject.Request{Namespace: "myapp", NamespaceLabels: namespaceLabels, Config: defaultConfig(), Native: true}
}

func TestPodDecides(t *testing.T) {
	type m = map[string]string
	enabled, istio := m{key: "enabled"}, "sidecar.istio.io/inject"
	tests := []struct {
		name        string
		namespace   m
		labels      m
		annotations m
		want        inject.Reason
	}{
		{"nobody_says_anything", nil, nil, nil, inject.NotOptedIn},
		{"the_namespace_opts_in", enabled, nil, nil, inject.Injected},
		{"or_spells_it_true", m{key: "true"}, nil, nil, inject.Injected},
		{"the_pod_opts_in_by_label", nil, enabled, nil, inject.Injected},
		{"an_annotation_alone_is_seen_by_no_selector", nil, nil, enabled, inject.NotOptedIn},
		{"the_pod_opts_out_by_label", enabled, m{key: "disabled"}, nil, inject.Disabled},
		{"or_by_annotation", enabled, nil, m{key: "false"}, inject.Disabled},
		{"no_counts_before_yes", enabled, m{key: "enabled"}, m{key: "false"}, inject.Disabled},
		{"a_namespace_that_says_no_is_not_argued_with", m{key: "disabled"}, enabled, enabled, inject.Disabled},
		{"istio's_no_counts", enabled, nil, m{istio: "false"}, inject.Disabled},
		{"as_a_label_and_in_its_spellings_too", enabled, m{istio: "Off"}, nil, inject.Disabled},
		{"but_not_against_ours", enabled, nil, m{istio: "false", key: "true"}, inject.Injected},
		{"istio's_yes_is_for_istio", nil, m{istio: "true"}, nil, inject.NotOptedIn},
		{"both_labels", nil, m{key: "enabled", istio: "false"}, nil, inject.Injected},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := app(tt.labels, tt.annotations)
			after, d, err := inject.Pod(pod, request(tt.namespace))
			if err != nil || d.Reason != tt.want {
				t.Fatalf("Pod = %s, %v, want %s", d, err, tt.want)
			}
			if d.Inject() == (after == pod) {
				t.Errorf("%s, but the pod is the same: %t", d, after == pod)
			}
		})
	}
}

// TestPodAgreesWithTheSelectors tries all combinations of what a namespace and a pod can say. A pod that no selector of
// the MutatingWebhookConfiguration finds must not be injected offline either, and the handler, which takes being asked
// for a yes of the namespace, must come to the same as who knows the labels.
func TestPodAgreesWithTheSelectors(t *testing.T) {
	words := []string{"", "enabled", "disabled", "true", "false"}
	for _, namespace := range words {
		if namespace == "true" || namespace == "false" { // no word for a namespace: no selector knows it
			continue
		}
		for _, label := range words {
			for _, annotation := range words {
				pod := app(said(label), said(annotation))
				_, d, err := inject.Pod(pod, request(said(namespace)))
				if err != nil {
					t.Fatal(err)
				}
				if !selected(t, said(namespace), said(label)) {
					if d.Inject() {
						t.Errorf("namespace %q, label %q, annotation %q: %s, but the webhook is not asked", namespace, label, annotation, d)
					}
					continue
				}
				if _, asked, _ := inject.Pod(pod, request(inject.EnabledNamespace())); asked.Inject() != d.Inject() {
					t.Errorf("namespace %q, label %q, annotation %q: %s, but the webhook says %s", namespace, label, annotation, d, asked)
				}
				if no := annotation == "disabled" || annotation == "false"; d.Inject() == no {
					t.Errorf("namespace %q, label %q, annotation %q: %s", namespace, label, annotation, d)
				}
			}
		}
	}
}

func said(word string) map[string]string {
	if word == "" {
		return nil
	}
	return map[string]string{key: word}
}

// selected evaluates the selectors of the chart (deploy/chart/templates/webhooks.yaml).
func selected(tb testing.TB, namespace, pod map[string]string) bool {
	tb.Helper()
	matches := func(selector string, set map[string]string) bool {
		s, err := labels.Parse(selector)
		if err != nil {
			tb.Fatal(err)
		}
		return s.Matches(labels.Set(set))
	}
	return matches(key+" in (enabled)", namespace) && matches(key+" notin (disabled,false)", pod) ||
		matches("!"+key, namespace) && matches(key+" in (enabled,true)", pod)
}

func TestPodLeavesNamespacesOfTheSystemAlone(t *testing.T) {
	for _, namespace := range inject.ExcludedNamespaces() {
		r := request(inject.EnabledNamespace())
		r.Namespace = namespace
		if _, d, err := inject.Pod(app(said("enabled"), nil), r); err != nil || d.Reason != inject.NamespaceExcluded {
			t.Errorf("%s: %s, %v", namespace, d, err)
		}
	}
}

// TestPodChangesNothingOfItsArgument matters to callers that hand out objects of an informer.
func TestPodChangesNothingOfItsArgument(t *testing.T) {
	for _, s := range stories(t) {
		in, _ := s.file("in.yaml")
		_, err := inject.Edit([]byte(in), func(target inject.Target) (*corev1.Pod, error) {
			if target.Pod == nil {
				return nil, nil
			}
			before := target.Pod.DeepCopy()
			after, _, err := inject.Pod(target.Pod, s.request)
			if diff := cmp.Diff(before, target.Pod); diff != "" {
				t.Errorf("%s: Pod changes what it is given:\n%s", s.name, diff)
			}
			injected := after.DeepCopy()
			if _, _, err := inject.Remove(after); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(injected, after); diff != "" {
				t.Errorf("%s: Remove changes what it is given:\n%s", s.name, diff)
			}
			return nil, err
		})
		if err != nil && s.name != "refused" {
			t.Error(err)
		}
	}
}

// TestPodAgain: the API server asks again after another webhook added a container; its probe is rewritten as well, and
// what was there stays.
func TestPodAgain(t *testing.T) {
	pod := app(nil, nil)
	pod.Spec.Containers[0].LivenessProbe = probe("/first")
	once, _, err := inject.Pod(pod, request(inject.EnabledNamespace()))
	if err != nil {
		t.Fatal(err)
	}
	added := once.DeepCopy()
	added.Spec.Containers = append(added.Spec.Containers, corev1.Container{Name: "vault", LivenessProbe: probe("/second")})
	twice, d, err := inject.Pod(added, request(inject.EnabledNamespace()))
	if err != nil || d.Reason != inject.AlreadyInjected {
		t.Fatalf("Pod = %s, %v", d, err)
	}
	if got := twice.Spec.Containers[1].LivenessProbe.HTTPGet.Path; got != "/app-health/vault/livez" {
		t.Errorf("the probe of the added container asks for %s", got)
	}
	sidecar := twice.Spec.InitContainers[1]
	last := sidecar.Env[len(sidecar.Env)-1].Value
	want := `{"/app-health/app/livez":{"httpGet":{"path":"/first","port":8080}},"/app-health/vault/livez":{"httpGet":{"path":"/second","port":8080}}}`
	if last != want {
		t.Errorf("the sidecar is told\n%s, want\n%s", last, want)
	}
	checkDiff(t, added, twice)
	if again, _, _ := inject.Pod(twice, request(inject.EnabledNamespace())); again != twice {
		t.Error("a third time changes something")
	}
	back, _, err := inject.Remove(twice)
	if err != nil || back.Spec.Containers[1].LivenessProbe.HTTPGet.Path != "/second" {
		t.Errorf("Remove = %v, %v", back.Spec.Containers[1].LivenessProbe, err)
	}
}

func probe(path string) *corev1.Probe {
	p := &corev1.Probe{}
	p.HTTPGet = &corev1.HTTPGetAction{Path: path}
	p.HTTPGet.Port.IntVal = 8080
	return p
}

// TestPodReplacesAStatusWithoutSidecar: such a status came along when somebody copied the annotations of a live pod.
func TestPodReplacesAStatusWithoutSidecar(t *testing.T) {
	after, d, err := inject.Pod(app(nil, map[string]string{"fairlead.dev/status": "{}"}), request(inject.EnabledNamespace()))
	if err != nil || !d.Inject() || len(after.Spec.InitContainers) != 2 {
		t.Errorf("Pod = %s, %v, want a sidecar", d, err)
	}
}

func TestParseStatusRefusesWhatIsNotOurs(t *testing.T) {
	_, ok, err := inject.ParseStatus(map[string]string{"fairlead.dev/status": "injected"})
	if ok || err == nil || !strings.Contains(err.Error(), "fairlead.dev/status") {
		t.Errorf("ParseStatus = %t, %v", ok, err)
	}
}

// TestPodNative: which of annotation, configuration and cluster decides on the kind of sidecar.
func TestPodNative(t *testing.T) {
	tests := []struct {
		name       string
		annotation string
		config     inject.Choice
		cluster    bool
		native     bool
	}{
		{"the_cluster_can", "", inject.Auto, true, true},
		{"the_cluster_cannot", "", inject.Auto, false, false},
		{"the_configuration_says_no", "", inject.No, true, false},
		{"the_configuration_says_yes", "", inject.Yes, false, true},
		{"the_annotation_over_both", "true", inject.No, false, true},
		{"and_the_other_way", "false", inject.Yes, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request(inject.EnabledNamespace())
			r.Config.NativeSidecar, r.Native = tt.config, tt.cluster
			annotations := map[string]string{}
			if tt.annotation != "" {
				annotations["fairlead.dev/native-sidecar"] = tt.annotation
			}
			after, d, err := inject.Pod(app(nil, annotations), r)
			if err != nil {
				t.Fatal(err)
			}
			if native := len(after.Spec.InitContainers) == 2; native != tt.native {
				t.Errorf("%s, want native: %t", d, tt.native)
			}
			if warned := strings.Contains(fmt.Sprint(d.Warnings), "may not know"); warned != (tt.native && !tt.cluster) {
				t.Errorf("warnings: %q", d.Warnings)
			}
		})
	}
}

// TestSidecarHasNoTokenForTheAPI: after webhooks the API server mounts the pod's token into every container that mounts
// nothing at its place (admission plugin ServiceAccount).
func TestSidecarHasNoTokenForTheAPI(t *testing.T) {
	const place = "/var/run/secrets/kubernetes.io/serviceaccount"
	for _, tt := range []struct {
		name   string
		change func(*inject.Request)
		added  []string
	}{
		{"native", func(*inject.Request) {}, []string{"fairlead-init", "fairlead-proxy"}},
		{"classic", func(r *inject.Request) { r.Native = false }, []string{"fairlead-init", "fairlead-proxy"}},
		{"cni", func(r *inject.Request) { r.Config.CNI = true }, []string{"fairlead-validation", "fairlead-proxy"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request(inject.EnabledNamespace())
			tt.change(&r)
			pod, _, err := inject.Pod(app(nil, nil), r)
			if err != nil {
				t.Fatal(err)
			}
			volumes := map[string]corev1.VolumeSource{}
			for _, v := range pod.Spec.Volumes {
				volumes[v.Name] = v.VolumeSource
			}
			var kept []string
			for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
				for _, m := range c.VolumeMounts {
					if v := volumes[m.Name]; m.MountPath == place && v.Projected != nil && len(v.Projected.Sources) == 0 {
						kept = append(kept, c.Name)
					}
				}
			}
			if diff := cmp.Diff(tt.added, kept); diff != "" {
				t.Errorf("containers with nothing at the token's place (-want +got):\n%s", diff)
			}
		})
	}
}
