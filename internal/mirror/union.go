package mirror

import (
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// union is the Services of one name in several clusters.
type union struct {
	home    *model.Service // the own cluster's, if it takes part
	members []member       // by cluster
}

// member is a Service of another cluster in a union.
type member struct {
	link                *model.Link
	service             *store.RemoteService
	labels, annotations map[string]string
}

func (d *decider) union(k model.Key) *union {
	u := d.unions[k]
	if u == nil {
		u = &union{}
		d.unions[k] = u
	}
	return u
}

// home adds the Services of the own cluster that take part.
func (d *decider) home() {
	for _, s := range store.List[model.Service](d.r) {
		if s.Federated && s.Origin.Kind == "Service" && s.Origin.Cluster == "" && s.Mirror == nil && s.ExternalName == "" && len(s.Ports) > 0 {
			d.union(s.Key).home = s
		}
	}
}

// federate decides about unions. The own cluster's Service says what the ports are, where there is one, else that of the cluster
// whose name is first.
func (d *decider) federate() {
	for _, k := range slices.SortedFunc(maps.Keys(d.unions), model.Key.Compare) {
		u := d.unions[k]
		local := model.Key{Namespace: k.Namespace, Name: model.FederatedName(k.Name)}
		var lead *model.Service
		if lead = u.home; lead == nil {
			lead = &u.members[0].service.Service
		}
		answer := d.admit(Outcome{Remote: k, Local: local}, lead)
		for _, m := range u.members {
			o := answer
			if m.service.ExternalName != "" {
				o = o.not("ExternalName", "it is a name for another host in its own cluster")
			}
			status := d.out.Status[m.link.Ref]
			status.Federated = append(status.Federated, o)
			d.out.Status[m.link.Ref] = status
		}
		if answer.Holds {
			d.wanted[local] = d.federated(local, u, lead)
		}
	}
}

// federated is the Service of a union. Clusters that are linked and have not said yet what they have keep the part that they had.
func (d *decider) federated(local model.Key, u *union, lead *model.Service) *Service {
	out := &Service{Key: local, Ports: lead.Ports, Labels: map[string]string{model.MirroredLabel: "true", model.ManagedByLabel: model.ManagedBy}, Annotations: map[string]string{}}
	if u.home == nil {
		out.Labels, out.Annotations = copied(u.members[0].link, u.members[0].labels, u.members[0].annotations)
	}
	var sources []string
	for _, m := range u.members {
		if m.service.ExternalName == "" {
			sources = append(sources, m.service.Key.Name+"@"+m.link.Cluster)
		}
	}
	for _, s := range d.r.ServicesByKey(local) {
		if s.Mirror == nil || !s.MadeHere {
			continue
		}
		for _, from := range s.Mirror.Sources {
			if d.stays(&model.Service{Mirror: &model.MirrorOf{Sources: []model.MirrorSource{from}}}) {
				sources = append(sources, from.Name+"@"+from.Cluster)
			}
		}
	}
	slices.Sort(sources)
	if sources = slices.Compact(sources); len(sources) > 0 {
		out.Annotations[model.RemoteDiscoveryKey] = strings.Join(sources, ",")
	}
	if u.home != nil {
		out.Annotations[model.LocalDiscovery] = u.home.Key.Name
	}
	return out
}
