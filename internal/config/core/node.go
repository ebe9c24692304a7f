package core

import (
	"cmp"
	"maps"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
)

// subZoneLabel is Istio's; Kubernetes has none below the zone.
const subZoneLabel = "topology.istio.io/subzone"

// Node translates a Node. There is nothing in one that can be wrong.
func Node(in *corev1.Node) *model.Node {
	return &model.Node{Name: in.Name, Locality: model.Locality{
		Region:  cmp.Or(in.Labels[corev1.LabelTopologyRegion], in.Labels[corev1.LabelFailureDomainBetaRegion]),
		Zone:    cmp.Or(in.Labels[corev1.LabelTopologyZone], in.Labels[corev1.LabelFailureDomainBetaZone]),
		SubZone: in.Labels[subZoneLabel],
	}, Network: in.Labels[model.LabelNetwork]}
}

// Namespace translates a Namespace. There is nothing in one that can be wrong.
func Namespace(in *corev1.Namespace) *model.Namespace {
	return &model.Namespace{Name: in.Name, Labels: maps.Clone(in.Labels), Annotations: meshAnnotations(in.Annotations)}
}
