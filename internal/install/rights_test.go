package install

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/config/catalog"
	"fairlead.dev/fairlead/internal/inject"
	kubesource "fairlead.dev/fairlead/internal/source/kube"
)

func TestInjectorConfigIsWhatTheInjectorReads(t *testing.T) {
	for name, text := range map[string]string{"defaults": "{}", "everything": everything} {
		t.Run(name, func(t *testing.T) {
			r := rendered(t, Options{Version: "1.2.3", Values: []Values{values(t, text), values(t, noForeignKinds)}})
			config, err := inject.ParseConfig([]byte(find[corev1.ConfigMap](t, r, "ConfigMap", "fairlead").Data["injector.yaml"]), inject.Config{})
			if err != nil {
				t.Fatal(err)
			}
			want := inject.DefaultConfig()
			want.Image = "registry.example.com/mesh/proxy:1.2.3"
			want.Resources = config.Resources
			want.ImagePullPolicy = "IfNotPresent"
			if name == "everything" {
				want.Image, want.ImagePullPolicy, want.ImagePullSecrets = "registry.local:5000/mesh/proxy:v9", "Always", []inject.SecretName{"a", "b"}
				want.NativeSidecar, want.CNI, want.ExcludeInboundPorts, want.ExcludeOutboundPorts = inject.No, true, "80", "25,8000-8010"
			}
			if diff := cmp.Diff(want, config); diff != "" {
				t.Errorf("injector.yaml (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWebhooksLeaveTheAuthorityToTheController: what is applied must not name caBundle, or an upgrade would take it away.
func TestWebhooksLeaveTheAuthorityToTheController(t *testing.T) {
	r := rendered(t, Options{Values: small(t, "{}")})
	mutating := find[admissionv1.MutatingWebhookConfiguration](t, r, "MutatingWebhookConfiguration", "fairlead-sidecar-injector")
	for _, w := range mutating.Webhooks {
		if w.ClientConfig.CABundle != nil {
			t.Errorf("%s has a caBundle", w.Name)
		}
		for _, ns := range []string{"kube-system", "kube-node-lease", "kube-public", DefaultNamespace} {
			if !slices.ContainsFunc(w.NamespaceSelector.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool {
				return e.Key == "kubernetes.io/metadata.name" && e.Operator == "NotIn" && slices.Contains(e.Values, ns)
			}) {
				t.Errorf("%s would ask for pods of %s", w.Name, ns)
			}
		}
	}
	validating := find[admissionv1.ValidatingWebhookConfiguration](t, r, "ValidatingWebhookConfiguration", "fairlead-validator")
	for _, w := range validating.Webhooks {
		if w.ClientConfig.CABundle != nil || *w.FailurePolicy != admissionv1.Ignore {
			t.Errorf("%s: caBundle %q, failurePolicy %s", w.Name, w.ClientConfig.CABundle, *w.FailurePolicy)
		}
	}
}

// TestValidatorIsAskedAboutEveryKindOfAMesh keeps the chart's groups and those of the catalog the same: a kind that the
// webhook is not asked about could be void in silence.
func TestValidatorIsAskedAboutEveryKindOfAMesh(t *testing.T) {
	r := rendered(t, Options{Values: small(t, "webhook: {validationFailurePolicy: Fail}")})
	config := find[admissionv1.ValidatingWebhookConfiguration](t, r, "ValidatingWebhookConfiguration", "fairlead-validator")
	i := slices.IndexFunc(config.Webhooks, func(w admissionv1.ValidatingWebhook) bool {
		return *w.ClientConfig.Service.Path == "/validate/unobeyed"
	})
	if i < 0 {
		t.Fatalf("no webhook asks at /validate/unobeyed: %+v", config.Webhooks)
	}
	w := config.Webhooks[i]
	if *w.FailurePolicy != admissionv1.Ignore {
		t.Errorf("failurePolicy %s: other controllers could not write their objects while ours is away", *w.FailurePolicy)
	}
	if w.NamespaceSelector != nil || w.ObjectSelector != nil {
		t.Errorf("selectors %v, %v leave objects out", w.NamespaceSelector, w.ObjectSelector)
	}
	all := admissionv1.NamespacedScope
	want := []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: catalog.Groups(), APIVersions: []string{"*"}, Resources: []string{"*"}, Scope: &all},
	}}
	if diff := cmp.Diff(want, w.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// TestRules says what the controller may do, once as the packages that use it say.
func TestRules(t *testing.T) {
	r := rendered(t, Options{Values: []Values{values(t, everything), values(t, noForeignKinds)}})
	want := grants{}
	for _, rule := range kubesource.Rules() {
		want.add([]string{rule.Group}, []string{rule.Resource}, nil, rule.Verbs)
	}
	// What internal/kube uses.
	want.add([]string{""}, []string{"pods/status"}, nil, []string{"patch"})
	want.add([]string{"authentication.k8s.io"}, []string{"tokenreviews"}, nil, []string{"create"})
	want.add([]string{"authorization.k8s.io"}, []string{"subjectaccessreviews"}, nil, []string{"create"})
	want.add([]string{""}, []string{"configmaps"}, []string{"fairlead-ca-root-cert"}, []string{"list", "watch", "create", "patch"})
	want.add([]string{"admissionregistration.k8s.io"}, []string{"mutatingwebhookconfigurations"}, []string{"fairlead-sidecar-injector"}, []string{"list", "watch", "patch"})
	want.add([]string{"admissionregistration.k8s.io"}, []string{"validatingwebhookconfigurations"}, []string{"fairlead-validator"}, []string{"list", "watch", "patch"})
	got := grants{}
	got.addRules(find[rbacv1.ClusterRole](t, r, "ClusterRole", "fairlead-controller").Rules)
	if diff := cmp.Diff(want.sorted(), got.sorted()); diff != "" {
		t.Errorf("ClusterRole fairlead-controller (-used +granted):\n%s", diff)
	}
	for _, o := range r.Objects {
		if o.GetKind() != "ClusterRole" && o.GetKind() != "Role" {
			continue
		}
		granted := grants{}
		granted.addRules(find[rbacv1.ClusterRole](t, r, o.GetKind(), o.GetName()).Rules)
		for g := range granted {
			if strings.Contains(g, "*") {
				t.Errorf("%s: wildcard in %q", refOf(o), g)
			}
			if o.GetKind() == "ClusterRole" && o.GetName() != kubesource.CredentialsRole && strings.Contains(g, "secrets") {
				t.Errorf("%s reaches secrets of all namespaces: %q", refOf(o), g)
			}
		}
	}
}

// TestSecretsOfOthers is where the controller may read the Secrets that DestinationRules name: nowhere unless it is said.
func TestSecretsOfOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		values string
		want   []string
	}{
		"nothing is said": {"{}", nil},
		"two namespaces":  {"credentials: {namespaces: [shop, bank]}", []string{"RoleBinding bank", "RoleBinding shop"}},
		"all namespaces":  {"credentials: {namespaces: [shop], allNamespaces: true}", []string{"ClusterRoleBinding "}},
	} {
		t.Run(name, func(t *testing.T) {
			r := rendered(t, Options{Values: small(t, tt.values)})
			var got []string
			for _, o := range r.Objects {
				if o.GetName() != kubesource.CredentialsRole || o.GetKind() == "ClusterRole" {
					continue
				}
				got = append(got, o.GetKind()+" "+o.GetNamespace())
				b := find[rbacv1.RoleBinding](t, r, o.GetKind(), o.GetName())
				if want := (rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: kubesource.CredentialsRole}); b.RoleRef != want {
					t.Errorf("%s binds %+v", refOf(o), b.RoleRef)
				}
				if want := (rbacv1.Subject{Kind: "ServiceAccount", Name: "fairlead-controller", Namespace: DefaultNamespace}); len(b.Subjects) != 1 || b.Subjects[0] != want {
					t.Errorf("%s binds it to %+v", refOf(o), b.Subjects)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("bindings (-want +got):\n%s", diff)
			}
			role := grants{}
			role.addRules(find[rbacv1.ClusterRole](t, r, "ClusterRole", kubesource.CredentialsRole).Rules)
			want := grants{}
			want.add([]string{""}, []string{"secrets"}, nil, []string{"list", "watch"})
			if diff := cmp.Diff(want.sorted(), role.sorted()); diff != "" {
				t.Errorf("ClusterRole %s (-want +got):\n%s", kubesource.CredentialsRole, diff)
			}
		})
	}
}

// grants are single permissions: "group resource name verb".
type grants map[string]bool

func (g grants) add(groups, resources, names, verbs []string) {
	if len(names) == 0 {
		names = []string{""}
	}
	for _, group := range groups {
		for _, resource := range resources {
			for _, name := range names {
				for _, verb := range verbs {
					g[fmt.Sprintf("%q %s %q %s", group, resource, name, verb)] = true
				}
			}
		}
	}
}

func (g grants) addRules(rules []rbacv1.PolicyRule) {
	for _, r := range rules {
		g.add(r.APIGroups, r.Resources, r.ResourceNames, r.Verbs)
	}
}

func (g grants) sorted() []string { return slices.Sorted(maps.Keys(g)) }

// TestPodsAreRestricted checks what the restricted Pod Security Standard demands of the pods of Deployments.
func TestPodsAreRestricted(t *testing.T) {
	r := rendered(t, Options{Values: []Values{values(t, everything), values(t, noForeignKinds)}})
	for _, name := range []string{"fairlead-controller", "fairlead-gateway"} {
		t.Run(name, func(t *testing.T) {
			isRestricted(t, find[appsv1.Deployment](t, r, "Deployment", name).Spec.Template.Spec)
		})
	}
}

func isRestricted(t *testing.T, spec corev1.PodSpec) {
	t.Helper()
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		t.Error("the pod shares a namespace of the host")
	}
	for _, v := range spec.Volumes {
		if v.ConfigMap == nil && v.Projected == nil {
			t.Errorf("volume %s is neither a ConfigMap nor projected", v.Name)
		}
	}
	s := spec.SecurityContext
	if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser == 0 ||
		s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("securityContext of the pod = %+v", s)
	}
	for _, c := range spec.Containers {
		s := c.SecurityContext
		if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Privileged != nil ||
			s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.Capabilities == nil ||
			!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
			t.Errorf("securityContext of %s = %+v", c.Name, s)
		}
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				t.Errorf("%s has host port %d", c.Name, p.HostPort)
			}
		}
	}
}
