package inject_test

import (
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"

	"fairlead.dev/fairlead/internal/inject"
)

// What a pod would be warned of, or refused for, is said where its owner sees it.
func TestWorkloadHandlerWarns(t *testing.T) {
	h := inject.NewWorkloadHandler(inject.HandlerOptions{
		Config: defaultConfig, Native: func() bool { return true },
		Namespaces: func(string) (map[string]string, bool) { return inject.EnabledNamespace(), true },
		Logger:     slog.New(slog.DiscardHandler),
	})
	deployment := func(own, ofPods string) string {
		return `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","annotations":{` + own + `}},
			"spec":{"template":{"metadata":{"annotations":{` + ofPods + `}},"spec":{"containers":[{"name":"app"}]}}}}`
	}
	for _, tt := range []struct {
		name, object string
		operation    admissionv1.Operation
		want         []string
	}{
		{"nothing to say", deployment("", `"fairlead.dev/drain":"5s"`), admissionv1.Create, nil},
		{"a slip", deployment("", `"fairlead.dev/dran":"5s"`), admissionv1.Create, []string{"unknown annotation fairlead.dev/dran, did you mean fairlead.dev/drain?"}},
		{"the wrong domain", deployment("", `"sidecar.istio.io/excludeInboundPorts":"80"`), admissionv1.Update, []string{
			"unknown annotation sidecar.istio.io/excludeInboundPorts, did you mean traffic.sidecar.istio.io/excludeInboundPorts?",
		}},
		{"Linkerd", deployment("", `"config.linkerd.io/skip-outbound-ports":"25","config.linkerd.io/proxy-await":"enabled","linkerd.io/inject":"enabled"`), admissionv1.Create, []string{
			"config.linkerd.io/proxy-await has no effect in Fairlead",
			"config.linkerd.io/skip-outbound-ports has no effect in Fairlead, write fairlead.dev/exclude-outbound-ports",
			"linkerd.io/inject has no effect in Fairlead, write fairlead.dev/inject",
		}},
		{"on the Deployment itself", deployment(`"fairlead.dev/inject":"false","a.com/b":"c"`, ""), admissionv1.Create, []string{
			"annotation fairlead.dev/inject has no effect on a Deployment: it belongs to its pods, under spec.template.metadata.annotations",
		}},
		{"a value that refuses its pods", deployment("", `"fairlead.dev/drain":"soon"`), admissionv1.Create, []string{
			`its pods will be refused: annotation fairlead.dev/drain: "soon" is no duration; write 5s or 1m30s`,
		}},
		{"a deletion", deployment("", `"fairlead.dev/dran":"5s"`), admissionv1.Delete, nil},
		{"no template", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{}}`, admissionv1.Create, nil},
		{"nothing with pods", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a","annotations":{"fairlead.dev/inject":"x"}}}`, admissionv1.Create, nil},
		{
			"a CronJob", `{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"a"},"spec":{"jobTemplate":{"spec":{"template":{"metadata":{"annotations":{"fairlead.dev/dran":"5s"}},"spec":{"containers":[{"name":"app"}]}}}}}}`,
			admissionv1.Create,
			[]string{"unknown annotation fairlead.dev/dran, did you mean fairlead.dev/drain?"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := ask(t, h, review(t, json.RawMessage(tt.object), func(r *admissionv1.AdmissionRequest) { r.Operation = tt.operation }))
			if !resp.Allowed {
				t.Errorf("%+v", resp)
			}
			want := make([]string, len(tt.want))
			for i, line := range tt.want {
				want[i] = "fairlead: " + line
			}
			if diff := cmp.Diff(want, append([]string{}, resp.Warnings...)); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
