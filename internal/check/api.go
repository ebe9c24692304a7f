package check

import (
	"fmt"
	"slices"
	"strings"
)

// The oldest Kubernetes that the mesh is made for: 1.25 has every API that it uses in its final version.
const (
	leastMajor = 1
	leastMinor = 25
)

func apiRules() []rule {
	return []rule{
		{"api-query", "can query the Kubernetes API", judgeAPI},
		{"api-version", "is running at least Kubernetes 1.25", judgeVersion},
	}
}

func judgeAPI(f *Facts) verdict {
	if f.API.Err == nil {
		return pass()
	}
	v := fail("see that the cluster runs and that kubectl reaches it; choose another one with --context or --kubeconfig", f.API.Err.Error())
	v.stop = true
	return v
}

func judgeVersion(f *Facts) verdict {
	v := &f.API.Value
	if v.Major > leastMajor || v.Major == leastMajor && v.Minor >= leastMinor {
		return pass()
	}
	return fail(fmt.Sprintf("upgrade the cluster to Kubernetes %d.%d or later", leastMajor, leastMinor), "the API server is "+v.Version)
}

func preRules() []rule {
	rules := []rule{
		{"pre-installed", "no other installation is in the way", judgeClash},
		{"pre-other-mesh", "no other mesh injects sidecars", judgeOtherMesh},
		{"pre-unobeyed", "objects of mesh APIs will be obeyed", judgePreUnobeyed},
	}
	for _, r := range []struct{ anchor, name string }{
		{accessNamespace, "can create the namespace"},
		{accessRBAC, "can create ClusterRoles and ClusterRoleBindings"},
		{accessCRD, "can create CustomResourceDefinitions"},
		{accessWebhook, "can create webhook configurations"},
		{accessObjects, "can create the control plane's objects"},
	} {
		rules = append(rules, rule{r.anchor, r.name, func(f *Facts) verdict { return judgeAccess(f, r.anchor) }})
	}
	return rules
}

// Anchors of the checks of what a user may do; Access.Check says which one an answer belongs to.
const (
	accessNamespace = "pre-create-namespace"
	accessRBAC      = "pre-create-rbac"
	accessCRD       = "pre-create-crds"
	accessWebhook   = "pre-create-webhooks"
	accessObjects   = "pre-create-objects"
)

func judgeAccess(f *Facts, anchor string) verdict {
	var denied []string
	for i := range f.Access {
		a := &f.Access[i]
		switch {
		case a.Check != anchor:
		case a.Allowed.Err != nil:
			return unknown(a.Allowed.Err)
		case !a.Allowed.Value && a.Reason != "":
			denied = append(denied, "may not "+a.What+": "+a.Reason)
		case !a.Allowed.Value:
			denied = append(denied, "may not "+a.What)
		}
	}
	return judge(denied, fail, "install with the rights of a cluster admin, or let a cluster admin install")
}

// judgeClash finds an installation of ours: webhook configurations have no namespace, so there can be only one.
func judgeClash(f *Facts) verdict {
	if f.Webhooks.Err != nil {
		return unknown(f.Webhooks.Err)
	}
	for i := range f.Webhooks.Value {
		w := &f.Webhooks.Value[i]
		if w.Config != injectorWebhook && w.Config != validatorWebhook {
			continue
		}
		namespace, _, _ := strings.Cut(w.Service, "/")
		if namespace != f.System {
			return fail("uninstall it first: a cluster has one Fairlead", fmt.Sprintf("%s %s belongs to an installation in namespace %s", w.kind(), w.Config, namespace))
		}
		return warn("use fairlead upgrade; run fairlead check without --pre to see how it is", "Fairlead is already installed in namespace "+f.System)
	}
	if f.Namespace.Err == nil && f.Namespace.Value.DeletionTimestamp != nil {
		return fail("wait until it is gone: kubectl get namespace "+f.System, "namespace "+f.System+" is being deleted")
	}
	return pass()
}

func (w *Webhook) kind() string {
	if w.Mutating {
		return "MutatingWebhookConfiguration"
	}
	return "ValidatingWebhookConfiguration"
}

// judgeOtherMesh finds injectors of other meshes.
func judgeOtherMesh(f *Facts) verdict {
	if f.Webhooks.Err != nil {
		return unknown(f.Webhooks.Err)
	}
	return judge(f.otherMeshes(), warn, "never label a namespace for both: a pod has room for one mesh")
}

// otherMeshes gives a line for each injector of another mesh, known by the names that their webhooks have.
func (f *Facts) otherMeshes() []string {
	var found []string
	for i := range f.Webhooks.Value {
		w := &f.Webhooks.Value[i]
		for _, mesh := range []struct{ part, name string }{
			{"sidecar-injector.istio.io", "Istio"},
			{"linkerd-proxy-injector.linkerd.io", "Linkerd"},
			{"namespace-kuma-injector.kuma.io", "Kuma"},
			{"consul.hashicorp.com", "Consul"},
		} {
			if w.Mutating && strings.Contains(w.Name, mesh.part) {
				found = append(found, fmt.Sprintf("%s injects sidecars: %s %s", mesh.name, w.kind(), w.Config))
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
