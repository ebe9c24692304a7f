package check

import (
	"cmp"
	"slices"

	"fairlead.dev/fairlead/internal/config"
)

// kindsRead groups the custom kinds that the mesh reads. Those of Istio's networking are expected in a cluster with a
// mesh, a group that is Optional only where its owner wants it.
func kindsRead() []Kinds {
	titles := map[string]Kinds{
		"networking.istio.io":       {Title: "Istio networking"},
		"security.istio.io":         {Title: "Istio security"},
		"gateway.networking.k8s.io": {Title: "Gateway API", Optional: true},
		"split.smi-spec.io":         {Title: "SMI", Optional: true},
		"specs.smi-spec.io":         {Title: "SMI traffic specs", Optional: true},
		"multicluster.linkerd.io":   {Title: "Linkerd multicluster", Optional: true},
		"multicluster.x-k8s.io":     {Title: "Multi-Cluster Services API", Optional: true},
		"fairlead.dev":              {Title: "Fairlead"},
	}
	var all []Kinds
	for _, k := range config.Kinds() {
		if k.Form != config.Custom {
			continue
		}
		i := slices.IndexFunc(all, func(g Kinds) bool { return g.Group == k.Group })
		if i < 0 {
			g := titles[k.Group]
			g.Group, g.Title = k.Group, cmp.Or(g.Title, k.Group)
			i, all = len(all), append(all, g)
		}
		all[i].Wanted = append(all[i].Wanted, k.Name)
	}
	for i := range all {
		slices.Sort(all[i].Wanted)
	}
	return all
}
