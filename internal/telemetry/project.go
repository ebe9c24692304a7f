package telemetry

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

// Telemetry objects may take metrics away, and labels of metrics, and add labels. A scope is made of all labels, by which it is
// known to whatever holds it; where there are such rules, it counts in others, its projections: one for each set of metrics that
// are changed in the same way. Scopes whose labels are the same after that share a projection, so that what is printed only
// ever grows. A label whose value depends on the request is told apart by cells, as the code of the response is.

const (
	// maxTagged bounds the values of such labels that one scope tells apart, maxTaggedInAll those of a sidecar; those beyond are
	// counted with the value otherTag.
	maxTagged      = 64
	maxTaggedInAll = 4096
	otherTag       = "other"
	// maxTagValue bounds a value, in bytes; more are cut.
	maxTagValue = 256
)

// metricSet is a set of model.Metric.
type metricSet uint16

func (s metricSet) has(m model.Metric) bool { return s&(1<<m) != 0 }

// metricRules are what is done to the metrics of one side. They are not changed.
type metricRules struct {
	from      metricWishes
	http, tcp []*tagGroup // a metric that is in none is not counted
}

// tagGroup is metrics whose labels are changed in one way.
type tagGroup struct {
	rules   *metricRules
	metrics metricSet
	changed []string // labels that are not printed as they are, sorted
	fixed   []byte   // labels that are added, and the same for all calls
	tags    []tag    // those that are not
}

// tag is a label of which each call says the value.
type tag struct {
	name  string
	value *Expression
}

func (g *tagGroup) has(m model.Metric) bool { return g == nil || g.metrics.has(m) }

// keeps reports whether a label is printed as it is.
func (g *tagGroup) keeps(label string) bool {
	if g == nil {
		return true
	}
	_, changed := slices.BinarySearch(g.changed, label)
	return !changed
}

// sideRules are those in force for each reporter; nil where nothing is changed.
type sideRules struct{ source, destination atomic.Pointer[metricRules] }

func (s *sideRules) of(side Reporter) *atomic.Pointer[metricRules] {
	if side == Source {
		return &s.source
	}
	return &s.destination
}

// SetTelemetry has objects change what is counted from now on; nil has everything as it always is. Series that are changed begin
// anew.
func (r *Registry) SetTelemetry(t *plan.Telemetry) {
	if t == nil {
		t = new(plan.Telemetry)
	}
	r.setting.Lock()
	defer r.setting.Unlock()
	r.setRules(metricWishes{t.Client.Metrics, r.native}, metricWishes{t.Server.Metrics, r.native})
}

// SetNativeHistograms has Istio's histograms counted in native buckets, too, or no longer. Series begin anew where that changes.
func (r *Registry) SetNativeHistograms(on bool) {
	r.setting.Lock()
	defer r.setting.Unlock()
	r.native = on
	source, destination := r.rules.source.Load().wishes(), r.rules.destination.Load().wishes()
	r.setRules(metricWishes{source.metrics, on}, metricWishes{destination.metrics, on})
}

// metricWishes are what objects and the mesh want of the metrics of one side.
type metricWishes struct {
	metrics []plan.MetricRule
	native  bool // histograms have native buckets, too
}

// wishes is what rules are made from.
func (m *metricRules) wishes() metricWishes {
	if m == nil {
		return metricWishes{}
	}
	return m.from
}

// setRules puts rules in force. setting is held.
func (r *Registry) setRules(source, destination metricWishes) {
	changed := setRules(&r.rules.source, source)
	if setRules(&r.rules.destination, destination) || changed {
		r.http.dismiss()
		r.tcp.dismiss()
	}
}

func setRules(at *atomic.Pointer[metricRules], from metricWishes) (changed bool) {
	old := at.Load().wishes()
	switch {
	case old.native == from.native && len(old.metrics) == len(from.metrics) && (len(old.metrics) == 0 || reflect.DeepEqual(old.metrics, from.metrics)):
		return false
	case len(from.metrics) == 0 && !from.native:
		at.Store(nil)
	default:
		at.Store(newMetricRules(from))
	}
	return true
}

func newMetricRules(from metricWishes) *metricRules {
	rules := &metricRules{from: from}
	http := []model.Metric{
		model.RequestCount, model.RequestDuration, model.RequestSize, model.ResponseSize, model.GRPCRequestMessages, model.GRPCResponseMessages,
	}
	tcp := []model.Metric{model.TCPOpenedConnections, model.TCPClosedConnections, model.TCPSentBytes, model.TCPReceivedBytes}
	rules.http, rules.tcp = rules.groups(http), rules.groups(tcp)
	return rules
}

// groups puts metrics together that are changed in the same way.
func (m *metricRules) groups(of []model.Metric) (groups []*tagGroup) {
	var tags [][]model.MetricTag // by group
	for _, metric := range of {
		var rule plan.MetricRule
		if i := slices.IndexFunc(m.from.metrics, func(r plan.MetricRule) bool { return r.Metric == metric }); i >= 0 {
			rule = m.from.metrics[i]
		}
		if rule.Disabled {
			continue
		}
		at := slices.IndexFunc(tags, func(t []model.MetricTag) bool {
			return len(t) == 0 && len(rule.Tags) == 0 || reflect.DeepEqual(t, rule.Tags)
		})
		if at < 0 {
			at = len(groups)
			tags = append(tags, rule.Tags)
			groups = append(groups, m.group(rule.Tags))
		}
		groups[at].metrics |= 1 << metric
	}
	return groups
}

func (m *metricRules) group(tags []model.MetricTag) *tagGroup {
	g := &tagGroup{rules: m}
	for i := range tags {
		t := &tags[i]
		g.changed = append(g.changed, t.Name)
		switch constant, is := constantOf(t.Value); {
		case len(t.Value) == 0: // removed
		case is:
			g.fixed = append(appendLabel(g.fixed, t.Name, cutValue([]byte(constant))), ',')
		default:
			g.tags = append(g.tags, tag{name: t.Name, value: NewExpression(t.Value)})
		}
	}
	slices.Sort(g.changed)
	return g
}

// constantOf gives the value of an expression that no call changes.
func constantOf(e model.Expression) (string, bool) {
	if len(e) > 0 && e[0].Op == model.ExprLiteral && (len(e) == 1 || len(e) == 2 && e[1].Op == model.ExprToText) {
		return e[0].Text, true
	}
	return "", false
}

// projected is the identity under which a group counts what a scope does. varying are the labels of the group that the call says.
func (id *identity) projected(g *tagGroup, varying []byte) identity {
	b := append([]byte(nil), g.fixed...) // ends with a comma
	for labels := id.labels; labels != ""; {
		name, rest, _ := strings.Cut(labels, "=")
		end := endOfValue(rest)
		if g.keeps(name) {
			b = append(append(b, labels[:len(name)+1+end]...), ',')
		}
		labels = strings.TrimPrefix(rest[end:], ",")
	}
	b = bytes.TrimSuffix(append(b, varying...), []byte{','})
	out := *id
	out.labels, out.group = string(b), g
	return out
}

// endOfValue is where a quoted value ends that a text begins with.
func endOfValue(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// append renders the labels of a group that the call says, each with a comma behind it.
func (g *tagGroup) append(b []byte, r *Record) []byte {
	for i := range g.tags {
		t := &g.tags[i]
		var room [maxTagValue]byte
		value, ok := t.value.Append(room[:0], r)
		if !ok {
			value = value[:0]
		}
		b = append(appendLabel(b, t.name, cutValue(value)), ',')
	}
	return b
}

// others renders the labels of a group for calls whose values have no place.
func (g *tagGroup) others(b []byte) []byte {
	for i := range g.tags {
		b = append(appendLabel(b, g.tags[i].name, []byte(otherTag)), ',')
	}
	return b
}

func cutValue(v []byte) []byte {
	if len(v) <= maxTagValue {
		return v
	}
	v = v[:maxTagValue]
	for i := range utf8.UTFMax { // a character that was cut in two goes
		if r, size := utf8.DecodeLastRune(v[:len(v)-i]); r != utf8.RuneError || size > 1 {
			return v[:len(v)-i]
		}
	}
	return v
}

// appendLabel is label for bytes, without a comma before it.
func appendLabel(b []byte, name string, value []byte) []byte {
	b = append(append(b, name...), '=', '"')
	if len(value) == 0 {
		b = append(b, "unknown"...)
	}
	for len(value) > 0 {
		r, size := utf8.DecodeRune(value)
		b = appendLabelRune(b, r)
		value = value[size:]
	}
	return append(b, '"')
}

// projection is where a scope counts by the rules that were in force when it was made.
type projection struct {
	rules *metricRules
	in    []*HTTPScope
}

// projectedBy gives where a scope counts by rules.
func (s *HTTPScope) projectedBy(rules *metricRules) *projection {
	if p := s.projection.Load(); p != nil && p.rules == rules {
		return p
	}
	p := &projection{rules: rules}
	for _, g := range rules.http {
		p.in = append(p.in, s.registry.httpScope(s.projected(g, nil)))
	}
	s.projection.Store(p)
	return p
}

// of gives what counts one connection: the scope itself where no rules change its metrics.
func (s *TCPScope) of(r *Record) *TCPScope {
	rules := s.registry.rules.of(s.reporter).Load()
	if rules == nil {
		return s
	}
	out := &TCPScope{split: true}
	for _, g := range rules.tcp {
		varying := g.append(nil, r)
		if len(varying) > 0 && !s.tellsApart(g, varying) {
			varying = g.others(nil)
		}
		out.parts = append(out.parts, s.registry.tcpScope(s.projected(g, varying)))
	}
	return out
}

// tellsApart reports whether values of labels that calls say are told from others here.
func (s *TCPScope) tellsApart(g *tagGroup, varying []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told.rules != g.rules {
		s.told.rules, s.told.values = g.rules, map[string]struct{}{}
	}
	if _, known := s.told.values[string(varying)]; known {
		return true
	}
	if len(s.told.values) >= maxTagged {
		return false
	}
	s.told.values[string(varying)] = struct{}{}
	return true
}

// DescribeMetrics says what rules change in the metrics of one side: "REQUEST_COUNT -reporter method=request.method", or "" for nothing.
func (r *Registry) DescribeMetrics(side Reporter) string {
	rules := r.rules.of(side).Load()
	if rules == nil {
		return ""
	}
	said := alike(rules.from.metrics)
	if rules.from.native {
		said = append(said, "native histograms")
	}
	return strings.Join(said, "; ")
}

// alike describes rules, those that say the same of several metrics at once.
func alike(rules []plan.MetricRule) (out []string) {
	var names []string
	var said []string
	for i := range rules {
		what := describeRule(&rules[i])
		if at := slices.Index(said, what); at >= 0 {
			names[at] += "," + rules[i].Metric.String()
			continue
		}
		names, said = append(names, rules[i].Metric.String()), append(said, what)
	}
	everything := int(model.GRPCResponseMessages)
	for i := range said {
		if len(rules) == everything && len(said) == 1 {
			names[i] = model.AllMetrics.String()
		}
		out = append(out, names[i]+" "+said[i])
	}
	return out
}

func describeRule(m *plan.MetricRule) string {
	if m.Disabled {
		return "off"
	}
	words := make([]string, 0, len(m.Tags))
	for i := range m.Tags {
		if t := &m.Tags[i]; len(t.Value) == 0 {
			words = append(words, "-"+t.Name)
		} else {
			words = append(words, t.Name+"="+t.Text)
		}
	}
	return strings.Join(words, " ")
}
