package linkerd

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
)

func decoded(tb testing.TB, spec string) *Link {
	tb.Helper()
	in := &Link{}
	if err := yaml.UnmarshalStrict([]byte("metadata: {name: east, namespace: fairlead-system}\nspec: "+spec), in); err != nil {
		tb.Fatal(err)
	}
	return in
}

// What "linkerd multicluster link-gen" writes, and what there is where it says nothing.
func TestRead(t *testing.T) {
	label := func(key, value string) model.LabelSelector {
		return model.LabelSelector{Set: true, Requirements: []model.LabelRequirement{{Key: key, Operator: model.LabelIn, Values: []string{value}}}}
	}
	got, problems := Read(decoded(t, `{targetClusterName: east, targetClusterDomain: east.local, targetClusterLinkerdNamespace: linkerd,
  clusterCredentialsSecret: cluster-credentials-east, gatewayAddress: "192.0.2.1, gw.example.com,192.0.2.1", gatewayPort: "4143", gatewayIdentity: gw.identity,
  probeSpec: {path: /ready, port: "4191", period: 2s, failureThreshold: "5", timeout: 1s},
  selector: {matchLabels: {b: x, a: v}, matchExpressions: [{key: c, operator: NotIn, values: [z]}]}, remoteDiscoverySelector: {}, excludedLabels: [x]}`))
	if len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
	want := &model.Link{
		Ref: model.Ref{Kind: "Link", Key: model.Key{Namespace: "fairlead-system", Name: "east"}}, Cluster: "east", Domain: "east.local",
		Secret: "cluster-credentials-east", Gateways: []string{"192.0.2.1", "gw.example.com"}, Port: 4143, GatewayIdentity: "gw.identity",
		Probe: model.LinkProbe{Path: "/ready", Port: 4191, Period: 2 * time.Second, Timeout: time.Second, Failures: 5},
		Exported: model.LabelSelector{Set: true, Requirements: []model.LabelRequirement{
			{Key: "a", Operator: model.LabelIn, Values: []string{"v"}},
			{Key: "b", Operator: model.LabelIn, Values: []string{"x"}},
			{Key: "c", Operator: model.LabelNotIn, Values: []string{"z"}},
		}},
		Federated: label("mirror.linkerd.io/federated", "member"), ExcludedLabels: []string{"x"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
	got, _ = Read(decoded(t, "{targetClusterName: east, gatewayAddress: 192.0.2.1, probeSpec: {path: /ready, port: \"1\"}}"))
	want = &model.Link{
		Ref: want.Ref, Cluster: "east", Gateways: []string{"192.0.2.1"}, Port: 15443,
		Probe:    model.LinkProbe{Path: "/ready", Port: 1, Period: 3 * time.Second, Timeout: 30 * time.Second, Failures: 3},
		Exported: label("mirror.linkerd.io/exported", "true"), Discovered: label("mirror.linkerd.io/exported", "remote-discovery"),
		Federated: label("mirror.linkerd.io/federated", "member"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read of little (-want +got):\n%s", diff)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, tt := range []struct{ name, spec, field string }{
		{"no_cluster", "{}", "spec.targetClusterName"},
		{"cluster_no_label", "{targetClusterName: East.1}", "spec.targetClusterName"},
		{"gateway", `{targetClusterName: e, gatewayAddress: "a b"}`, "spec.gatewayAddress"},
		{"gateways", `{targetClusterName: e, gatewayAddress: "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"}`, "spec.gatewayAddress"},
		{"port", `{targetClusterName: e, gatewayAddress: a, gatewayPort: "0"}`, "spec.gatewayPort"},
		{"probe_port", `{targetClusterName: e, gatewayAddress: a, probeSpec: {path: /}}`, "spec.probeSpec.port"},
		{"probe_path", `{targetClusterName: e, gatewayAddress: a, probeSpec: {path: "/a b", port: "1"}}`, "spec.probeSpec.path"},
		{"period", `{targetClusterName: e, gatewayAddress: a, probeSpec: {path: /, port: "1", period: 1ms}}`, "spec.probeSpec.period"},
		{"timeout", `{targetClusterName: e, gatewayAddress: a, probeSpec: {path: /, port: "1", timeout: soon}}`, "spec.probeSpec.timeout"},
		{"failures", `{targetClusterName: e, gatewayAddress: a, probeSpec: {path: /, port: "1", failureThreshold: "0"}}`, "spec.probeSpec.failureThreshold"},
		{"operator", "{targetClusterName: e, selector: {matchExpressions: [{key: a, operator: Is}]}}", "spec.selector.matchExpressions[0].operator"},
		{"values", "{targetClusterName: e, federatedServiceSelector: {matchExpressions: [{key: a, operator: Exists, values: [x]}]}}", "spec.federatedServiceSelector.matchExpressions[0].values"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := Read(decoded(t, tt.spec))
			if got != nil || len(problems) == 0 || problems[0].Field != tt.field || problems[0].Severity != model.Rejected {
				t.Errorf("Read = %+v, %v, want it refused for %s", got, problems, tt.field)
			}
		})
	}
}

// FuzzRead: whatever a Link holds, it is read or refused, the same way each time.
func FuzzRead(f *testing.F) {
	f.Add("{targetClusterName: east, gatewayAddress: 192.0.2.1, probeSpec: {port: \"1\", path: /}}")
	f.Add("{targetClusterName: e, selector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [x]}]}}")
	f.Fuzz(func(t *testing.T, spec string) {
		in := &Link{}
		if yaml.Unmarshal([]byte("spec: "+strings.ReplaceAll(spec, "\n", " ")), in) != nil {
			return
		}
		got, problems := Read(in)
		again, same := Read(in)
		if diff := cmp.Diff(got, again) + cmp.Diff(problems, same); diff != "" {
			t.Errorf("read twice:\n%s", diff)
		}
		if got != nil && (got.Cluster == "" || len(got.Gateways) > 0 && got.Port == 0) {
			t.Errorf("in force: %+v", got)
		}
	})
}
