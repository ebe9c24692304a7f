package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
)

// maxMirrorSources bounds how many clusters a union names.
const maxMirrorSources = 101

// mirror reads of a Service that its endpoints are those of Services of other clusters, as Linkerd writes it; nil for others.
func mirror(r *model.Report, in *corev1.Service, clusterDomain string) *model.MirrorOf {
	union, home := in.Annotations[model.RemoteDiscoveryKey], in.Annotations[model.LocalDiscovery]
	if union != "" || home != "" {
		return unionOf(r, in, clusterDomain)
	}
	if cluster := in.Labels[model.RemoteDiscoveryKey]; cluster != "" {
		name := in.Labels[model.RemoteServiceLabel]
		if name == "" {
			r.Warn("metadata.labels["+model.RemoteServiceLabel+"]", "missing: it is not known which Service of cluster "+cluster+" is meant", "the name of a Service")
			return nil
		}
		from := source(in, cluster, name, clusterDomain)
		from.Pod, _ = podOf(in)
		return &model.MirrorOf{Cluster: cluster, Sources: []model.MirrorSource{from}}
	}
	cluster := in.Labels[model.MirrorClusterLabel]
	pod, host := podOf(in)
	if in.Labels[model.MirroredLabel] != "true" || cluster == "" || host == "" {
		return nil
	}
	name, rest, _ := strings.Cut(string(host), ".")
	if namespace, _, _ := strings.Cut(rest, "."); namespace != in.Namespace {
		r.Warn("metadata.annotations["+model.MirroredName+"]", fmt.Sprintf("%#q is no Service of namespace %s", in.Annotations[model.MirroredName], in.Namespace),
			"the full name of a Service of the same namespace of the other cluster")
		return nil
	}
	return &model.MirrorOf{Cluster: cluster, ByGateway: true, Sources: []model.MirrorSource{{Cluster: cluster, Name: name, Host: host, Pod: pod}}}
}

// podOf reads what a mirror is of: a Service, by its full name, or with the label of mirrors of pods one pod of a headless one, by its hostname.
func podOf(in *corev1.Service) (pod string, host model.Hostname) {
	host = model.CanonicalHost(in.Annotations[model.MirroredName])
	if in.Labels[model.MirroredHeadlessLabel] == "" {
		return "", host
	}
	pod, rest, _ := strings.Cut(string(host), ".")
	return pod, model.Hostname(rest)
}

// unionOf reads which Services a union consists of: "name@cluster" with commas, and the name of one of the own cluster.
func unionOf(r *model.Report, in *corev1.Service, clusterDomain string) *model.MirrorOf {
	out := &model.MirrorOf{}
	if home := in.Annotations[model.LocalDiscovery]; home != "" {
		out.Sources = append(out.Sources, source(in, "", home, clusterDomain))
	}
	for item := range strings.SplitSeq(in.Annotations[model.RemoteDiscoveryKey], ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, cluster, _ := strings.Cut(item, "@")
		if name == "" || cluster == "" || len(out.Sources) == maxMirrorSources {
			r.Warn("metadata.annotations["+model.RemoteDiscoveryKey+"]", fmt.Sprintf("%#q is left out", item), fmt.Sprintf("SERVICE@CLUSTER, at most %d", maxMirrorSources-1))
			continue
		}
		out.Sources = append(out.Sources, source(in, cluster, name, clusterDomain))
	}
	slices.SortFunc(out.Sources, model.MirrorSource.Compare)
	out.Sources = slices.Compact(out.Sources)
	return out
}

func source(in *corev1.Service, cluster, name, clusterDomain string) model.MirrorSource {
	return model.MirrorSource{Cluster: cluster, Name: name, Host: model.ServiceHost(name, in.Namespace, clusterDomain)}
}
