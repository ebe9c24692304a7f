package core

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/model"
)

func newReport(kind string, meta *metav1.ObjectMeta) *model.Report {
	return &model.Report{Ref: model.Ref{Kind: kind, Key: keyOf(meta)}}
}

// keyOf gives the key of a namespaced object.
func keyOf(meta *metav1.ObjectMeta) model.Key {
	return model.Key{Namespace: cmp.Or(meta.Namespace, metav1.NamespaceDefault), Name: meta.Name}
}

// meshAnnotations keeps the annotations that can mean something to the mesh: a Service's history of kubectl apply is
// larger than all the rest of it.
func meshAnnotations(all map[string]string) map[string]string {
	kept := maps.Clone(all)
	maps.DeleteFunc(kept, func(key, _ string) bool {
		domain, _, _ := strings.Cut(key, "/")
		return !slices.ContainsFunc([]string{"fairlead.dev", "istio.io", "linkerd.io"}, func(ours string) bool {
			return domain == ours || strings.HasSuffix(domain, "."+ours)
		})
	})
	if len(kept) == 0 {
		return nil
	}
	return kept
}
