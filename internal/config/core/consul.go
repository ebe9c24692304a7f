package core

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/model"
)

// Bounds of the tags that a Service has in the catalog of a Consul.
const (
	maxConsulTags = 16
	maxConsulTag  = 64
)

// consulName is what Consul's DNS can answer for.
var consulName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// consulEntry reads the annotations of consul-k8s; nil for a Service that is not to be in Consul's catalog. What is wrong with one
// keeps the Service out of it rather than in it by another name.
func consulEntry(r *model.Report, in *corev1.Service) *model.ConsulEntry {
	written := in.Annotations[model.ConsulSyncAnnotation]
	wanted, err := strconv.ParseBool(strings.TrimSpace(written))
	if err != nil && written != "" {
		notInConsul(r, model.ConsulSyncAnnotation, fmt.Sprintf("%.100q is neither true nor false", written), `write "true"`)
	}
	if !wanted {
		return nil
	}
	if in.Spec.Type == corev1.ServiceTypeExternalName {
		notInConsul(r, model.ConsulSyncAnnotation, "a Service of type ExternalName has no pods", "register the other host in Consul by itself")
		return nil
	}
	// The namespace is part of the name, as with consul-k8s unless it is told otherwise.
	out := &model.ConsulEntry{Name: in.Name + "-" + in.Namespace}
	fix := "annotate it with " + model.ConsulNameAnnotation
	if name, ok := in.Annotations[model.ConsulNameAnnotation]; ok {
		out.Name, fix = strings.TrimSpace(name), "write small letters, digits and dashes, 63 at most"
	}
	switch {
	case !consulName.MatchString(out.Name):
		notInConsul(r, model.ConsulNameAnnotation, fmt.Sprintf("%.100q is no name for Consul's DNS", out.Name), fix)
		return nil
	case out.Name == "consul":
		notInConsul(r, model.ConsulNameAnnotation, `"consul" is the service of Consul's own servers`, "write another name")
		return nil
	}
	if !consulPort(r, in, out) {
		return nil
	}
	out.Tags = consulTags(r, in.Annotations[model.ConsulTagsAnnotation])
	return out
}

// consulPort reads which port is registered: the name of one of the Service's, or the number of one of its pods.
func consulPort(r *model.Report, in *corev1.Service, out *model.ConsulEntry) bool {
	written := strings.TrimSpace(in.Annotations[model.ConsulPortAnnotation])
	tcp := func(p corev1.ServicePort) bool { return p.Protocol == corev1.ProtocolTCP || p.Protocol == "" }
	named := func(p corev1.ServicePort) bool { return p.Name == written && tcp(p) }
	number, err := strconv.ParseUint(written, 10, 16)
	switch {
	case written != "" && slices.ContainsFunc(in.Spec.Ports, named):
		out.PortName = written
	case err == nil && number > 0:
		out.Port = uint16(number)
	case written != "":
		notInConsul(r, model.ConsulPortAnnotation, fmt.Sprintf("%.100q is neither a TCP port of the Service nor a number", written), "write the name of a port")
		return false
	default:
		first := slices.IndexFunc(in.Spec.Ports, tcp)
		if first < 0 {
			notInConsul(r, "", "it has no TCP port", "name a port in "+model.ConsulPortAnnotation)
			return false
		}
		out.PortName = in.Spec.Ports[first].Name
	}
	return true
}

// consulTags reads tags, separated by commas.
func consulTags(r *model.Report, written string) (tags []string) {
	for tag := range strings.SplitSeq(written, ",") {
		tag = strings.TrimSpace(tag)
		switch {
		case tag == "" || slices.Contains(tags, tag):
		case len(tag) > maxConsulTag || len(tags) == maxConsulTags:
			r.Warn("metadata.annotations["+model.ConsulTagsAnnotation+"]",
				fmt.Sprintf("tag %.40q is left out: there may be %d of %d characters", tag, maxConsulTags, maxConsulTag), "write fewer or shorter ones")
			return tags
		default:
			tags = append(tags, tag)
		}
	}
	return tags
}

func notInConsul(r *model.Report, annotation, message, fix string) {
	field := "spec.ports"
	if annotation != "" {
		field = "metadata.annotations[" + annotation + "]"
	}
	r.Warn(field, message+": it is not in Consul's catalog", fix)
}
