package check

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/errors"

	"fairlead.dev/fairlead/internal/inject"
)

// Hints that several checks share.
const (
	hintReinstall  = "install again: fairlead upgrade, or helm upgrade with the same values"
	hintController = "look at the control plane's log: kubectl logs -n %s deploy/" + Controller
)

func (f *Facts) hintLog() string { return fmt.Sprintf(hintController, f.System) }

func configRules() []rule {
	return []rule{
		{"config-namespace", "control plane namespace exists", judgeNamespace},
		{"config-service-account", "control plane ServiceAccount exists", judgeServiceAccount},
		{"config-rbac", "control plane roles and their bindings exist", judgeRBAC},
		{"config-crds", "CustomResourceDefinitions exist", judgeCRDs},
		{"config-injector", "ConfigMap of the injector is usable", judgeInjector},
		{"config-webhooks", "webhook configurations exist", judgeWebhooks},
		{"config-ca-bundle", "webhook configurations trust the CA", judgeCABundle},
		{"config-labels", "namespaces say what they mean", judgeLabels},
		{"config-pod-security", "namespaces that opted in admit sidecars", judgePodSecurity},
		{"config-policies", "access policies are enforced", judgeEnforced},
		{"config-unobeyed", "objects of mesh APIs are obeyed", judgeUnobeyed},
	}
}

func judgeNamespace(f *Facts) verdict {
	v := pass()
	switch {
	case f.Namespace.absent():
		v = fail("install the mesh: fairlead install --set image.hub=REGISTRY/PATH | kubectl apply -f -", "there is no namespace "+f.System)
		v.stop = true
	case f.Namespace.Err != nil:
		v = unknown(f.Namespace.Err)
	case f.Namespace.Value.DeletionTimestamp != nil:
		v = fail("wait until it is gone, then install the mesh", "namespace "+f.System+" is being deleted")
		v.stop = true
	}
	return v
}

func judgeServiceAccount(f *Facts) verdict {
	if f.ServiceAccount.absent() {
		return fail(hintReinstall, fmt.Sprintf("there is no ServiceAccount %s/%s", f.System, Controller))
	}
	if f.ServiceAccount.Err != nil {
		return unknown(f.ServiceAccount.Err)
	}
	return pass()
}

func judgeRBAC(f *Facts) verdict {
	if f.Bindings.Err != nil {
		return unknown(f.Bindings.Err)
	}
	if len(f.Bindings.Value) == 0 {
		return fail(hintReinstall, fmt.Sprintf("no ClusterRoleBinding or RoleBinding names ServiceAccount %s/%s", f.System, Controller))
	}
	var gone []string
	cluster := false
	for i := range f.Bindings.Value {
		b := &f.Bindings.Value[i]
		cluster = cluster || strings.HasPrefix(b.Name, "ClusterRoleBinding ")
		switch {
		case b.RoleErr == nil:
		case errors.IsNotFound(b.RoleErr):
			gone = append(gone, fmt.Sprintf("%s refers to %s, which does not exist", b.Name, b.Role))
		default:
			return unknown(b.RoleErr)
		}
	}
	if !cluster {
		gone = append(gone, fmt.Sprintf("no ClusterRoleBinding names ServiceAccount %s/%s", f.System, Controller))
	}
	return judge(gone, fail, hintReinstall)
}

// judgeCRDs only warns: the mesh works without kinds that are not used, and takes them up when they come.
func judgeCRDs(f *Facts) verdict {
	var missing []string
	for i := range f.Kinds {
		k := &f.Kinds[i]
		switch {
		case k.Served.absent() && k.Optional:
		case k.Served.absent():
			missing = append(missing, fmt.Sprintf("%s: the API server does not know %s", k.Title, listed(k.Wanted)))
		case k.Served.Err != nil:
			return unknown(k.Served.Err)
		default:
			lack := slices.DeleteFunc(slices.Clone(k.Wanted), func(kind string) bool { return slices.Contains(k.Served.Value, kind) })
			if len(lack) > 0 {
				missing = append(missing, fmt.Sprintf("%s: the API server does not know %s", k.Title, listed(lack)))
			}
		}
	}
	return judge(missing, warn, "install the definitions if you want to use these kinds (values crds.istio, crds.gatewayAPI, crds.smi, crds.linkerd); nothing else is missing without them")
}

// injector reads the injector's configuration as the injector does.
func (f *Facts) injector() (inject.Config, error) {
	text, ok := f.Config.Value.Data[injectorKey]
	if !ok {
		return inject.Config{}, fmt.Errorf("ConfigMap %s/%s has no key %s", f.System, configMap, injectorKey)
	}
	c, err := inject.ParseConfig([]byte(text), inject.DefaultConfig())
	if err != nil {
		return c, fmt.Errorf("ConfigMap %s/%s, %s: %w", f.System, configMap, injectorKey, err)
	}
	return c, nil
}

func judgeInjector(f *Facts) verdict {
	if f.Config.absent() {
		return fail(hintReinstall, fmt.Sprintf("there is no ConfigMap %s/%s", f.System, configMap))
	}
	if f.Config.Err != nil {
		return unknown(f.Config.Err)
	}
	if _, err := f.injector(); err != nil {
		return fail("correct it, or "+hintReinstall, strings.Split(err.Error(), "\n")...)
	}
	return pass()
}

// own gives the webhooks of one of our two configurations.
func (f *Facts) own(config string) []Webhook {
	return slices.DeleteFunc(slices.Clone(f.Webhooks.Value), func(w Webhook) bool { return w.Config != config })
}

func judgeWebhooks(f *Facts) verdict {
	if f.Webhooks.Err != nil {
		return unknown(f.Webhooks.Err)
	}
	var wrong []string
	if len(f.own(injectorWebhook)) == 0 {
		wrong = append(wrong, fmt.Sprintf("there is no MutatingWebhookConfiguration %s: no pod gets a sidecar", injectorWebhook))
	}
	if len(f.own(validatorWebhook)) == 0 {
		wrong = append(wrong, fmt.Sprintf("there is no ValidatingWebhookConfiguration %s: mistakes are found only after they are applied", validatorWebhook))
	}
	for _, w := range append(f.own(injectorWebhook), f.own(validatorWebhook)...) {
		if want := f.System + "/" + Controller; w.Service != want {
			wrong = append(wrong, fmt.Sprintf("%s %s, webhook %s, asks %s, not Service %s", w.kind(), w.Config, w.Name, w.Service, want))
		}
	}
	return judge(wrong, fail, hintReinstall)
}

func judgeCABundle(f *Facts) verdict {
	if f.Webhooks.Err != nil {
		return unknown(f.Webhooks.Err)
	}
	if f.CA.Err != nil {
		return warn("see fairlead-identity below", "not checked: the CA is not known")
	}
	a, err := parseAuthority(&f.CA.Value)
	if err != nil {
		return warn("see fairlead-identity below", "not checked: the CA is not usable")
	}
	var wrong []string
	for _, w := range append(f.own(injectorWebhook), f.own(validatorWebhook)...) {
		what := fmt.Sprintf("%s %s, webhook %s", w.kind(), w.Config, w.Name)
		if len(bytes.TrimSpace(w.CABundle)) == 0 {
			wrong = append(wrong, what+": caBundle is empty, so the API server trusts no controller")
			continue
		}
		bundle, err := parseCertificates(w.CABundle)
		switch {
		case err != nil:
			wrong = append(wrong, what+": caBundle: "+err.Error())
		case !containsAll(bundle, a.roots):
			wrong = append(wrong, fmt.Sprintf("%s: caBundle lacks the root of Secret %s/%s", what, f.System, f.CA.Value.Name))
		}
	}
	return judge(wrong, fail, "the controller writes it within seconds of its start; "+f.hintLog())
}

// containsAll reports whether a bundle has every root. It may have more: during a rotation it has the next one too.
func containsAll(bundle, roots []*x509.Certificate) bool {
	for _, root := range roots {
		if !slices.ContainsFunc(bundle, root.Equal) {
			return false
		}
	}
	return true
}
