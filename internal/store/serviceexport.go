package store

import (
	"net/netip"
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

// ImportAddress is the addresses that the control plane's own cluster has for what clusters have exported, and the object that says
// so.
type ImportAddress struct {
	Ref  model.Ref
	Of   model.Key
	VIPs []netip.Prefix
}

// Reference names that object.
func (a *ImportAddress) Reference() model.Ref { return a.Ref }

// SetServiceExport adds the export of a cluster, or replaces it.
func SetServiceExport(tx *Txn, e model.ServiceExport) {
	Set(tx, e)
	putImport(tx, e.Ref.Key)
}

// DeleteServiceExport removes the export of a cluster, if it is there.
func DeleteServiceExport(tx *Txn, ref model.Ref) {
	Delete[model.ServiceExport](tx, ref)
	putImport(tx, ref.Key)
}

// SetImportAddress notes the addresses of an import.
func SetImportAddress(tx *Txn, a ImportAddress) {
	DeleteImportAddress(tx, a.Ref) // it may have been for another one
	Set(tx, a)
	putImport(tx, a.Of)
}

// DeleteImportAddress forgets the addresses that an object has for an import, if it has any.
func DeleteImportAddress(tx *Txn, ref model.Ref) {
	w := to[ImportAddress](tx)
	id := refID(ref)
	if old, ok := w.rows.Get([]byte(id)); ok {
		w.remove(id)
		putImport(tx, old.Of)
	}
}

// putImport has what clusters have exported under a name be a host of the mesh, or ends that. The endpoints are those of the Services of
// that name in the clusters that export it.
func putImport(tx *Txn, k model.Key) {
	origin := model.Ref{Kind: model.ServiceImportKind, Key: k}
	services := to[model.Service](tx)
	exports := slices.DeleteFunc(to[model.ServiceExport](tx).by(ServiceExportsByKey, k.String()), func(e *model.ServiceExport) bool {
		return tx.apart(e.Ref.Cluster)
	})
	var chosen *model.Service
	if len(exports) > 0 {
		own := services.by(ServicesByOrigin, refID(model.Ref{Kind: "Service", Key: k}))
		chosen = imported(offers(exports, own, to[RemoteService](tx).by(RemoteServicesByKey, k.String())))
	}
	if chosen == nil {
		for _, old := range services.by(ServicesByOrigin, refID(origin)) {
			services.remove(serviceID(old))
		}
		return
	}
	chosen.Origin = origin
	for _, a := range to[ImportAddress](tx).by(ImportAddressesOf, k.String()) {
		if !chosen.Headless {
			chosen.VIPs = append(chosen.VIPs, a.VIPs...)
		}
	}
	services.set(chosen)
}

// imported gives the host that offers make, or nil.
func imported(list []model.Offer) *model.Service {
	merged, _ := model.MergeExports(list)
	if merged == nil {
		return nil
	}
	by := make(map[string]*model.Service)
	out := &model.Service{Resolution: model.ResolveSlices, Headless: merged.Headless, SessionAffinity: merged.Affinity, CreatedAt: merged.CreatedAt}
	for _, o := range list {
		if o.Check().Holds {
			by[o.Export.By] = o.Service
			out.Clusters = append(out.Clusters, o.Export.Ref.Cluster)
		}
	}
	first := by[merged.Clusters[0]]
	out.Key, out.Host = first.Key, model.ServiceImportHost(first.Key.Name, first.Key.Namespace)
	out.Proximity, out.PublishNotReady, out.ExportTo = first.Proximity, first.PublishNotReady, first.ExportTo
	out.LB, out.HashBalance, out.Outlier, out.Linkerd, out.Session = first.LB, first.HashBalance, first.Outlier, first.Linkerd, first.Session
	for _, p := range merged.Ports {
		for _, own := range by[p.By].Ports {
			if own.Name == p.Name && int32(own.Port) == p.Port { // the mesh leaves some of them out
				out.Ports = append(out.Ports, own)
			}
		}
	}
	return out
}

// offers pairs exports with the Services of their clusters.
func offers(exports []*model.ServiceExport, own []*model.Service, others []*RemoteService) []model.Offer {
	out := make([]model.Offer, 0, len(exports))
	for _, e := range exports {
		o := model.Offer{Export: e}
		if e.Ref.Cluster == "" && len(own) > 0 {
			o.Service = own[0]
		}
		for _, r := range others {
			if e.Ref.Cluster != "" && r.Origin.Cluster == e.Ref.Cluster {
				o.Service = &r.Service
			}
		}
		out = append(out, o)
	}
	return out
}

// Offers lists the exports of a name in all clusters that share their Services, with these.
func Offers(r *Reader, k model.Key) []model.Offer {
	exports := slices.DeleteFunc(By[model.ServiceExport](r, ServiceExportsByKey, k.String()), func(e *model.ServiceExport) bool {
		return IsApart(r, e.Ref.Cluster)
	})
	if len(exports) == 0 {
		return nil
	}
	own := ServicesOf(r, model.Ref{Kind: "Service", Key: k})
	return offers(exports, own, By[RemoteService](r, RemoteServicesByKey, k.String()))
}
