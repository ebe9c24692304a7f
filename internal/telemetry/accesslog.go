package telemetry

import (
	"context"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/plan"
)

// Entry is one line of the access log. The byte slices are only read during Log. Empty values print as "-" (text)
// or null (JSON).
type Entry struct {
	Start                                  time.Time
	Method, Path, Authority                []byte
	UserAgent, RequestID, ForwardedFor     []byte
	Protocol                               string
	Code                                   int
	Flags, Details                         string
	Termination, TransportFailure          string
	Received, Sent                         int64
	Duration, UpstreamTime                 time.Duration // UpstreamTime < 0: no upstream answered
	UpstreamHost, UpstreamLocal            netip.AddrPort
	DownstreamLocal, DownstreamRemote      netip.AddrPort
	UpstreamCluster, ServerName, RouteName string
}

const (
	logFlushEvery = time.Second
	logFlushAt    = 32 << 10
	logBound      = 1 << 20
)

// AccessLog writes entries to one writer, buffered: a slow writer loses lines (Dropped counts them), never delays a
// request.
type AccessLog struct {
	w       io.Writer
	format  atomic.Uint32
	dropped atomic.Uint64
	full    chan struct{}

	mu  sync.Mutex
	buf []byte
}

// NewAccessLog returns a log that is off until SetFormat.
func NewAccessLog(w io.Writer) *AccessLog {
	return &AccessLog{w: w, full: make(chan struct{}, 1)}
}

// SetFormat switches the log on, off, or to another format.
func (l *AccessLog) SetFormat(f plan.AccessLogFormat) { l.format.Store(uint32(f)) }

// Enabled reports whether Log does anything, so that callers can spare themselves the Entry.
func (l *AccessLog) Enabled() bool { return plan.AccessLogFormat(l.format.Load()) != plan.AccessLogOff }

// Dropped is the number of lines lost because the writer was too slow.
func (l *AccessLog) Dropped() uint64 { return l.dropped.Load() }

// Log adds one line.
func (l *AccessLog) Log(e *Entry) {
	format := plan.AccessLogFormat(l.format.Load())
	if format == plan.AccessLogOff {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) > logBound {
		l.dropped.Add(1)
		return
	}
	if format == plan.AccessLogJSON {
		l.buf = AppendJSON(l.buf, e)
	} else {
		l.buf = AppendText(l.buf, e)
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
			l.dropped.Add(1)
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

// AppendText appends e in Istio's default text format (istio pilot/pkg/model/telemetry_logging.go,
// EnvoyTextLogFormat).
func AppendText(b []byte, e *Entry) []byte {
	b = append(b, '[')
	b = e.Start.UTC().AppendFormat(b, timeFormat)
	b = append(b, `] "`...)
	b = appendClean(b, e.Method)
	b = append(b, ' ')
	b = appendClean(b, e.Path)
	b = append(b, ' ')
	b = appendOr(b, e.Protocol)
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(e.Code), 10)
	for _, s := range [...]string{e.Flags, e.Details, e.Termination} {
		b = append(b, ' ')
		b = appendOr(b, s)
	}
	b = append(b, ` "`...)
	b = appendOr(b, e.TransportFailure)
	b = append(b, `" `...)
	b = strconv.AppendInt(b, e.Received, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, e.Sent, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, e.Duration.Milliseconds(), 10)
	b = append(b, ' ')
	if e.UpstreamTime < 0 {
		b = append(b, '-')
	} else {
		b = strconv.AppendInt(b, e.UpstreamTime.Milliseconds(), 10)
	}
	for _, s := range [...][]byte{e.ForwardedFor, e.UserAgent, e.RequestID, e.Authority} {
		b = append(b, ` "`...)
		b = appendClean(b, s)
		b = append(b, '"')
	}
	b = append(b, ` "`...)
	b = appendAddr(b, e.UpstreamHost)
	b = append(b, `" `...)
	b = appendOr(b, e.UpstreamCluster)
	for _, a := range [...]netip.AddrPort{e.UpstreamLocal, e.DownstreamLocal, e.DownstreamRemote} {
		b = append(b, ' ')
		b = appendAddr(b, a)
	}
	b = append(b, ' ')
	b = appendOr(b, e.ServerName)
	b = append(b, ' ')
	b = appendOr(b, e.RouteName)
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
	return a.AppendTo(b)
}

// AppendJSON appends e as one JSON object with Istio's keys.
func AppendJSON(b []byte, e *Entry) []byte {
	b = append(b, `{"start_time":"`...)
	b = e.Start.UTC().AppendFormat(b, timeFormat)
	b = append(b, '"')
	b = member(b, "route_name", e.RouteName)
	b = memberBytes(b, "method", e.Method)
	b = memberBytes(b, "path", e.Path)
	b = member(b, "protocol", e.Protocol)
	b = memberInt(b, "response_code", int64(e.Code))
	b = member(b, "response_flags", orDash(e.Flags))
	b = member(b, "response_code_details", e.Details)
	b = member(b, "connection_termination_details", e.Termination)
	b = memberInt(b, "bytes_received", e.Received)
	b = memberInt(b, "bytes_sent", e.Sent)
	b = memberInt(b, "duration", e.Duration.Milliseconds())
	if e.UpstreamTime < 0 {
		b = member(b, "upstream_service_time", "")
	} else {
		b = memberInt(b, "upstream_service_time", e.UpstreamTime.Milliseconds())
	}
	b = memberBytes(b, "x_forwarded_for", e.ForwardedFor)
	b = memberBytes(b, "user_agent", e.UserAgent)
	b = memberBytes(b, "request_id", e.RequestID)
	b = memberBytes(b, "authority", e.Authority)
	b = memberAddr(b, "upstream_host", e.UpstreamHost)
	b = member(b, "upstream_cluster", e.UpstreamCluster)
	b = memberAddr(b, "upstream_local_address", e.UpstreamLocal)
	b = memberAddr(b, "downstream_local_address", e.DownstreamLocal)
	b = memberAddr(b, "downstream_remote_address", e.DownstreamRemote)
	b = member(b, "requested_server_name", e.ServerName)
	b = member(b, "upstream_transport_failure_reason", e.TransportFailure)
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
	b = a.AppendTo(b)
	return append(b, '"')
}

// memberBytes appends a string member, escaped as RFC 8259 §7 demands; bytes that are no UTF-8 become U+FFFD.
func memberBytes(b []byte, k string, v []byte) []byte {
	b = key(b, k)
	if len(v) == 0 {
		return append(b, "null"...)
	}
	b = append(b, '"')
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
	return append(b, '"')
}
