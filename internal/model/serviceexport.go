package model

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ClusterSetDomain is the suffix of the names by which Services are called that clusters have exported.
const ClusterSetDomain = "clusterset.local"

// Kinds of the Multi-Cluster Services API.
const (
	ServiceExportKind = "ServiceExport"
	ServiceImportKind = "ServiceImport"
)

// ServiceExport says that a cluster offers its Service of the same name to all clusters of the mesh.
type ServiceExport struct {
	Ref Ref
	// By is the name of the cluster, also that of the control plane's own: clusters that are told apart by their names come to
	// the same everywhere.
	By        string
	CreatedAt time.Time
	// Labels and Annotations are for the imports.
	Labels, Annotations map[string]string
}

// Reference names the object.
func (e *ServiceExport) Reference() Ref { return e.Ref }

// ServiceFacts is what an import repeats of a Service as it is written, and the mesh itself reads in another way or not at all.
type ServiceFacts struct {
	Ports []PortFacts
	// AffinityTimeout is that of the session affinity, in seconds; 0 where there is none.
	AffinityTimeout int32
	// OnlySameNode is internalTrafficPolicy Local.
	OnlySameNode bool
	Distribution string
}

// PortFacts is a port of a Service as it is written. Protocol is TCP, UDP or SCTP.
type PortFacts struct {
	Name, Protocol, AppProtocol string
	Port                        int32
}

// Offer is an export, and the Service that it offers; nil where its cluster has none of the name.
type Offer struct {
	Export  *ServiceExport
	Service *Service
}

// ServiceImport is what the exports of one name come to, the same in every cluster.
type ServiceImport struct {
	// Clusters are those that export the Service, the one whose word counts first.
	Clusters []string
	Headless bool
	// Ports are those of all clusters.
	Ports []ImportPort
	// Affinity, AffinityTimeout, OnlySameNode and Distribution are as in Service and ServiceFacts.
	Affinity            bool
	AffinityTimeout     int32
	OnlySameNode        bool
	Distribution        string
	Labels, Annotations map[string]string
	CreatedAt           time.Time
}

// ImportPort is a port of an import, and the cluster whose word counts for it.
type ImportPort struct {
	PortFacts

	By string
}

// Reasons of the conditions of a ServiceExport, as the API has them.
const (
	ExportValid        = "Valid"
	ExportNoService    = "NoService"
	ExportInvalidType  = "InvalidServiceType"
	ExportReady        = "Ready"
	ExportPending      = "Pending"
	ExportNoConflicts  = "NoConflicts"
	conflictPorts      = "PortConflict"
	conflictType       = "TypeConflict"
	conflictAffinity   = "SessionAffinityConflict"
	conflictTimeout    = "SessionAffinityConfigConflict"
	conflictPolicy     = "InternalTrafficPolicyConflict"
	conflictDistribute = "TrafficDistributionConflict"
	conflictLabels     = "LabelsConflict"
	conflictAnnotation = "AnnotationsConflict"
)

// ExportConflict is something in which exports of one name do not agree.
type ExportConflict struct {
	Reason string
	// By is the cluster whose word does not count.
	By string
	// Field is one of the Service, but for labels and annotations: those are of the export.
	Field, Message string
}

// Check says whether an export can be obeyed.
func (o Offer) Check() Condition {
	switch {
	case o.Service == nil:
		return Condition{Reason: ExportNoService, Message: fmt.Sprintf("there is no Service %s", o.Export.Ref.Key)}
	case o.Service.ExternalName != "":
		return Condition{Reason: ExportInvalidType, Message: "a Service of type ExternalName cannot be exported: it names a host and has no endpoints"}
	}
	return Condition{Holds: true, Reason: ExportValid, Message: "the Service is offered to all clusters"}
}

// MergeExports puts the exports of one name together. Ports are those of all clusters; of what cannot be put together that counts
// what the oldest export says, of two of one age that of the cluster whose name is first. It gives nil where no export is
// valid, and what the others say otherwise. It depends on nothing but the set of offers.
func MergeExports(offers []Offer) (*ServiceImport, []ExportConflict) {
	valid := slices.DeleteFunc(slices.Clone(offers), func(o Offer) bool { return !o.Check().Holds })
	if len(valid) == 0 {
		return nil, nil
	}
	slices.SortFunc(valid, func(a, b Offer) int {
		return cmp.Or(a.Export.CreatedAt.Compare(b.Export.CreatedAt), cmp.Compare(a.Export.By, b.Export.By))
	})
	first := valid[0]
	m := merging{first: first, ages: make(map[string]time.Time, len(valid)), out: &ServiceImport{
		Headless: first.Service.Headless, Affinity: first.Service.SessionAffinity && !first.Service.Headless,
		OnlySameNode: first.Service.Facts.OnlySameNode, Distribution: first.Service.Facts.Distribution,
		Labels: maps.Clone(first.Export.Labels), Annotations: maps.Clone(first.Export.Annotations), CreatedAt: first.Export.CreatedAt,
	}}
	if m.out.Affinity {
		m.out.AffinityTimeout = first.Service.Facts.AffinityTimeout
	}
	for _, o := range valid {
		m.out.Clusters = append(m.out.Clusters, o.Export.By)
		m.ages[o.Export.By] = o.Export.CreatedAt
		m.compare(o)
		m.ports(o)
	}
	return m.out, m.conflicts
}

// merging is a merge under way.
type merging struct {
	first     Offer
	ages      map[string]time.Time // of the exports, by their clusters
	out       *ServiceImport
	conflicts []ExportConflict
}

// conflict notes that what an offer says of a field is not what counts.
func (m *merging) conflict(o Offer, reason, field, says, counts string) {
	m.conflicts = append(m.conflicts, ExportConflict{
		Reason: reason, By: o.Export.By, Field: field,
		Message: fmt.Sprintf("%s says %s, and %s says %s: the latter counts, %s", o.Export.By, says, m.first.Export.By, counts, m.why(o, m.first.Export.By)),
	})
}

// why says why the word of a cluster counts, and not that of an offer.
func (m *merging) why(o Offer, counts string) string {
	if at := m.ages[counts]; at.Before(o.Export.CreatedAt) {
		return "its export is older"
	}
	return "its name is first of two exports of one age"
}

// compare notes in what an offer differs from the first, but for ports.
func (m *merging) compare(o Offer) {
	mine, first := o.Service, m.first.Service
	same := func(reason, field, says, counts string) {
		if says != counts {
			m.conflict(o, reason, field, says, counts)
		}
	}
	same(conflictType, "spec.clusterIP", headlessWord(mine), headlessWord(first))
	if mine.Headless || first.Headless { // the rest says how an address is served
		m.sameMaps(o)
		return
	}
	same(conflictAffinity, "spec.sessionAffinity", affinityWord(mine), affinityWord(first))
	if mine.SessionAffinity && first.SessionAffinity {
		same(conflictTimeout, "spec.sessionAffinityConfig", seconds(mine), seconds(first))
	}
	same(conflictPolicy, "spec.internalTrafficPolicy", policyWord(mine), policyWord(first))
	same(conflictDistribute, "spec.trafficDistribution", cmp.Or(mine.Facts.Distribution, "none"), cmp.Or(first.Facts.Distribution, "none"))
	m.sameMaps(o)
}

func (m *merging) sameMaps(o Offer) {
	if !maps.Equal(o.Export.Labels, m.first.Export.Labels) {
		m.conflict(o, conflictLabels, "spec.exportedLabels", pairs(o.Export.Labels), pairs(m.first.Export.Labels))
	}
	if !maps.Equal(o.Export.Annotations, m.first.Export.Annotations) {
		m.conflict(o, conflictAnnotation, "spec.exportedAnnotations", pairs(o.Export.Annotations), pairs(m.first.Export.Annotations))
	}
}

// ports adds the ports of an offer that no older one has, and notes those that do not fit.
func (m *merging) ports(o Offer) {
	for i, p := range o.Service.Facts.Ports {
		at := slices.IndexFunc(m.out.Ports, func(q ImportPort) bool {
			return q.Name == p.Name || q.Port == p.Port && q.Protocol == p.Protocol
		})
		if at < 0 {
			m.out.Ports = append(m.out.Ports, ImportPort{PortFacts: p, By: o.Export.By})
			continue
		}
		if q := m.out.Ports[at]; q.PortFacts != p {
			m.conflicts = append(m.conflicts, ExportConflict{
				Reason: conflictPorts, By: o.Export.By, Field: fmt.Sprintf("spec.ports[%d]", i),
				Message: fmt.Sprintf("%s has port %s, and %s has port %s: the latter counts, %s", o.Export.By, p, q.By, q.PortFacts, m.why(o, q.By)),
			})
		}
	}
}

// String gives a port as messages have it: "http 80/TCP (h2c)".
func (p PortFacts) String() string {
	out := strings.TrimSpace(fmt.Sprintf("%s %d/%s", p.Name, p.Port, p.Protocol))
	if p.AppProtocol != "" {
		out += " (" + p.AppProtocol + ")"
	}
	return out
}

func headlessWord(s *Service) string {
	if s.Headless {
		return "headless"
	}
	return "not headless"
}

func affinityWord(s *Service) string {
	if s.SessionAffinity {
		return "ClientIP"
	}
	return "None"
}

func seconds(s *Service) string { return fmt.Sprintf("%d seconds", s.Facts.AffinityTimeout) }

func policyWord(s *Service) string {
	if s.Facts.OnlySameNode {
		return "Local"
	}
	return "Cluster"
}

// pairs writes a map in one order, and no more of it than a person reads.
func pairs(m map[string]string) string {
	const most = 5
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if len(out) == most {
			out = append(out, "…")
			break
		}
		out = append(out, k+"="+m[k])
	}
	return cmp.Or(strings.Join(out, ","), "none")
}

// Conflict is the condition that all exports of a name have where they do not agree: every owner can do something about it.
func Conflict(list []ExportConflict) Condition {
	if len(list) == 0 {
		return Condition{Reason: ExportNoConflicts, Message: "the exports of all clusters agree"}
	}
	const most = 4
	var reasons, messages []string
	for i, c := range list {
		if !slices.Contains(reasons, c.Reason) {
			reasons = append(reasons, c.Reason)
		}
		if i < most {
			messages = append(messages, c.Field+": "+c.Message)
		}
	}
	if more := len(list) - most; more > 0 {
		messages = append(messages, fmt.Sprintf("and %d more", more))
	}
	return Condition{Holds: true, Reason: strings.Join(reasons, ","), Message: strings.Join(messages, "; ")}
}

// ServiceImportHost is the name by which a Service is called that clusters have exported.
func ServiceImportHost(service, namespace string) Hostname {
	return ServiceHost(service, namespace, ClusterSetDomain)
}
