package store

import (
	"cmp"
	"slices"

	"fairlead.dev/fairlead/internal/model"
)

// The table of the Services that other clusters have. One of a name is a host of the mesh, in the table of services, where the
// control plane's own cluster has none of that name (ADR 0029). A row's ID is "cluster/namespace/name".
const (
	RemoteServices      Table = "remote-services"
	RemoteServicesByKey Table = "remote-services-by-key" // "namespace/name"
	RemoteGateways      Table = "remote-gateways"        // "": all by which a network is called from others
	// RemoteServicesOfCluster is by the name of a cluster.
	RemoteServicesOfCluster Table = "remote-services-of-cluster"
)

// RemoteService is a Service as another cluster has it, with what mirrors of it are made of.
type RemoteService struct {
	model.Service
	Labels, Annotations map[string]string
}

func remoteServices() tableState { //nolint:ireturn // of whatever type
	return define(schema[RemoteService]{
		table: RemoteServices, id: func(s *RemoteService) string { return s.Origin.InCluster().String() },
		indexes: []index[RemoteService]{
			{table: RemoteServicesByKey, ids: func(s *RemoteService) []string { return []string{s.Key.String()} }},
			{table: RemoteGateways, ids: func(s *RemoteService) []string { return ofGateway(&s.Service) }},
			{table: RemoteServicesOfCluster, ids: func(s *RemoteService) []string { return []string{s.Origin.Cluster} }},
		},
	})
}

// SetRemoteService puts what another cluster has in place of what it had before.
func (tx *Txn) SetRemoteService(s RemoteService) {
	to[RemoteService](tx).set(&s)
	tx.adopt(s.Key)
}

// setRemoteService is SetRemoteService without labels; none removes what the cluster had.
func (tx *Txn) setRemoteService(origin model.Ref, defined []model.Service) {
	if len(defined) == 0 {
		to[RemoteService](tx).remove(origin.InCluster().String())
		tx.adopt(origin.Key)
	}
	for _, s := range defined {
		s.Origin = origin
		tx.SetRemoteService(RemoteService{Service: s})
	}
}

// adopt makes the Service of another cluster a host of the mesh where the control plane's own cluster has none of the name, and
// ends that where it has.
func (tx *Txn) adopt(k model.Key) {
	services := to[model.Service](tx)
	chosen := tx.adopted(k)
	for _, old := range services.by(ServicesByKey, k.String()) {
		if old.Origin.Cluster != "" && (chosen == nil || old.Origin != chosen.Origin) {
			services.remove(serviceID(old))
		}
	}
	if chosen != nil {
		services.set(chosen)
	}
	putImport(tx, k)
}

// adopted gives the Service of another cluster that is a host of the mesh: the oldest, then that of the cluster whose name is
// first. Its own addresses mean nothing here, where another Service may have them, so that it gets an automatic one. One that
// is a name for another host is that in its own cluster only, and so is a mirror, and a gateway of a network nobody calls by name.
func (tx *Txn) adopted(k model.Key) *model.Service {
	origin := model.Ref{Kind: "Service", Key: k}
	if len(to[model.Service](tx).by(ServicesByOrigin, refID(origin))) > 0 {
		return nil
	}
	rows := slices.DeleteFunc(to[RemoteService](tx).by(RemoteServicesByKey, k.String()), func(s *RemoteService) bool {
		return s.ExternalName != "" || s.Gateway != nil || s.Mirror != nil || tx.apart(s.Origin.Cluster)
	})
	if len(rows) == 0 {
		return nil
	}
	out := slices.MinFunc(rows, func(a, b *RemoteService) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Origin.Cluster, b.Origin.Cluster))
	}).Service
	out.VIPs = nil
	return &out
}

// RemoteServicesByName lists the Services of a name that other clusters have.
func RemoteServicesByName(r *Reader, k model.Key) []*RemoteService {
	return By[RemoteService](r, RemoteServicesByKey, k.String())
}
