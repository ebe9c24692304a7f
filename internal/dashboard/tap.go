package dashboard

import (
	"context"
	"net/http"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/observe"
)

// Request is one request, as one sidecar saw it. Durations are milliseconds.
type Request struct {
	Pod       string            `json:"pod"`
	ID        uint64            `json:"id"`
	Direction observe.Direction `json:"direction"`
	Start     int64             `json:"start"`
	Duration  float64           `json:"duration"`
	// Head is until the head of the answer came; absent where none did.
	Head *float64     `json:"head,omitempty"`
	Src  observe.Peer `json:"src"`
	Dst  observe.Peer `json:"dst"`
	TLS  bool         `json:"tls"`
	// Reason is why not.
	Reason     string `json:"reason,omitempty"`
	Method     string `json:"method"`
	Scheme     string `json:"scheme"`
	Authority  string `json:"authority"`
	Path       string `json:"path"`
	Protocol   string `json:"protocol"`
	Cluster    string `json:"cluster,omitempty"`
	Route      string `json:"route,omitempty"`
	Status     int    `json:"status"`
	GRPCStatus string `json:"grpcStatus,omitempty"`
	Flags      string `json:"flags,omitempty"`
	Cause      string `json:"cause,omitempty"`
	BytesIn    int64  `json:"bytesIn"`
	BytesOut   int64  `json:"bytesOut"`
	// RequestID is that of x-request-id, the same at both ends of a call. TraceID is what the sidecar says; where it does nothing
	// about traces, that of traceparent or x-b3-traceid, which the app's own library has sent.
	RequestID       string                `json:"requestId,omitempty"`
	TraceID         string                `json:"traceId,omitempty"`
	RequestHeaders  []observe.HeaderField `json:"requestHeaders"`
	ResponseHeaders []observe.HeaderField `json:"responseHeaders"`
	// Lines are what "fairlead tap" prints.
	Lines string `json:"lines"`
}

func requestOf(e *observe.Event, lines string) *Request {
	r := &Request{
		Pod: e.Pod, ID: e.ID, Direction: e.Direction, Start: e.Start.UnixMilli(), Duration: millis(e.Duration), Src: e.Source, Dst: e.Destination,
		TLS: e.TLS, Reason: e.NoTLS, Method: e.Method, Scheme: e.Scheme, Authority: e.Authority, Path: e.Path, Protocol: e.Protocol,
		Cluster: e.Cluster, Route: e.Route, Status: e.Status, GRPCStatus: e.GRPCStatus, Flags: e.Flags, Cause: e.Cause,
		BytesIn: e.Received, BytesOut: e.Sent, TraceID: e.TraceID, RequestHeaders: list(e.RequestHeaders), ResponseHeaders: list(e.ResponseHeaders), Lines: lines,
	}
	if e.HeadAfter >= 0 {
		head := millis(e.HeadAfter)
		r.Head = &head
	}
	for _, f := range e.RequestHeaders {
		switch strings.ToLower(f.Name) {
		case "x-request-id":
			r.RequestID = f.Value
		case "traceparent": // version-traceid-parentid-flags (W3C Trace Context, section 3.2.2)
			if parts := strings.Split(f.Value, "-"); e.TraceID == "" && len(parts) >= 4 {
				r.TraceID = parts[1]
			}
		case "x-b3-traceid":
			if r.TraceID == "" {
				r.TraceID = f.Value
			}
		}
	}
	return r
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// list is never nil, for JSON.
func list[T any](of []T) []T {
	if of == nil {
		return []T{}
	}
	return of
}

// tapQuery reads the filters that "fairlead tap" has, and the command that has them.
func (s *Server) tapQuery(r *http.Request) (*observe.Query, string, error) {
	q := r.URL.Query()
	namespace := q.Get("namespace")
	if s.o.Namespace != "" {
		namespace = s.o.Namespace
	}
	words := []string{"tap", q.Get("resource")}
	if namespace != "" {
		words = append(words, "-n", namespace)
	} else {
		words = append(words, "-A")
	}
	resource, err := observe.ParseTarget([]string{q.Get("resource")}, namespace)
	if err != nil {
		return nil, "", badRequestError(err.Error())
	}
	rps, err := whole(r, "maxRps", observe.DefaultMaxRPS, 1, 1000)
	if err != nil {
		return nil, "", err
	}
	query := &observe.Query{Resource: resource, MaxRPS: uint32(rps), Headers: true}
	if to := q.Get("to"); to != "" {
		target, err := observe.ParseTarget([]string{to}, or(q.Get("toNamespace"), namespace))
		if err != nil {
			return nil, "", badRequestError("to: " + err.Error())
		}
		query.To = &target
	}
	query.Filter = observe.Filter{
		Method: q.Get("method"), Path: q.Get("path"), Authority: q.Get("authority"), Scheme: q.Get("scheme"), Status: q.Get("status"), Not: q.Get("not") != "",
	}
	for _, flag := range [][2]string{
		{"to", "--to"},
		{"toNamespace", "--to-namespace"},
		{"method", "--method"},
		{"path", "--path"},
		{"authority", "--authority"},
		{"scheme", "--scheme"},
		{"status", "--status"},
		{"maxRps", "--max-rps"},
	} {
		if value := q.Get(flag[0]); value != "" {
			words = append(words, flag[1], quoted(value))
		}
	}
	if query.Filter.Not {
		words = append(words, "--not")
	}
	if err := query.Check(); err != nil {
		return nil, "", badRequestError(err.Error())
	}
	return query, s.command(words...), nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// quoted is a word for a shell.
func quoted(word string) string {
	if strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("/.:,-_=@%", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return word
}

// tap is the stream of requests as they happen.
func (s *Server) tap(w http.ResponseWriter, r *http.Request) {
	q, command, err := s.tapQuery(r)
	if err != nil {
		refuse(w, err)
		return
	}
	out, err := s.stream(w, r)
	if err != nil {
		refuse(w, err)
		return
	}
	defer out.close()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if err := s.o.Mesh.Tap(ctx, q, tapStream{out, command}); err != nil && ctx.Err() == nil {
		out.event("failed", map[string]string{"text": strings.ReplaceAll(err.Error(), "\n", "; ")}) //nolint:errcheck // the browser went away
	}
}

// tapStream is a TapSink that writes events.
type tapStream struct {
	*stream

	command string
}

// Began implements TapSink.
func (t tapStream) Began(b *observe.Began) error {
	return t.event("began", struct {
		*observe.Began

		Command string `json:"command"`
	}{b, t.command})
}

// Request implements TapSink.
func (t tapStream) Request(e *observe.Event, lines string) error {
	return t.event("request", requestOf(e, lines))
}

// Note implements TapSink.
func (t tapStream) Note(text string) error {
	return t.event("note", map[string]string{"text": text})
}
