package telemetry

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/plan"
)

const (
	logFlushEvery = time.Second
	logFlushAt    = 32 << 10
	logBound      = 1 << 20
)

// AccessLog is the sink that writes a line per call to one writer, buffered: a slow writer loses lines, which are
// counted, and never delays a request.
type AccessLog struct {
	w       io.Writer
	rules   atomic.Pointer[logRules] // nil while it is off
	dropped atomic.Uint64            // lines lost because the writer was too slow, or failed
	full    chan struct{}

	mu  sync.Mutex
	buf []byte

	setting   sync.Mutex // guards what follows, of which rules are made
	host      string     // what formats call this sidecar's host
	format    plan.AccessLogFormat
	custom    model.LogFormat
	telemetry *plan.Telemetry
}

// logRules say which calls are logged, and how.
type logRules struct{ client, server []logRule }

// logRule writes a line of the calls that its filter lets through.
type logRule struct {
	provider string
	filter   *Expression
	text     string // of the filter, for people
	form     plan.AccessLogFormat
	custom   *LogFormat // nil for the form's default
}

// Describe says in words how calls of one side are logged, and the condition for it.
func (l *AccessLog) Describe(side Reporter) (forms, filters string) {
	for _, rule := range l.rules.Load().of(side) {
		form := rule.form.String()
		if rule.custom != nil {
			form = "custom " + form
		}
		if rule.provider != plan.StandardOutput {
			form += " (" + rule.provider + ")"
		}
		forms, filters = joined(forms, form), joined(filters, rule.text)
	}
	return cmp.Or(forms, plan.AccessLogOff.String()), filters
}

func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

func (l *logRules) of(side Reporter) []logRule {
	switch {
	case l == nil:
		return nil
	case side == Source:
		return l.client
	}
	return l.server
}

// NewAccessLog returns a log that is off until SetFormat. host is what formats call this sidecar's host.
func NewAccessLog(w io.Writer, host string) *AccessLog {
	return &AccessLog{w: w, full: make(chan struct{}, 1), host: host}
}

// SetFormat switches the log on, off, or to another format, where SetTelemetry does not say more. custom is how lines are
// written; where it says nothing they are as Istio's.
func (l *AccessLog) SetFormat(f plan.AccessLogFormat, custom *model.LogFormat) {
	l.setting.Lock()
	defer l.setting.Unlock()
	l.format, l.custom = f, *custom
	l.apply()
}

// SetTelemetry has objects say which calls are logged; nil leaves it to SetFormat.
func (l *AccessLog) SetTelemetry(t *plan.Telemetry) {
	l.setting.Lock()
	defer l.setting.Unlock()
	l.telemetry = t
	l.apply()
}

// apply makes the rules of what was set.
func (l *AccessLog) apply() {
	rules := &logRules{client: l.ofMesh(), server: l.ofMesh()}
	if l.telemetry != nil {
		rules.client, rules.server = l.narrowed(rules.client, &l.telemetry.Client), l.narrowed(rules.server, &l.telemetry.Server)
	}
	if len(rules.client)+len(rules.server) == 0 {
		rules = nil
	}
	l.rules.Store(rules)
}

// ofMesh is what the mesh's switch says.
func (l *AccessLog) ofMesh() []logRule {
	if l.format == plan.AccessLogOff {
		return nil
	}
	return []logRule{l.rule(&plan.AccessLog{Provider: plan.StandardOutput})}
}

// narrowed is what objects make of the mesh's rules.
func (l *AccessLog) narrowed(mesh []logRule, by *plan.Recording) (out []logRule) {
	if !by.LogsSaid {
		return mesh
	}
	for i := range by.Logs {
		if by.Logs[i].Collector == nil {
			out = append(out, l.rule(&by.Logs[i]))
		}
	}
	return out
}

// rule is for a provider: in its own format, or the mesh's, or where the log is switched on by an object alone, Istio's text.
func (l *AccessLog) rule(p *plan.AccessLog) logRule {
	out := logRule{provider: p.Provider, filter: NewExpression(p.Filter), text: p.FilterText, form: l.format}
	format := &p.Format
	if format.IsZero() {
		format = &l.custom
	}
	switch {
	case len(format.Labels) > 0:
		out.form = plan.AccessLogJSON
	case format.Text != "", out.form == plan.AccessLogOff:
		out.form = plan.AccessLogText
	}
	out.custom = NewLogFormat(format, l.host)
	return out
}

// WriteMetrics writes how many lines were lost, in the Prometheus text format 0.0.4.
func (l *AccessLog) WriteMetrics(w io.Writer) error {
	p := &page{w: w}
	p.kind("fairlead_access_log_dropped_lines_total", "counter")
	p.line("fairlead_access_log_dropped_lines_total", "", l.dropped.Load())
	p.flush()
	return p.err
}

// Record implements Sink: it adds the lines of a call.
func (l *AccessLog) Record(r *Record) {
	rules := l.rules.Load().of(r.Reporter)
	for i := range rules {
		if rules[i].filter.Holds(r) {
			l.write(&rules[i], r)
		}
	}
}

func (l *AccessLog) write(rule *logRule, r *Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) > logBound {
		l.dropped.Add(1)
		return
	}
	switch {
	case rule.custom != nil:
		l.buf = rule.custom.Append(l.buf, r)
	case rule.form == plan.AccessLogJSON:
		l.buf = AppendJSON(l.buf, r)
	default:
		l.buf = AppendText(l.buf, r)
	}
	if len(l.buf) >= logFlushAt {
		select {
		case l.full <- struct{}{}:
		default: // a flush is due already
		}
	}
}

// Run flushes until ctx ends, and once more then.
func (l *AccessLog) Run(ctx context.Context) error {
	tick := time.NewTicker(logFlushEvery)
	defer tick.Stop()
	var out []byte
	for {
		select {
		case <-ctx.Done():
			_, err := l.flush(out)
			return err
		case <-tick.C:
		case <-l.full:
		}
		var err error
		if out, err = l.flush(out); err != nil {
			l.dropped.Add(uint64(bytes.Count(out, []byte{'\n'})))
		}
	}
}

// flush swaps the buffer for spare and writes what was in it.
func (l *AccessLog) flush(spare []byte) ([]byte, error) {
	l.mu.Lock()
	out := l.buf
	l.buf = spare[:0]
	l.mu.Unlock()
	if len(out) == 0 {
		return out, nil
	}
	_, err := l.w.Write(out)
	return out, err
}

const timeFormat = "2006-01-02T15:04:05.000Z"

// AppendText appends r in Istio's default text format (istio pilot/pkg/model/telemetry_logging.go,
// EnvoyTextLogFormat); empty values are "-".
func AppendText(b []byte, r *Record) []byte {
	b = append(b, '[')
	b = r.Start.UTC().AppendFormat(b, timeFormat)
	b = append(b, `] "`...)
	b = appendClean(b, r.Method)
	b = append(b, ' ')
	b = appendClean(b, r.Path)
	b = append(b, ' ')
	b = appendOr(b, r.Protocol)
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(r.Code), 10)
	for _, s := range [...]string{r.Flags, r.Details, ""} {
		b = append(b, ' ')
		b = appendOr(b, s)
	}
	b = append(b, ` "`...)
	b = appendOr(b, r.Failure)
	b = append(b, `" `...)
	b = strconv.AppendInt(b, r.Received, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, r.Sent, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, r.Duration.Milliseconds(), 10)
	b = append(b, ' ')
	if r.HeadAfter < 0 {
		b = append(b, '-')
	} else {
		b = strconv.AppendInt(b, r.HeadAfter.Milliseconds(), 10)
	}
	for _, s := range [...][]byte{r.field("x-forwarded-for"), r.field("user-agent"), r.field("x-request-id"), r.Authority} {
		b = append(b, ` "`...)
		b = appendClean(b, s)
		b = append(b, '"')
	}
	b = append(b, ` "`...)
	b = appendAddr(b, r.Endpoint)
	b = append(b, `" `...)
	b = appendOr(b, r.Cluster)
	for _, a := range [...]netip.AddrPort{{}, r.Dialled, r.Client} {
		b = append(b, ' ')
		b = appendAddr(b, a)
	}
	b = append(b, ' ')
	b = appendOr(b, "") // the server name
	b = append(b, ' ')
	b = appendOr(b, r.Route)
	return append(b, '\n')
}

func appendOr(b []byte, s string) []byte {
	if s == "" {
		return append(b, '-')
	}
	return append(b, s...)
}

// appendClean appends what a client sent so that it can neither end the quotes nor the line.
func appendClean(b, s []byte) []byte {
	if len(s) == 0 {
		return append(b, '-')
	}
	for _, c := range s {
		if c < ' ' || c == '"' || c == 0x7f {
			b = append(b, '\\', 'x', hex(c>>4), hex(c&15))
			continue
		}
		b = append(b, c)
	}
	return b
}

func hex(c byte) byte { return "0123456789abcdef"[c] }

func appendAddr(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, '-')
	}
	return model.AppendAddr(b, a)
}

// AppendJSON appends r as one JSON object with Istio's keys; empty values are null.
func AppendJSON(b []byte, r *Record) []byte {
	b = append(b, `{"start_time":"`...)
	b = r.Start.UTC().AppendFormat(b, timeFormat)
	b = append(b, '"')
	b = member(b, "route_name", r.Route)
	b = memberBytes(b, "method", r.Method)
	b = memberBytes(b, "path", r.Path)
	b = member(b, "protocol", r.Protocol)
	b = memberInt(b, "response_code", int64(r.Code))
	b = member(b, "response_flags", orDash(r.Flags))
	b = member(b, "response_code_details", r.Details)
	b = member(b, "connection_termination_details", "")
	b = memberInt(b, "bytes_received", r.Received)
	b = memberInt(b, "bytes_sent", r.Sent)
	b = memberInt(b, "duration", r.Duration.Milliseconds())
	if r.HeadAfter < 0 {
		b = member(b, "upstream_service_time", "")
	} else {
		b = memberInt(b, "upstream_service_time", r.HeadAfter.Milliseconds())
	}
	b = memberBytes(b, "x_forwarded_for", r.field("x-forwarded-for"))
	b = memberBytes(b, "user_agent", r.field("user-agent"))
	b = memberBytes(b, "request_id", r.field("x-request-id"))
	b = memberBytes(b, "authority", r.Authority)
	b = memberAddr(b, "upstream_host", r.Endpoint)
	b = member(b, "upstream_cluster", r.Cluster)
	b = memberAddr(b, "upstream_local_address", netip.AddrPort{})
	b = memberAddr(b, "downstream_local_address", r.Dialled)
	b = memberAddr(b, "downstream_remote_address", r.Client)
	b = member(b, "requested_server_name", "")
	b = member(b, "upstream_transport_failure_reason", r.Failure)
	return append(b, '}', '\n')
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func key(b []byte, k string) []byte {
	b = append(b, ',', '"')
	b = append(b, k...)
	return append(b, '"', ':')
}

func member(b []byte, k, v string) []byte { return memberBytes(b, k, []byte(v)) }

func memberInt(b []byte, k string, v int64) []byte { return strconv.AppendInt(key(b, k), v, 10) }

func memberAddr(b []byte, k string, a netip.AddrPort) []byte {
	b = key(b, k)
	if !a.IsValid() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = model.AppendAddr(b, a)
	return append(b, '"')
}

// memberBytes appends a string member.
func memberBytes(b []byte, k string, v []byte) []byte {
	b = key(b, k)
	if len(v) == 0 {
		return append(b, "null"...)
	}
	return appendQuoted(b, v)
}
