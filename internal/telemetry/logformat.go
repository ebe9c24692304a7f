package telemetry

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/model"
)

// LogFormat writes calls as a user wants them: a line of text, or a JSON object. It is safe for concurrent use.
type LogFormat struct {
	text    []logPart
	members []logMember // of the object; nil for text
}

// logMember is a member of an object: its key in JSON, with what is before it, and its value.
type logMember struct {
	key   string
	name  string // as it was written
	parts []logPart
}

// logPart is one part of a text.
type logPart struct{ model.TemplatePart }

// NewLogFormat makes f ready for use, nil where it says nothing. A part that is not known, from a control plane that is newer, is
// written as what is not known. host is what HOSTNAME says.
func NewLogFormat(f *model.LogFormat, host string) *LogFormat {
	if f.IsZero() {
		return nil
	}
	out := &LogFormat{text: logParts(strings.TrimRight(f.Text, "\n"), host)}
	for i, l := range f.Labels {
		before := ","
		if i == 0 {
			before = "{"
		}
		out.members = append(out.members, logMember{key: before + string(appendQuoted(nil, []byte(l.Key))) + ":", name: l.Key, parts: logParts(l.Format, host)})
	}
	return out
}

func logParts(text, host string) []logPart {
	parsed, err := model.ParseLogFormat(text)
	if err != nil {
		return []logPart{{TemplatePart: model.TemplatePart{Op: model.OpUnknown}}}
	}
	out := make([]logPart, 0, len(parsed))
	for _, p := range parsed {
		if p.Op == model.OpHostname {
			p = model.TemplatePart{Text: host}
		}
		out = append(out, logPart{p})
	}
	return out
}

// Append appends the line of a call.
func (f *LogFormat) Append(b []byte, r *Record) []byte {
	if f.members == nil {
		return append(appendParts(b, f.text, r), '\n')
	}
	for i := range f.members {
		b = append(b, f.members[i].key...)
		b = f.members[i].append(b, r)
	}
	return append(b, '}', '\n')
}

// AppendLine appends the text of a call, without the end of a line. Without a format it is Istio's.
func (f *LogFormat) AppendLine(b []byte, r *Record) []byte {
	if f == nil || len(f.text) == 0 {
		b = AppendText(b, r)
		return b[:len(b)-1]
	}
	return appendParts(b, f.text, r)
}

// AppendValue appends the text of a call for what is no line: what a client sent is as it is, and what is not known is empty.
func (f *LogFormat) AppendValue(b []byte, r *Record) []byte {
	for i := range f.text {
		p := &f.text[i]
		if p.Op == model.OpText {
			b = append(b, p.Text...)
		} else if n, ok := p.number(r); ok {
			b = strconv.AppendInt(b, n, 10)
		} else if v := p.sent(r); v != nil {
			b = append(b, v...)
		} else if more, ok := p.query(b, r); ok {
			b = more
		} else {
			b = p.words(b, r)
		}
	}
	return b
}

// Labels is how many labels there are.
func (f *LogFormat) Labels() int {
	if f == nil {
		return 0
	}
	return len(f.members)
}

// AppendLabel appends the value of a label as text, and gives its name.
func (f *LogFormat) AppendLabel(b []byte, i int, r *Record) (name string, value []byte) {
	return f.members[i].name, appendParts(b, f.members[i].parts, r)
}

// appendParts appends text, with "-" for what is not known. What a client sent can neither end a quote nor the line.
func appendParts(b []byte, parts []logPart, r *Record) []byte {
	for i := range parts {
		p := &parts[i]
		if p.Op == model.OpText {
			b = append(b, p.Text...)
			continue
		}
		if n, ok := p.number(r); ok {
			b = strconv.AppendInt(b, n, 10)
			continue
		}
		if v := p.sent(r); v != nil {
			b = appendClean(b, v)
			continue
		}
		mark := len(b)
		if more, ok := p.query(b, r); ok {
			if b = more; len(b) > mark {
				b = rewritten(b, mark, appendClean)
			}
			continue
		}
		if b = p.words(b, r); len(b) == mark {
			b = append(b, '-')
		}
	}
	return b
}

// append appends the value of a member. One operator alone keeps its type, and is null where it is not known.
func (m *logMember) append(b []byte, r *Record) []byte {
	if len(m.parts) != 1 || m.parts[0].Op == model.OpText {
		b = append(b, '"')
		mark := len(b)
		b = appendParts(b, m.parts, r)
		return append(escapeBehind(b, mark), '"')
	}
	p := &m.parts[0]
	if n, ok := p.number(r); ok {
		return strconv.AppendInt(b, n, 10)
	}
	if v := p.sent(r); v != nil {
		return appendQuoted(b, v)
	}
	mark := len(b)
	b = append(b, '"')
	if more, ok := p.query(b, r); ok {
		return append(rewritten(more, mark+1, appendEscaped), '"')
	}
	if b = p.words(b, r); len(b) == mark+1 {
		return append(b[:mark], "null"...)
	}
	return append(escapeBehind(b, mark+1), '"')
}

// escapeBehind escapes what stands behind mark as a string of JSON demands. It is our own words, and seldom needs it.
func escapeBehind(b []byte, mark int) []byte {
	for i := mark; i < len(b); i++ {
		if c := b[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return rewritten(b, i, appendEscaped)
		}
	}
	return b
}

// number gives what an operator says as a number.
func (p *logPart) number(r *Record) (int64, bool) {
	switch p.Op { //nolint:exhaustive // the others are no numbers
	case model.OpResponseCode:
		return int64(r.Code), true
	case model.OpBytesReceived:
		return r.Received, true
	case model.OpBytesSent:
		return r.Sent, true
	case model.OpDuration:
		return r.Duration.Milliseconds(), true
	case model.OpResponseDuration:
		return r.HeadAfter.Milliseconds(), r.HeadAfter >= 0
	case model.OpResponseTxDuration:
		return (r.Duration - r.HeadAfter).Milliseconds(), r.HeadAfter >= 0
	case model.OpAttempts:
		return int64(r.Tries), r.Protocol != ""
	case model.OpGRPCNumber:
		return grpcNumber(r)
	case model.OpUpstreamPort:
		return int64(r.Endpoint.Port()), r.Endpoint.IsValid()
	case model.OpClientPort:
		return int64(r.Client.Port()), r.Client.IsValid()
	case model.OpDialledPort:
		return int64(r.Dialled.Port()), r.Dialled.IsValid()
	case model.OpGRPCStatus:
		if p.Text == "NUMBER" {
			return grpcNumber(r)
		}
	}
	return 0, false
}

func grpcNumber(r *Record) (int64, bool) {
	n, err := strconv.ParseUint(r.GRPCStatus, 10, 8)
	return int64(n), err == nil
}

// sent gives what an operator takes from a head, nil where it takes nothing from there or that has none.
func (p *logPart) sent(r *Record) (v []byte) {
	switch p.Op { //nolint:exhaustive // the others are not from a head
	case model.OpRequestHeader, model.OpPath:
		if v = r.requestField(p.Name); len(v) == 0 && p.Other != "" {
			v = r.requestField(p.Other)
		}
		if p.Text == model.NoQuery {
			v, _, _ = bytes.Cut(v, []byte{'?'})
		}
	case model.OpResponseHeader:
		v = answerField(r.Answer, p)
	case model.OpTrailer:
		v = answerField(r.Trailer, p)
	}
	if p.Limit > 0 && len(v) > p.Limit {
		v = v[:p.Limit]
	}
	if len(v) == 0 {
		return nil
	}
	return v
}

// query appends what an operator takes from the query, as it was meant by the client, and reports whether it is there.
func (p *logPart) query(b []byte, r *Record) (_ []byte, there bool) {
	if p.Op != model.OpQueryParam {
		return b, false
	}
	mark := len(b)
	if b, there = appendQuery(b, r.Path, p.Name); p.Limit > 0 && len(b) > mark+p.Limit {
		b = b[:mark+p.Limit]
	}
	return b, there
}

// requestField gives a field of the request's head, of which the codecs keep some apart.
func (r *Record) requestField(name string) []byte {
	switch name {
	case ":method":
		return r.Method
	case ":path":
		return r.Path
	case ":authority", "host":
		return r.Authority
	case ":scheme":
		return r.ClientScheme()
	}
	return r.field(name)
}

func answerField(h Header, p *logPart) (v []byte) {
	if h == nil {
		return nil
	}
	if v = h.Get(p.Name); len(v) == 0 && p.Other != "" {
		v = h.Get(p.Other)
	}
	return v
}

// words appends what an operator says in other words than a client's; nothing where that is not known.
func (p *logPart) words(b []byte, r *Record) []byte {
	switch p.Op { //nolint:exhaustive // the others are numbers, or text
	case model.OpLogTime:
		return model.AppendTime(b, r.Start, p.Times)
	case model.OpEmitTime:
		return model.AppendTime(b, r.Start.Add(r.Duration), p.Times)
	case model.OpResponseHeader:
		if p.Name == ":status" && r.Code > 0 {
			return strconv.AppendInt(b, int64(r.Code), 10)
		}
	case model.OpProtocol:
		return append(b, r.Protocol...)
	case model.OpUpstreamProtocol:
		return append(b, r.Onward...)
	case model.OpUpstreamPeerID, model.OpUpstreamLocalID, model.OpDownstreamPeerID, model.OpDownstreamLocalID:
		return append(b, p.identity(r)...)
	case model.OpLogType:
		if r.Protocol == "" {
			return append(b, "TcpConnectionEnd"...)
		}
		return append(b, "DownstreamEnd"...)
	case model.OpRouteName:
		return append(b, r.Route...)
	case model.OpUpstreamCluster:
		return append(b, r.Cluster...)
	case model.OpResponseFlags:
		return append(b, orDash(r.Flags)...)
	case model.OpResponseFlagsLong:
		return appendLongFlags(b, r.Flags)
	case model.OpResponseDetails:
		return append(b, r.Details...)
	case model.OpTransportFailure:
		return append(b, r.Failure...)
	case model.OpTraceID:
		return r.AppendTraceID(b)
	case model.OpSpanID:
		return r.AppendSpanID(b)
	case model.OpGRPCStatus:
		return appendGRPC(b, r, p.Text)
	case model.OpUpstreamAddress, model.OpUpstreamIP:
		return appendAddress(b, r.Endpoint, p.Op == model.OpUpstreamIP)
	case model.OpClientAddress, model.OpClientIP:
		return appendAddress(b, r.Client, p.Op == model.OpClientIP)
	case model.OpDialledAddress, model.OpDialledIP:
		return appendAddress(b, r.Dialled, p.Op == model.OpDialledIP)
	}
	return b
}

func appendAddress(b []byte, a netip.AddrPort, alone bool) []byte {
	switch {
	case !a.IsValid():
		return b
	case alone && model.SocketPath(a.Addr()) == "":
		return a.Addr().AppendTo(b)
	}
	return model.AppendAddr(b, a)
}

// appendQuoted appends a string of JSON.
func appendQuoted(b, v []byte) []byte { return append(appendEscaped(append(b, '"'), v), '"') }

// appendEscaped appends v, escaped as RFC 8259 §7 demands; bytes that are no UTF-8 become U+FFFD.
func appendEscaped(b, v []byte) []byte {
	for len(v) > 0 {
		r, n := utf8.DecodeRune(v)
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex(byte(r)>>4), hex(byte(r)&15))
		default:
			b = utf8.AppendRune(b, r)
		}
		v = v[n:]
	}
	return b
}
