package inject_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/inject"
)

// FuzzHandler: whatever is sent, the handler answers, and a patch that it gives applies to what was sent.
func FuzzHandler(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add(review(f, app(nil, map[string]string{"fairlead.dev/drain": "5s"}), nil))
	for _, s := range stories(f) {
		in, _ := s.file("in.yaml")
		s.inject(in, func(before, _ *corev1.Pod, _ inject.Decision) { f.Add(review(f, before, nil)) })
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got []seen
		resp := send(newHandler(nil, &got), body)
		if len(got) != 1 {
			t.Fatalf("observed %v", got)
		}
		if resp.StatusCode != http.StatusOK {
			return
		}
		var in, out admissionv1.AdmissionReview
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(body, &in); err != nil {
			t.Fatalf("answered what is no review: %v", err)
		}
		if out.Response.Patch == nil {
			return
		}
		var pod corev1.Pod
		if err := json.Unmarshal(in.Request.Object.Raw, &pod); err != nil {
			t.Fatal(err)
		}
		// The object of a real request was written by the API server, that is by these types.
		if _, err := applyPatch(tree(t, &pod), out.Response.Patch); err != nil {
			t.Fatalf("%v\n%s", err, out.Response.Patch)
		}
	})
}

// FuzzAnnotations: an annotation is refused, or the pod is injected; then a second time changes nothing, the patch
// leads there, and removing it leads back.
func FuzzAnnotations(f *testing.F) {
	for _, seed := range [][2]string{
		{"fairlead.dev/proxy-cpu", "100m"},
		{"fairlead.dev/proxy-memory", "1e40"},
		{"fairlead.dev/proxy-memory-limit", "-1"},
		{"fairlead.dev/drain", "9223372036s"},
		{"fairlead.dev/exclude-inbound-ports", "80,81-90,, 65535"},
		{"fairlead.dev/include-outbound-cidrs", "10.0.0.0/8,::1,fe80::1%eth0"},
		{"traffic.sidecar.istio.io/excludeInterfaces", "eth1"},
		{"fairlead.dev/rewrite-app-probes", "false"},
		{"fairlead.dev/status", "{}"},
		{"inject.istio.io/templates", "grpc-agent"},
		{"inject.istio.io/templates", "grpc-simple"},
		{"kubectl.kubernetes.io/default-container", "x"},
		{"fairlead.dev/~/~1", ""},
	} {
		f.Add(seed[0], seed[1], true, "/$(POD_NAME)$$")
	}
	f.Fuzz(func(t *testing.T, name, value string, native bool, path string) {
		if raw, err := json.Marshal([]string{name, value, path}); err != nil || bytes.Contains(raw, []byte(`\ufffd`)) {
			return // the API server takes UTF-8 only
		}
		pod := app(nil, map[string]string{name: value})
		pod.Spec.Containers[0].ReadinessProbe = probe(path)
		r := request(inject.EnabledNamespace())
		r.Native = native
		after, d, err := inject.Pod(pod, r)
		if err != nil || !d.Inject() {
			return
		}
		checkDiff(t, pod, after)
		if twice, again, err := inject.Pod(after, r); err != nil || twice != after {
			t.Errorf("a second time: %s, %v", again, err)
		}
		back, _, err := inject.Remove(after)
		if err != nil {
			t.Fatal(err)
		}
		delete(pod.Annotations, "fairlead.dev/status")
		if len(pod.Annotations) == 0 {
			pod.Annotations = nil
		}
		if diff := cmp.Diff(pod, back); diff != "" {
			t.Errorf("removed (-want +got):\n%s", diff)
		}
	})
}

// FuzzEdit: a stream without pods comes out as it went in, and no stream makes Edit panic.
func FuzzEdit(f *testing.F) {
	for _, s := range stories(f) {
		in, _ := s.file("in.yaml")
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		touched := false
		out, err := inject.Edit(text, func(target inject.Target) (*corev1.Pod, error) {
			if target.Pod == nil {
				return nil, nil
			}
			touched = true
			after, _, err := inject.Pod(target.Pod, request(inject.EnabledNamespace()))
			return after, err
		})
		if err == nil && !touched && !bytes.Equal(text, out) {
			t.Errorf("%q became %q", text, out)
		}
	})
}

// FuzzAppMetrics: whatever a pod's annotations say, the sidecar is told a page that it takes, of the pod itself; a sidecar
// that does not start takes the app with it.
func FuzzAppMetrics(f *testing.F) {
	f.Add("true", "9797", "/metrics", "http")
	f.Add("1", "metrics", "//elsewhere:80/%zz?a=b#c", "HTTPS")
	f.Add("true", "", "\n\x00 $(POD_NAME)", "x")
	f.Fuzz(func(t *testing.T, scrape, port, path, scheme string) {
		pod := app(nil, map[string]string{
			"prometheus.io/scrape": scrape, "prometheus.io/port": port, "prometheus.io/path": path, "prometheus.io/scheme": scheme,
		})
		for key, value := range pod.Annotations {
			pod.Annotations[key] = strings.ToValidUTF8(value, "?") // it comes as JSON
		}
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "metrics", ContainerPort: 8080}}
		after, _, err := inject.Pod(pod, request(inject.EnabledNamespace()))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range after.Spec.InitContainers {
			for _, arg := range c.Args {
				page, ok := strings.CutPrefix(arg, "--app-metrics=")
				if !ok {
					continue
				}
				u, err := url.Parse(page)
				if err != nil || u.Hostname() != "" || u.Port() == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
					t.Errorf("annotations %q: %q, %v", pod.Annotations, page, err)
				}
			}
		}
		back, _, err := inject.Remove(after)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(pod.Annotations, back.Annotations); diff != "" {
			t.Errorf("taken out again (-want +got):\n%s", diff)
		}
	})
}
