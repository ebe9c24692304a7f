package istio

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
)

func peer(t *testing.T, spec string) (*model.PeerAuthentication, []model.Problem) {
	t.Helper()
	in := &securityv1.PeerAuthentication{ObjectMeta: meta}
	in.CreationTimestamp = metav1.NewTime(time.Unix(7, 0))
	decode(t, spec, &in.Spec)
	return PeerAuthentication(in)
}

func TestPeerAuthentication(t *testing.T) {
	ref := model.Ref{Kind: "PeerAuthentication", Key: model.Key{Namespace: "myapp", Name: "users"}}
	tests := []struct {
		name, spec string
		want       model.PeerAuthentication
	}{
		{"nothing said", "{}", model.PeerAuthentication{}},
		{"a mode", "mtls: {mode: STRICT}", model.PeerAuthentication{Mode: model.MTLSStrict}},
		{"an empty selector is none", "selector: {matchLabels: {}}\nmtls: {mode: DISABLE}", model.PeerAuthentication{Mode: model.MTLSDisable}},
		{
			"ports of a workload", "selector: {matchLabels: {app: users}}\nmtls: {mode: PERMISSIVE}\nportLevelMtls: {8080: {mode: STRICT}, 9090: {}}",
			model.PeerAuthentication{
				Selector: map[string]string{"app": "users"}, Mode: model.MTLSPermissive,
				PerPort: map[uint16]model.MTLSMode{8080: model.MTLSStrict, 9090: model.MTLSUnset},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := peer(t, tt.spec)
			tt.want.Ref, tt.want.CreatedAt = ref, time.Unix(7, 0)
			if got == nil || len(problems) > 0 && tt.name != "an empty selector is none" {
				t.Fatalf("PeerAuthentication = %v, problems %v", got, problems)
			}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("PeerAuthentication (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPeerAuthenticationProblems(t *testing.T) {
	for _, tt := range []problemCase{
		{"ports of whom", "portLevelMtls: {8080: {mode: STRICT}}", []string{"error spec.portLevelMtls: ports of which workload"}},
		{
			"no port", "selector: {matchLabels: {app: a}}\nportLevelMtls: {0: {mode: STRICT}, 70000: {mode: STRICT}}",
			[]string{"error spec.portLevelMtls[0]: port 0 is out of range", "error spec.portLevelMtls[70000]: port 70000 is out of range"},
		},
		{
			"a wildcard", `selector: {matchLabels: {app: "*"}}`,
			[]string{`error spec.selector.matchLabels[app]: "*" is not a label value`},
		},
		{
			"modes that are none", "selector: {matchLabels: {app: a}}\nmtls: {mode: 9}\nportLevelMtls: {80: {mode: 8}}",
			[]string{"error spec.mtls.mode: 9 is not a mode", "error spec.portLevelMtls[80].mode: 8 is not a mode"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := peer(t, tt.spec)
			check(t, tt, got == nil, problems)
		})
	}
}
