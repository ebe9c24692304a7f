package config

import (
	"net/netip"

	mcsv1beta1 "sigs.k8s.io/mcs-api/pkg/apis/v1beta1"

	"fairlead.dev/fairlead/internal/config/core"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/store"
)

// multiClusterVersions differ in their names only.
func multiClusterVersions() []string { return []string{"v1beta1", "v1alpha1"} }

// Exports of all clusters are read: what one of them offers is called in all others.
func serviceExport() Kind {
	return of(Kind{
		Name: model.ServiceExportKind, Group: multiCluster, Resource: "serviceexports", Versions: multiClusterVersions(), Scope: Namespaced,
		Form: Custom, Status: ExportConditions, OfClusters: true, Gauge: "fairlead_config_service_exports",
		Remove: store.DeleteServiceExport,
	}, func(in *mcsv1beta1.ServiceExport, at Place) Translation {
		by := at.Ref.Cluster
		if by == "" {
			by = at.ClusterID
		}
		e := core.ServiceExport(in, by)
		e.Ref.Cluster = at.Ref.Cluster
		return set(at, e, nil, store.SetServiceExport, store.DeleteServiceExport)
	}, func(in *mcsv1beta1.ServiceExport) { in.Status = mcsv1beta1.ServiceExportStatus{} })
}

// ServiceImports are written, by the control plane of each cluster, and not read: exports say everything.
func serviceImport() Kind {
	return of(Kind{
		Name: model.ServiceImportKind, Group: multiCluster, Resource: "serviceimports", Versions: multiClusterVersions(), Scope: Namespaced,
		Form: FilesOnly,
	}, func(_ *mcsv1beta1.ServiceImport, at Place) Translation {
		return Translation{Problems: warnings(at.Ref, "spec", []string{"control planes write ServiceImports, and read none: it has no effect; offer the Service with a ServiceExport"})}
	}, nil)
}

// importAddress is the translation of a Service that was made for an import: no host of its own, but the addresses of another one.
// Those of another cluster mean nothing here.
func importAddress(at Place, name string, addresses []netip.Prefix) Translation {
	return Translation{Commit: func(tx *store.Txn) {
		removeServices(tx, at.Ref)
		if at.Ref.Cluster == "" {
			store.SetImportAddress(tx, store.ImportAddress{Ref: at.Ref, Of: model.Key{Namespace: at.Ref.Namespace, Name: name}, VIPs: addresses})
		}
	}}
}
