package store

import (
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
)

// The tables of configuration, keyed by "Kind/namespace/name", and their indexes.
const (
	RouteSets                      Table = "route-sets"
	RouteSetsByHost                Table = "route-sets-by-host"
	RouteSetsOfPartial             Table = "route-sets-of-partial"    // "": all that have a wildcard inside a label among their hosts
	RouteSetsByNameAlone           Table = "route-sets-by-name-alone" // "": all VirtualServices that have a host which looks like none of a Service
	Policies                       Table = "policies"
	PoliciesByHost                 Table = "policies-by-host"
	PoliciesOfPartial              Table = "policies-of-partial"     // "": all for a wildcard inside a label
	PoliciesGivingSecrets          Table = "policies-giving-secrets" // a namespace: those that give its workloads what Secrets have
	PeerAuthentications            Table = "peer-authentications"
	PeerAuthenticationsInNamespace Table = "peer-authentications-in-namespace"
	WorkloadEntries                Table = "workload-entries"
	WorkloadEntriesInNamespace     Table = "workload-entries-in-namespace"
	HealthCheckPolicies            Table = "health-check-policies"
	HealthCheckPoliciesOf          Table = "health-check-policies-of" // "Kind/namespace/name" of a target
	HealthCheckPoliciesIn          Table = "health-check-policies-in" // a namespace
	Credentials                    Table = "credentials"
	RouteGroups                    Table = "route-groups"
	Telemetries                    Table = "telemetries"
	TelemetriesInNamespace         Table = "telemetries-in-namespace"
	Links                          Table = "links"
	ServiceExports                 Table = "service-exports"
	ServiceExportsByKey            Table = "service-exports-by-key" // "namespace/name", of all clusters
	ImportAddresses                Table = "import-addresses"
	ImportAddressesOf              Table = "import-addresses-of" // "namespace/name" of an import
)

// configuration lists the tables of what is known by the object that it was read from. What is listed can be used: by Set
// and Delete, and by Get, List and By.
func configuration() []tableState {
	return []tableState{
		objects(RouteSets, index[model.RouteSet]{
			table: RouteSetsByHost, ids: func(r *model.RouteSet) []string { return hostIDs(r.Hosts) },
		}, index[model.RouteSet]{table: RouteSetsByNameAlone, ids: routedByNameAlone}, index[model.RouteSet]{
			table: RouteSetsOfPartial, ids: func(r *model.RouteSet) []string { return ofPartial(r.Hosts...) }, part: func(r *model.RouteSet) any { return r.Hosts },
		}),
		objects(Policies, index[model.DestinationPolicy]{
			table: PoliciesByHost, ids: func(p *model.DestinationPolicy) []string { return []string{string(p.Host)} },
		}, index[model.DestinationPolicy]{table: PoliciesGivingSecrets, ids: givingSecrets}, index[model.DestinationPolicy]{
			table: PoliciesOfPartial, ids: func(p *model.DestinationPolicy) []string { return ofPartial(p.Host) }, part: func(p *model.DestinationPolicy) any { return p.Host },
		}),
		objects(PeerAuthentications, index[model.PeerAuthentication]{
			table: PeerAuthenticationsInNamespace, ids: func(p *model.PeerAuthentication) []string { return []string{p.Ref.Namespace} },
		}),
		objects(WorkloadEntries, index[model.WorkloadEntry]{
			table: WorkloadEntriesInNamespace, ids: func(w *model.WorkloadEntry) []string { return []string{w.Ref.Namespace} },
		}),
		objects(HealthCheckPolicies, index[model.HealthCheckPolicy]{table: HealthCheckPoliciesOf, ids: targetIDs}, index[model.HealthCheckPolicy]{
			table: HealthCheckPoliciesIn, ids: func(p *model.HealthCheckPolicy) []string { return []string{p.Ref.Namespace} },
		}),
		objects[model.Credential](Credentials),
		objects[model.RouteGroup](RouteGroups),
		objects(Telemetries, index[model.Telemetry]{
			table: TelemetriesInNamespace, ids: func(t *model.Telemetry) []string { return []string{t.Ref.Namespace} },
		}),
		objects[model.Link](Links),
		objects(ServiceExports, index[model.ServiceExport]{
			table: ServiceExportsByKey, ids: func(e *model.ServiceExport) []string { return []string{e.Ref.Key.String()} },
		}),
		objects(ImportAddresses, index[ImportAddress]{
			table: ImportAddressesOf, ids: func(a *ImportAddress) []string { return []string{a.Of.String()} },
		}),
	}
}

// Object is a pointer to a value that one object of the configuration became.
type Object[T any] interface {
	*T
	// Reference names that object.
	Reference() model.Ref
}

func objects[T any, P Object[T]](name Table, indexes ...index[T]) tableState { //nolint:ireturn // of whatever type
	return define(schema[T]{table: name, id: func(v *T) string { return refID(P(v).Reference()) }, indexes: indexes})
}

// Set adds what an object says, or replaces it.
func Set[T any, P Object[T]](tx *Txn, v T) { to[T](tx).set(&v) }

// SetCredential is Set for what a Secret has: one that cannot be used does not replace one that can.
func SetCredential(tx *Txn, c model.Credential) {
	if old, ok := to[model.Credential](tx).rows.Get([]byte(refID(c.Ref))); ok && old.Broken == "" && c.Broken != "" {
		return
	}
	Set(tx, c)
}

// Delete removes what an object says, if it is there.
func Delete[T any, P Object[T]](tx *Txn, ref model.Ref) { to[T](tx).remove(refID(ref)) }

// Get gives what an object says, or nil.
func Get[T any, P Object[T]](r *Reader, ref model.Ref) *T { return row[T](r, refID(ref)) }

func refID(r model.Ref) string { return r.Kind + "/" + r.InCluster().String() }

// RouteSetsByHost lists the route sets that name exactly this host, or exactly this wildcard.
func (r *Reader) RouteSetsByHost(h model.Hostname) []*model.RouteSet {
	return By[model.RouteSet](r, RouteSetsByHost, string(h))
}

// RouteSetsByNameAlone lists the VirtualServices that have a host which looks like none of a Service: most have none.
func (r *Reader) RouteSetsByNameAlone() []*model.RouteSet {
	return By[model.RouteSet](r, RouteSetsByNameAlone, All)
}

func routedByNameAlone(r *model.RouteSet) []string {
	if r.Ref.Kind != "VirtualService" || !slices.ContainsFunc(r.Hosts, func(h model.Hostname) bool {
		return strings.Contains(string(h), ".") && !strings.Contains(string(h)+".", ".svc.")
	}) {
		return nil
	}
	return []string{All}
}

// PoliciesByHost lists the policies for exactly this host, or exactly this wildcard.
func (r *Reader) PoliciesByHost(h model.Hostname) []*model.DestinationPolicy {
	return By[model.DestinationPolicy](r, PoliciesByHost, string(h))
}

// PartialWildcards lists the wildcards inside a label that the rows of an index of such have, for no look-up by a host finds them:
// [ServicesOfPartial], [RouteSetsOfPartial] or [PoliciesOfPartial]. They are few, or none.
func PartialWildcards(r *Reader, index Table) []model.Hostname {
	var out []model.Hostname
	switch index { //nolint:exhaustive // the other tables are no index of such
	case ServicesOfPartial:
		for _, s := range By[model.Service](r, index, All) {
			out = append(out, s.Host)
		}
	case RouteSetsOfPartial:
		for _, rs := range By[model.RouteSet](r, index, All) {
			out = append(out, rs.Hosts...)
		}
	case PoliciesOfPartial:
		for _, p := range By[model.DestinationPolicy](r, index, All) {
			out = append(out, p.Host)
		}
	}
	return slices.DeleteFunc(out, func(h model.Hostname) bool { return !h.Partial() })
}

func ofPartial(hosts ...model.Hostname) []string {
	if slices.ContainsFunc(hosts, model.Hostname.Partial) {
		return []string{All}
	}
	return nil
}

func givingSecrets(p *model.DestinationPolicy) []string {
	if keys, roots := p.Gives(); len(keys)+len(roots) == 0 {
		return nil
	}
	return []string{p.Ref.Namespace}
}

// WorkloadEntriesInNamespace lists those of a namespace.
func (r *Reader) WorkloadEntriesInNamespace(namespace string) []*model.WorkloadEntry {
	return By[model.WorkloadEntry](r, WorkloadEntriesInNamespace, namespace)
}

// PeerAuthenticationsInNamespace lists the peer authentication policies of a namespace.
func (r *Reader) PeerAuthenticationsInNamespace(namespace string) []*model.PeerAuthentication {
	return By[model.PeerAuthentication](r, PeerAuthenticationsInNamespace, namespace)
}

func targetIDs(p *model.HealthCheckPolicy) []string {
	out := make([]string, 0, len(p.Targets))
	for _, t := range p.Targets {
		out = append(out, refID(t.Ref))
	}
	return unique(out)
}

// HealthChecksOf lists the health check policies that are attached to an object.
func HealthChecksOf(r *Reader, target model.Ref) []*model.HealthCheckPolicy {
	return By[model.HealthCheckPolicy](r, HealthCheckPoliciesOf, refID(target))
}
