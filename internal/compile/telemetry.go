package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
	"fairlead.dev/fairlead/internal/store"
)

// telemetries are the Telemetry objects. Who looks makes no difference.
type telemetries struct{ snapshot }

// of gives what a workload's sidecar records by the Telemetry objects that are for it, nil where there are none.
func (m telemetries) of(w *model.Workload) *plan.Telemetry {
	levels := m.levels(w)
	if len(levels) == 0 && len(m.g.LogDefault) == 0 {
		return nil
	}
	out := &plan.Telemetry{Client: m.recording(w, levels, model.ClientOnly), Server: m.recording(w, levels, model.ServerOnly)}
	for _, t := range levels {
		out.Origins = append(out.Origins, t.Ref.String())
	}
	return out
}

// levels lists the objects for a workload, the widest first, as Istio has it (pilot/pkg/model/telemetry.go): the root
// namespace's, its namespace's, and one that selects it; at each level the oldest counts alone.
func (m telemetries) levels(w *model.Workload) []*model.Telemetry {
	var out []*model.Telemetry
	if t := m.ofMesh(); t != nil {
		out = append(out, t)
	}
	own := m.in(w.Key.Namespace)
	if !slices.Contains(m.roots(), w.Key.Namespace) {
		if i := slices.IndexFunc(own, (*model.Telemetry).IsForAll); i >= 0 {
			out = append(out, own[i])
		}
	}
	if i := slices.IndexFunc(own, func(t *model.Telemetry) bool { return isSelected(t, w) }); i >= 0 {
		out = append(out, own[i])
	}
	return out
}

func isSelected(t *model.Telemetry, w *model.Workload) bool {
	return len(t.Selector) > 0 && selects(t.Selector, w.Labels)
}

// ofMesh gives the object for the whole mesh, or nil.
func (m telemetries) ofMesh() *model.Telemetry {
	for _, root := range m.roots() {
		all := m.in(root)
		if i := slices.IndexFunc(all, (*model.Telemetry).IsForAll); i >= 0 {
			return all[i]
		}
	}
	return nil
}

// roots lists where objects for the whole mesh may be; the first that has one decides.
func (m telemetries) roots() []string { return peerPolicies(m).rootNamespaces() }

// in lists the objects of a namespace, oldest first.
func (m telemetries) in(namespace string) []*model.Telemetry {
	out := store.By[model.Telemetry](m.r, store.TelemetriesInNamespace, namespace)
	slices.SortFunc(out, olderTelemetry)
	return out
}

func olderTelemetry(a, b *model.Telemetry) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), a.Ref.Compare(b.Ref.Key))
}

// recording is what levels say of the calls of one side.
func (m telemetries) recording(w *model.Workload, levels []*model.Telemetry, side model.WorkloadMode) plan.Recording {
	defaults := []string{plan.StandardOutput}
	if len(m.g.LogDefault) > 0 {
		defaults = lowered(m.g.LogDefault)
	}
	said, rules := accessLogs(levels, side, defaults)
	out := plan.Recording{LogsSaid: said}
	if !said && len(m.g.LogDefault) > 0 {
		out.LogsSaid = true
		for _, name := range defaults {
			rules = append(rules, namedRule{name, &model.AccessLogging{}})
		}
	}
	for _, r := range rules {
		if l, ok := m.accessLog(w, r); ok && !r.rule.Disabled {
			out.Logs = append(out.Logs, l)
		}
	}
	out.Metrics = metricRules(levels, side)
	return out
}

// namedRule is the rule in force about a provider.
type namedRule struct {
	provider string
	rule     *model.AccessLogging
}

// accessLogs merges the rules about access logs as Istio's mergeLogs does: the narrowest level that names providers says which
// there are; of several rules for one of them the last counts, and one without providers is for those of the rule before it, at
// first for the mesh's defaults.
// said is false where no rule is there, so that the mesh's switch decides.
func accessLogs(levels []*model.Telemetry, side model.WorkloadMode, defaults []string) (said bool, logs []namedRule) {
	inScope := defaults
	for _, t := range levels {
		said = said || len(t.AccessLogging) > 0
		if names := namesOf(t.AccessLogging, side); len(names) > 0 {
			inScope = names
		}
	}
	current := defaults
	for _, t := range levels {
		for i := range t.AccessLogging {
			rule := &t.AccessLogging[i]
			if len(rule.Providers) > 0 {
				current = providerNames(rule)
			}
			if !rule.Mode.Covers(side) {
				continue
			}
			for _, name := range current {
				if slices.Contains(inScope, name) {
					logs = slices.DeleteFunc(logs, func(r namedRule) bool { return r.provider == name })
					logs = append(logs, namedRule{name, rule})
				}
			}
		}
	}
	return said, logs
}

// accessLog is what a rule has logged, ok unless its provider is not there.
func (m telemetries) accessLog(w *model.Workload, r namedRule) (_ plan.AccessLog, ok bool) {
	out := plan.AccessLog{Provider: r.provider, Filter: r.rule.Filter, FilterText: r.rule.FilterText}
	p := m.logProvider(r.provider)
	if p == nil {
		return out, r.provider == plan.StandardOutput
	}
	out.Format = p.Format
	if p.Collector != nil {
		own := tracings(m).reached(w, p.Collector)
		out.Collector = &own
	}
	return out, true
}

// logProvider finds a provider of the mesh by its name, in whichever case; nil where there is none.
func (m telemetries) logProvider(name string) *model.LogProvider {
	for i := range m.g.LogProviders {
		if strings.EqualFold(m.g.LogProviders[i].Name, name) {
			return &m.g.LogProviders[i]
		}
	}
	return nil
}

func lowered(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strings.ToLower(name)
	}
	return out
}

func namesOf(rules []model.AccessLogging, side model.WorkloadMode) (names []string) {
	for i := range rules {
		if rules[i].Mode.Covers(side) {
			names = append(names, providerNames(&rules[i])...)
		}
	}
	return names
}

// providerNames are in lower case: Istio compares them so.
func providerNames(rule *model.AccessLogging) []string {
	out := make([]string, 0, len(rule.Providers))
	for _, p := range rule.Providers {
		out = append(out, strings.ToLower(p.Name))
	}
	return out
}

// idleTelemetries reports Telemetry objects that have no effect, as a whole or for a provider that is not there.
func idleTelemetries(c *checker, all []*model.Telemetry) {
	m := telemetries{c.snapshot}
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, olderTelemetry)
	forAll := make(map[string]*model.Telemetry)
	for _, t := range sorted {
		namespace := t.Ref.Namespace
		switch first := forAll[namespace]; {
		case t.Attached: // said when it was read
		case t.IsForAll() && first != nil:
			c.warn(t.Ref, "spec", fmt.Sprintf("no effect: %s is for the same workloads, and older", first.Ref), "remove one of them, or add spec.selector")
		case t.IsForAll():
			forAll[namespace] = t
		default:
			idleSelector(c, m, t)
		}
		missingProviders(c, t)
	}
	noCollector(c, sorted)
	ours, istios := forAll[c.rootNamespace()], forAll[istioRootNamespace]
	if ours != nil && istios != nil && ours != istios {
		c.warn(istios.Ref, "spec", fmt.Sprintf("no effect: %s is for the whole mesh too, and goes first", ours.Ref), "remove one of them")
	}
}

// idleSelector reports a selector that selects nothing, or only what an older object selects.
func idleSelector(c *checker, m telemetries, t *model.Telemetry) {
	const field = "spec.selector.matchLabels"
	pods := c.r.WorkloadsInNamespace(t.Ref.Namespace)
	var hiding *model.Telemetry
	for _, k := range pods {
		w := c.r.Workload(k)
		if w == nil || !isSelected(t, w) {
			continue
		}
		levels := m.levels(w)
		if last := levels[len(levels)-1]; last.Ref != t.Ref {
			hiding = last
			continue
		}
		return
	}
	switch {
	case hiding != nil:
		c.warn(t.Ref, field, fmt.Sprintf("no effect: %s selects the same pods, and is older", hiding.Ref), "remove one of them, or narrow the selector")
	case len(pods) > 0:
		c.warn(t.Ref, field, fmt.Sprintf("selects none of the %d pods of namespace %s", len(pods), t.Ref.Namespace), "")
	}
}

// missingProviders reports names that no provider of the mesh has: nothing goes there.
func missingProviders(c *checker, t *model.Telemetry) {
	m := telemetries{c.snapshot}
	for i := range t.AccessLogging {
		for _, p := range t.AccessLogging[i].Providers {
			if c.g.Tracing.Unknown || strings.EqualFold(p.Name, plan.StandardOutput) || m.logProvider(p.Name) != nil {
				continue
			}
			fixes := []string{"write " + plan.StandardOutput + " for the sidecar's standard output"}
			for i := range c.g.LogProviders {
				fixes = append(fixes, c.g.LogProviders[i].Name)
			}
			c.report(t.Ref, &missing{field: p.Field, message: fmt.Sprintf("no provider for access logs is called %q: nothing is logged there", p.Name)},
				strings.Join(fixes, ", or "))
		}
	}
	for i := range t.Metrics {
		for _, p := range t.Metrics[i].Providers {
			if !strings.EqualFold(p.Name, plan.Prometheus) {
				c.report(t.Ref, &missing{field: p.Field, message: fmt.Sprintf("no provider of metrics is called %q: nothing is counted for it", p.Name)},
					"write "+plan.Prometheus+" for the sidecar's own page")
			}
		}
	}
	for i := range t.Tracing {
		missingCollector(c, t, t.Tracing[i].Providers)
	}
}

// noCollector reports rules about traces that have nowhere to send them: the mesh has no provider for all, and no object names one.
func noCollector(c *checker, all []*model.Telemetry) {
	mesh := &c.g.Tracing
	if mesh.Unknown || mesh.Off || mesh.Provider(mesh.Default) != nil || slices.ContainsFunc(all, namesCollector) {
		return // that a named one is missing is said where it is named
	}
	for _, t := range all {
		reports := func(r model.TraceRule) bool { return r.NoReport == nil || !*r.NoReport }
		if i := slices.IndexFunc(t.Tracing, reports); i >= 0 && !t.Attached {
			c.warn(t.Ref, fmt.Sprintf("spec.tracing[%d].providers", i), "no spans are sent: neither this object nor another names a provider, and the mesh has none for all",
				"name one of mesh.extensionProviders here or in mesh.defaultProviders.tracing, or set tracing.otlp.endpoint")
		}
	}
}

// namesCollector reports whether a rule about traces names a provider.
func namesCollector(t *model.Telemetry) bool {
	return slices.ContainsFunc(t.Tracing, func(r model.TraceRule) bool { return len(r.Providers) > 0 })
}

// missingCollector reports a provider of spans that the mesh does not have. Only the first one of a rule counts.
func missingCollector(c *checker, t *model.Telemetry, named []model.Provider) {
	mesh := &c.g.Tracing
	if len(named) == 0 || mesh.Unknown || mesh.Provider(named[0].Name) != nil {
		return
	}
	known := make([]string, 0, len(mesh.Providers))
	for i := range mesh.Providers {
		known = append(known, mesh.Providers[i].Name)
	}
	fix := "add it to mesh.extensionProviders, or set tracing.otlp.endpoint"
	if len(known) > 0 {
		fix = "write one of those that the mesh has: " + strings.Join(known, ", ")
	}
	c.report(t.Ref, &missing{field: named[0].Field, message: fmt.Sprintf("no provider of the mesh that spans can be sent to is called %q: none are sent", named[0].Name)}, fix)
}
