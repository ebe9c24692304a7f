package check

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/cluster"
	"fairlead.dev/fairlead/internal/config/catalog"
)

// Unobeyed are the objects of one kind that Fairlead does not obey.
type Unobeyed struct {
	// Kind is "AuthorizationPolicy (security.istio.io)".
	Kind string
	// Loss says what does not happen, Protects that calls get through because of it.
	Loss     string
	Protects bool
	// ByNamespace counts them.
	ByNamespace map[string]int
}

// unobeyed counts the objects of one API group that are not obeyed.
func (g *gatherer) unobeyed(ctx context.Context, group string) ([]Unobeyed, error) {
	resources, err := g.resources(ctx, group)
	if err != nil {
		return nil, err
	}
	var all []Unobeyed
	for _, k := range catalog.Kinds() {
		path := resources[k.Resource]
		if k.Group != group || k.Served || path == "" {
			continue
		}
		found := Unobeyed{Kind: fmt.Sprintf("%s (%s)", k.Name, group), Loss: k.Loss, Protects: k.Protects, ByNamespace: map[string]int{}}
		err := cluster.Each(ctx, g.c, path, nil, func(o *metav1.PartialObjectMetadata) { found.ByNamespace[o.Namespace]++ })
		if err != nil {
			return nil, err
		}
		all = append(all, found)
	}
	for _, resource := range []string{"httproutes", "grpcroutes", "tlsroutes", "tcproutes"} {
		if path := resources[resource]; group == gatewayGroup && path != "" {
			found, err := g.gatewayRoutes(ctx, path)
			if err != nil {
				return nil, err
			}
			all = append(all, found)
		}
	}
	return slices.DeleteFunc(all, func(u Unobeyed) bool { return len(u.ByNamespace) == 0 }), nil
}

const gatewayGroup = "gateway.networking.k8s.io"

// gatewayRoutes counts the routes that have a Gateway among their parents.
func (g *gatherer) gatewayRoutes(ctx context.Context, path string) (Unobeyed, error) {
	found := Unobeyed{ByNamespace: map[string]int{}, Loss: "no Gateway is served, which takes a controller of its own"}
	found.Kind = "routes with a Gateway among their parents (" + path[strings.LastIndexByte(path, '/')+1:] + ")"
	err := cluster.Each(ctx, g.c, path, nil, func(o *struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     struct {
			ParentRefs []struct{ Group, Kind *string } `json:"parentRefs"`
		} `json:"spec"`
	},
	) {
		for _, p := range o.Spec.ParentRefs {
			// Both have a default: ParentReference of the Gateway API.
			if (p.Group == nil || *p.Group == gatewayGroup) && (p.Kind == nil || *p.Kind == "Gateway") {
				found.ByNamespace[o.Metadata.Namespace]++
				return
			}
		}
	})
	return found, err
}

// resources gives the path of every resource of an API group, in the version that the API server prefers among those
// that have it. It is empty where there is no such group.
func (g *gatherer) resources(ctx context.Context, group string) (map[string]string, error) {
	paths := map[string]string{}
	var versions metav1.APIGroup
	err := g.c.Get(ctx, "/apis/"+group, &versions)
	if (Got[metav1.APIGroup]{Err: err}).absent() {
		return paths, nil
	}
	if err != nil {
		return nil, err
	}
	for i := range versions.Versions {
		prefix := "/apis/" + versions.Versions[i].GroupVersion
		var list metav1.APIResourceList
		if err := g.c.Get(ctx, prefix, &list); err != nil {
			return nil, err
		}
		for j := range list.APIResources {
			if name := list.APIResources[j].Name; paths[name] == "" {
				paths[name] = cluster.Path(prefix, "", name, "")
			}
		}
	}
	return paths, nil
}

// allUnobeyed joins the groups. The error is the first of a group that could not be asked.
func (f *Facts) allUnobeyed() ([]Unobeyed, error) {
	var all []Unobeyed
	for _, got := range f.Unobeyed {
		if got.Err != nil {
			return nil, got.Err
		}
		all = append(all, got.Value...)
	}
	return all, nil
}

// meshNamespace reports whether objects of a namespace are for the mesh: it has opted in, or it is the root namespace,
// or one of its pods has opted in.
func (f *Facts) meshNamespace(namespace string) bool {
	return namespace == f.System || slices.Contains(f.Opted.Value, namespace) || slices.ContainsFunc(f.Namespaces.Value, func(n Namespace) bool {
		return n.Name == namespace && n.Labels[injectLabel] == enabled
	})
}

// in gives a line for the objects in the namespaces that count, or "".
func (u *Unobeyed) in(counts func(namespace string) bool) string {
	var where []string
	total := 0
	for _, ns := range slices.Sorted(maps.Keys(u.ByNamespace)) {
		if counts(ns) {
			where = append(where, ns)
			total += u.ByNamespace[ns]
		}
	}
	if total == 0 {
		return ""
	}
	word := "namespace"
	if len(where) > 1 {
		word = "namespaces"
	}
	return fmt.Sprintf("%d %s in %s %s: %s", total, u.Kind, word, shortened(where), u.Loss)
}

// linesOf gives the lines of the kinds that protect, and those of the others.
func linesOf(all []Unobeyed, counts func(namespace string) bool) (protecting, others []string) {
	for i := range all {
		switch line := all[i].in(counts); {
		case line == "":
		case all[i].Protects:
			protecting = append(protecting, line)
		default:
			others = append(others, line)
		}
	}
	return protecting, others
}

func everywhere(string) bool { return true }

const (
	hintEnforce  = "restrict these calls in another way, with a NetworkPolicy or in the app, before you rely on it; or take the namespace out of the mesh"
	hintUnobeyed = "docs/reference/manifests.md says what is obeyed, and what to write instead; delete what does nothing"
)

// judgeEnforced finds policies that let in what they were written to keep out. Where another mesh has its injector, those
// of namespaces that are not in this one are its business.
func judgeEnforced(f *Facts) verdict {
	all, err := f.allUnobeyed()
	if err != nil {
		return unknown(err)
	}
	if lines, _ := linesOf(all, f.meshNamespace); len(lines) > 0 {
		return fail(hintEnforce, lines...)
	}
	if len(f.otherMeshes()) > 0 {
		return pass()
	}
	lines, _ := linesOf(all, everywhere)
	return judge(lines, warn, "no mesh in this cluster enforces them: "+hintEnforce)
}

// judgeUnobeyed finds objects of the mesh that have no effect.
func judgeUnobeyed(f *Facts) verdict {
	all, err := f.allUnobeyed()
	if err != nil {
		return unknown(err)
	}
	_, lines := linesOf(all, f.meshNamespace)
	return judge(lines, warn, hintUnobeyed)
}

// judgePreUnobeyed says before an installation what will not be obeyed in namespaces that opt in.
func judgePreUnobeyed(f *Facts) verdict {
	all, err := f.allUnobeyed()
	if err != nil {
		return unknown(err)
	}
	protecting, others := linesOf(all, everywhere)
	return judge(append(protecting, others...), warn,
		"in namespaces that opt in they will do nothing: "+hintUnobeyed)
}
