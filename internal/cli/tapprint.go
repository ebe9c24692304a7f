package cli

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"fairlead.dev/fairlead/internal/observe"
)

// tapPrinter prints requests as "linkerd viz tap" does (linkerd2 viz/cmd/tap.go): three lines, or three JSON objects, for
// each.
type tapPrinter struct {
	out    io.Writer
	output string
	traces bool              // each line says which trace the request belongs to
	pods   map[string]uint32 // numbers of the sidecars, in the order of their first request
	begun  map[tapID]bool    // requests whose first line has been printed
}

func newTapPrinter(out io.Writer, output string) *tapPrinter {
	return &tapPrinter{out: out, output: output, pods: make(map[string]uint32), begun: make(map[tapID]bool)}
}

// withTraces has each line say which trace the request belongs to.
func (p *tapPrinter) withTraces() *tapPrinter {
	p.traces = true
	return p
}

func (p *tapPrinter) event(e *observe.Event) error {
	if !p.traces {
		e.TraceID = ""
	}
	base := p.number(e.Pod)
	first := p.isFirst(e, base)
	if isData(p.output) {
		return p.json(e, base, first)
	}
	_, err := io.WriteString(p.out, tapLines(e, base, tapForm{first: first, wide: p.output == "wide"}))
	return err
}

// mostBegun bounds the requests of which it is known that they have begun. Beyond, their first line is printed again.
const mostBegun = 10_000

// isFirst reports whether the first line of a request is to be printed.
func (p *tapPrinter) isFirst(e *observe.Event, base uint32) bool {
	id := tapID{base, e.ID}
	if e.Begun {
		if len(p.begun) >= mostBegun {
			clear(p.begun)
		}
		p.begun[id] = true
		return true
	}
	known := p.begun[id]
	delete(p.begun, id)
	return !known
}

// number is that of a pod's sidecar.
func (p *tapPrinter) number(pod string) uint32 {
	base, known := p.pods[pod]
	if !known {
		base = uint32(len(p.pods))
		p.pods[pod] = base
	}
	return base
}

// tapForm says which lines are wanted, and how long.
type tapForm struct {
	first bool // the one of the beginning
	wide  bool
}

// tapLines are the lines of a request. A line rsp is there where an answer came. What Linkerd does not have, the cause of a
// failure, stands at the end of the last one.
func tapLines(e *observe.Event, base uint32, form tapForm) string {
	proxy := "out"
	if e.Direction == observe.Inbound {
		proxy = "in "
	}
	id := fmt.Sprintf("id=%d:%d proxy=%s src=%s dst=%s tls=%s", base, e.ID, proxy, e.Source.Addr, e.Destination.Addr, tapTLS(e))
	if e.TraceID != "" {
		id += " trace=" + printable(e.TraceID)
	}
	labels := ""
	if form.wide {
		labels = tapLabels("src", e.Source.Labels) + tapLabels("dst", e.Destination.Labels) + tapRoute(e)
	}
	var b strings.Builder
	if form.first {
		fmt.Fprintf(&b, "req %s :method=%s :authority=%s :path=%s%s\n", id, printable(e.Method), printable(e.Authority), printable(e.Path), labels)
	}
	if e.Begun {
		return b.String()
	}
	latency, rest := tapTimes(e)
	if e.Status != 0 {
		fmt.Fprintf(&b, "rsp %s :status=%d latency=%dµs%s\n", id, e.Status, latency.Microseconds(), labels)
	}
	fmt.Fprintf(&b, "end %s ", id)
	switch {
	case e.GRPCStatus != "":
		fmt.Fprintf(&b, "grpc-status=%s ", printable(grpcCode(e.GRPCStatus)))
	case e.Status == 0:
		b.WriteString("reset-error=0 ")
	}
	fmt.Fprintf(&b, "duration=%dµs response-length=%dB%s", rest.Microseconds(), e.Sent, labels)
	if e.Flags != "" {
		b.WriteString(" flags=" + e.Flags)
	}
	if e.Cause != "" {
		b.WriteString(" cause=" + strconv.Quote(printable(e.Cause)))
	}
	b.WriteByte('\n')
	return b.String()
}

// tapTimes are the time until the head of the answer, and from there to the end; where no head came, all of it is the rest.
func tapTimes(e *observe.Event) (latency, rest time.Duration) {
	if e.HeadAfter >= 0 {
		return e.HeadAfter, e.Duration - e.HeadAfter
	}
	if e.Status != 0 { // the sidecar's own answer
		return e.Duration, 0
	}
	return 0, e.Duration
}

// tapTLS is Linkerd's label: true, or the reason in its words, as in no_tls_from_remote.
func tapTLS(e *observe.Event) string {
	if e.TLS {
		return "true"
	}
	return strings.ReplaceAll(strings.ToLower(e.NoTLS), " ", "_")
}

func tapLabels(side string, labels map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, " %s_%s=%s", side, name, labels[name])
	}
	return b.String()
}

func tapRoute(e *observe.Event) string {
	if e.Route == "" {
		return ""
	}
	return " rt_route=" + printable(e.Route)
}

// grpcCodes are the names of gRPC's status codes (https://grpc.io/docs/guides/status-codes/), as grpc-go writes them.
var grpcCodes = map[string]string{
	"0": "OK", "1": "Canceled", "2": "Unknown", "3": "InvalidArgument", "4": "DeadlineExceeded", "5": "NotFound", "6": "AlreadyExists",
	"7": "PermissionDenied", "8": "ResourceExhausted", "9": "FailedPrecondition", "10": "Aborted", "11": "OutOfRange", "12": "Unimplemented",
	"13": "Internal", "14": "Unavailable", "15": "DataLoss", "16": "Unauthenticated",
}

func grpcCode(status string) string {
	if name, ok := grpcCodes[status]; ok {
		return name
	}
	return "Code(" + status + ")"
}

// What follows are the JSON objects.

type tapJSON struct {
	Source         tapPeer      `json:"source"`
	Destination    tapPeer      `json:"destination"`
	RouteMeta      *tapRouteOf  `json:"routeMeta"`
	ProxyDirection string       `json:"proxyDirection"`
	Request        *tapRequest  `json:"requestInitEvent,omitempty"`
	Response       *tapResponse `json:"responseInitEvent,omitempty"`
	End            *tapEnd      `json:"responseEndEvent,omitempty"`
}

type tapPeer struct {
	IP       string            `json:"ip"`
	Port     uint16            `json:"port"`
	Metadata map[string]string `json:"metadata"`
}

type tapRouteOf struct {
	Route string `json:"route"`
}

type tapID struct {
	Base   uint32 `json:"base"`
	Stream uint64 `json:"stream"`
}

type tapRequest struct {
	ID        tapID       `json:"id"`
	Method    string      `json:"method"`
	Scheme    string      `json:"scheme"`
	Authority string      `json:"authority"`
	Path      string      `json:"path"`
	Headers   []tapHeader `json:"headers"`
}

type tapResponse struct {
	ID         tapID       `json:"id"`
	Since      tapDuration `json:"sinceRequestInit"`
	HTTPStatus int         `json:"httpStatus"`
	Headers    []tapHeader `json:"headers"`
}

type tapEnd struct {
	ID            tapID        `json:"id"`
	Since         tapDuration  `json:"sinceRequestInit"`
	SinceResponse *tapDuration `json:"sinceResponseInit"`
	ResponseBytes int64        `json:"responseBytes"`
	Trailers      []tapHeader  `json:"trailers"`
	GRPCStatus    int          `json:"grpcStatusCode"`
	// Reset is 0 where the sidecar broke the request off, absent where it was answered: which code the client was sent is not
	// known.
	Reset *int   `json:"resetErrorCode,omitempty"`
	Flags string `json:"flags,omitempty"`
	Cause string `json:"cause,omitempty"`
}

type tapDuration struct {
	Seconds int64 `json:"seconds"`
	Nanos   int32 `json:"nanos"`
}

type tapHeader struct {
	Name string  `json:"name"`
	Str  *string `json:"valueStr,omitempty"`
	Bin  *string `json:"valueBin,omitempty"`
}

func (p *tapPrinter) json(e *observe.Event, base uint32, first bool) error { //nolint:revive // what was printed is not printed again
	id := tapID{base, e.ID}
	frame := tapJSON{
		Source: tapPeerOf(e, &e.Source, e.Direction == observe.Inbound), Destination: tapPeerOf(e, &e.Destination, e.Direction == observe.Outbound),
		ProxyDirection: strings.ToUpper(string(e.Direction)),
	}
	if e.Route != "" {
		frame.RouteMeta = &tapRouteOf{e.Route}
	}
	var objects []*tapJSON
	request := frame
	request.Request = &tapRequest{
		ID: id, Method: e.Method, Scheme: strings.ToUpper(e.Scheme), Authority: e.Authority, Path: e.Path, Headers: tapHeaders(e.RequestHeaders),
	}
	if first {
		objects = append(objects, &request)
	}
	if !e.Begun {
		objects = append(objects, tapEnds(e, id, &frame)...)
	}
	for _, o := range objects {
		if err := printValue(p.out, p.output, o); err != nil {
			return err
		}
		if p.output == "json" {
			continue
		}
		if _, err := io.WriteString(p.out, "\n"); err != nil {
			return err
		}
	}
	return nil
}

// tapEnds are the objects of a request that has ended, but the one of its beginning.
func tapEnds(e *observe.Event, id tapID, frame *tapJSON) (objects []*tapJSON) {
	latency, rest := tapTimes(e)
	end := *frame
	end.End = &tapEnd{ID: id, Since: tapDurationOf(e.Duration), ResponseBytes: e.Sent, Trailers: []tapHeader{}, Flags: e.Flags, Cause: e.Cause}
	end.End.GRPCStatus, _ = strconv.Atoi(e.GRPCStatus) // 0 where it is none, as in Linkerd's
	if e.Status != 0 {
		response := *frame
		response.Response = &tapResponse{ID: id, Since: tapDurationOf(latency), HTTPStatus: e.Status, Headers: tapHeaders(e.ResponseHeaders)}
		objects = append(objects, &response)
		since := tapDurationOf(rest)
		end.End.SinceResponse = &since
	} else {
		end.End.Reset = new(int)
	}
	return append(objects, &end)
}

// tapPeerOf is one end of a request. Whether it was spoken to by mutual TLS is said of the end that is not the sidecar's own.
func tapPeerOf(e *observe.Event, peer *observe.Peer, other bool) tapPeer { //nolint:revive // which end it is
	metadata := maps.Clone(peer.Labels)
	if tls := tapTLS(e); other && tls != "" {
		if metadata == nil {
			metadata = make(map[string]string)
		}
		metadata["tls"] = tls
	}
	return tapPeer{IP: peer.Addr.Addr().String(), Port: peer.Addr.Port(), Metadata: metadata}
}

func tapDurationOf(d time.Duration) tapDuration {
	return tapDuration{int64(d / time.Second), int32(d % time.Second)}
}

func tapHeaders(fields []observe.HeaderField) []tapHeader {
	out := []tapHeader{}
	for _, f := range fields {
		if utf8.ValidString(f.Value) {
			out = append(out, tapHeader{Name: f.Name, Str: &f.Value})
			continue
		}
		bin := base64.StdEncoding.EncodeToString([]byte(f.Value))
		out = append(out, tapHeader{Name: f.Name, Bin: &bin})
	}
	return out
}
