package kube

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/apiserver"
	"fairlead.dev/fairlead/internal/config"
)

// followed lists the kinds of which all objects are followed.
func followed() []config.Kind {
	return slices.DeleteFunc(config.Kinds(), func(k config.Kind) bool { return k.Form == config.FilesOnly || k.Form == config.ByName })
}

// decode reads an object of a kind as far as reading it cannot fail because of what its owner wrote.
func decode(k *config.Kind, raw apiserver.Raw) (metav1.Object, error) { //nolint:ireturn // an object of whatever the kind is
	var out metav1.Object
	switch k.Form {
	case config.Custom:
		out = &document{}
	case config.MetadataOnly:
		out = &metav1.PartialObjectMetadata{}
	case config.Whole, config.FilesOnly, config.ByName:
		out = k.New()
	}
	return out, raw.Into(out)
}

// read turns what was decoded of an object into the object to hand on, stripped.
func read(k *config.Kind, decoded metav1.Object) (any, error) {
	out := decoded
	switch in := decoded.(type) {
	case *document:
		out = k.New()
		if err := json.Unmarshal(in.text, out); err != nil {
			return nil, &undecodable{text: in.text, cause: err}
		}
	case *metav1.PartialObjectMetadata:
		out = k.New()
		*metaOf(out) = in.ObjectMeta
	}
	if !k.Is(out) {
		return nil, unexpected(decoded)
	}
	stripMeta(metaOf(out))
	k.Strip(out)
	return out, nil
}

// metaOf gives the metadata of an object of any Go type of Kubernetes: they all embed it.
func metaOf(o metav1.Object) *metav1.ObjectMeta {
	if a, ok := o.(metav1.ObjectMetaAccessor); ok {
		if meta, ok := a.GetObjectMeta().(*metav1.ObjectMeta); ok {
			return meta
		}
	}
	return &metav1.ObjectMeta{}
}

// stripMeta leaves what identifies, selects, orders and owns an object. All labels stay, for any may be selected by.
func stripMeta(in *metav1.ObjectMeta) {
	in.ManagedFields, in.Finalizers, in.GenerateName = nil, nil, ""
	delete(in.Annotations, corev1.LastAppliedConfigAnnotation)
	if len(in.Annotations) == 0 {
		in.Annotations = nil
	}
	owner := metav1.GetControllerOf(in)
	in.OwnerReferences = nil
	if owner != nil {
		owner.BlockOwnerDeletion = nil
		in.OwnerReferences = []metav1.OwnerReference{*owner}
	}
}

// Rule is what an account must be allowed to do with a resource, one rule of a ClusterRole.
type Rule struct {
	Group, Resource string
	Verbs           []string
}

// Rules lists what the account of a [Source] and of a [Writer] needs, in all namespaces. What it needs of ByName kinds is left to
// whoever owns the objects.
func Rules() []Rule {
	var rules []Rule
	for _, k := range followed() {
		own := Rule{Group: k.Group, Resource: k.Resource, Verbs: followVerbs()}
		if k.Status == config.NoStatus {
			rules = append(rules, own)
			continue
		}
		own.Verbs = append(own.Verbs, "get") // of the Writer, before it patches
		rules = append(rules, own, Rule{Group: k.Group, Resource: k.Resource + "/status", Verbs: []string{"patch"}})
	}
	return rules
}

// followVerbs are those that following a resource needs.
func followVerbs() []string { return []string{"list", "watch"} }

// groupsOf gives the API groups of the custom kinds among list, each once.
func groupsOf(list []config.Kind) []string {
	var groups []string
	for i := range list {
		if k := &list[i]; k.Form == config.Custom && !slices.Contains(groups, k.Group) {
			groups = append(groups, k.Group)
		}
	}
	return groups
}
