package install

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRemove(t *testing.T) {
	tests := []struct {
		name  string
		keep  Keep
		stays []string
	}{
		{
			name: "keeps_the_CA_and_the_kinds", keep: Keep{CRDs: true, CA: true},
			stays: []string{
				"/api/v1/namespaces/fairlead-system", "/api/v1/namespaces/fairlead-system/configmaps/fairlead-ca-root-cert",
				"/api/v1/namespaces/shop", "/api/v1/namespaces/shop/configmaps/fairlead-ca-root-cert",
				"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/destinationrules.networking.istio.io",
				"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/healthcheckpolicies.fairlead.dev",
				"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/httproutegroups.specs.smi-spec.io",
				"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/links.multicluster.linkerd.io",
				"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/peerauthentications.security.istio.io",
				"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/serviceentries.networking.istio.io",
				"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/serviceexports.multicluster.x-k8s.io",
				"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/serviceimports.multicluster.x-k8s.io",
				"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/telemetries.telemetry.istio.io",
				"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/trafficsplits.split.smi-spec.io",
				"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/virtualservices.networking.istio.io",
				"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/workloadentries.networking.istio.io",
			},
		},
		{name: "purges_all_but_what_is_not_ours", stays: []string{"/api/v1/namespaces/shop", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/virtualservices.networking.istio.io"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Live)
				w.add(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {fairlead.dev/inject: enabled}}}")
				w.add(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: virtualservices.networking.istio.io}}")
				if err := w.install(t, "1.0.0", "{crds: {smi: true}, compat: {kiali: false}}"); err != nil { // which the next one does without
					t.Fatal(err)
				}
				if err := w.install(t, "1.0.0", "{crds: {istio: true, smi: false}, compat: {kiali: false}}"); err != nil {
					t.Fatal(err)
				}
				for _, ns := range []string{"shop", "fairlead-system"} { // as the controller does
					w.add(t, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: fairlead-ca-root-cert, namespace: %s}}", ns))
				}
				w.calls = nil
				if err := w.Remove(t.Context(), mustInstalled(t, w), tt.keep); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.stays, w.paths()); diff != "" {
					t.Errorf("what stays (-want +got):\n%s", diff)
				}
				if want := "delete /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/fairlead-validator"; w.calls[0] != want {
					t.Errorf("first = %s, want %s", w.calls[0], want)
				}
				if !strings.Contains(w.out.String(), "kubectl -n shop rollout restart") {
					t.Errorf("no advice to restart:\n%s", w.out.String())
				}
				if _, err := w.Installed(t.Context()); !errors.Is(err, ErrNotInstalled) {
					t.Errorf("Installed afterwards = %v", err)
				}
			})
		})
	}
}

// TestRemoveGoesOnWithoutPodsThatDoNotEnd: a node may be away.
func TestRemoveGoesOnWithoutPodsThatDoNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Live)
		if err := w.install(t, "1.0.0", "cni: {enabled: true}"); err != nil {
			t.Fatal(err)
		}
		w.stuck = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-cni-x", Labels: map[string]string{"app.kubernetes.io/component": "cni"}}, Spec: corev1.PodSpec{NodeName: "n1"}}
		began := time.Now()
		if err := w.Remove(t.Context(), mustInstalled(t, w), Keep{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != podsLeave || len(w.objects) != 0 {
			t.Errorf("took %s, left %v", took, w.paths())
		}
		if want := "waiting for the end of the pods of fairlead-cni: fairlead-cni-x on n1\ngoing on without them\n"; !strings.Contains(w.out.String(), want) {
			t.Errorf("progress:\n%s", w.out.String())
		}
	})
}
