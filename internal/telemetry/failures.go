package telemetry

import (
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// KeptFailures is how many failed calls a sidecar remembers.
const KeptFailures = 200

// The longest that is kept of what a client sent, and of the cause, in bytes.
const (
	keptMethod, keptPath, keptAuthority, keptID, keptCause = 32, 512, 255, 64, 512
)

// Failure is a call that failed, as one sidecar saw it. What is said of the same fields in [Record] holds.
type Failure struct {
	Reporter                  Reporter
	Start                     time.Time
	Duration                  time.Duration
	Client, Dialled, Endpoint netip.AddrPort
	// Source and Destination are workloads, "name.namespace"; empty where they are not known.
	Source, Destination string
	Cluster, Route      string
	Protocol            string
	// Method, Path, Authority and RequestID are what the client sent, cut where that was long.
	Method, Path, Authority, RequestID string
	Code                               int
	GRPCStatus, Flags, Details         string
	// Cause says what went wrong, for people. Empty where the answer of the app is all that there is to say.
	Cause string
}

// Failures is the sink that remembers the last calls that failed: those that the sidecar answered itself or broke off, those
// that were answered with a status of 500 and above, and those of gRPC whose status says that the server failed. Its memory
// is bounded, and is taken when the first call fails.
type Failures struct {
	mu    sync.Mutex
	kept  []keptFailure // a ring: the next one goes to total % KeptFailures
	total uint64
}

// keptFailure is a Failure whose text lies in one buffer, which the next failure in its place uses again.
type keptFailure struct {
	Failure

	text                        []byte
	method, path, authority, id int // where each of them ends in text; the cause is behind them
	labels                      string
}

// failed tells a call that failed. A delay that was asked for is none.
func failed(r *Record) bool {
	switch {
	case r.Flags != "" && r.Flags != "DI", r.Failure != "", r.Code >= 500:
		return true
	case r.Protocol != "" && r.Code == 0:
		return true
	}
	switch r.GRPCStatus { // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS
	case "2", "4", "13", "14", "15":
		return true
	}
	return false
}

// Record implements Sink.
func (f *Failures) Record(r *Record) {
	if !failed(r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kept == nil {
		f.kept = make([]keptFailure, KeptFailures)
	}
	k := &f.kept[f.total%KeptFailures]
	f.total++
	k.Failure = Failure{
		Reporter: r.Reporter, Start: r.Start, Duration: r.Duration, Client: r.Client, Dialled: r.Dialled, Endpoint: r.Endpoint,
		Cluster: r.Cluster, Route: r.Route, Protocol: r.Protocol, Code: r.Code,
		GRPCStatus: r.GRPCStatus, Flags: r.Flags, Details: r.Details,
	}
	k.labels = ""
	if r.HTTP != nil {
		k.labels = r.HTTP.labels
	} else if r.TCP != nil {
		k.labels = r.TCP.labels
	}
	cause := r.Cause
	if cause == "" {
		cause = r.Failure
	}
	k.text = appendCut(k.text[:0], r.Method, keptMethod)
	k.method = len(k.text)
	k.text = appendCut(k.text, r.Path, keptPath)
	k.path = len(k.text)
	k.text = appendCut(k.text, r.Authority, keptAuthority)
	k.authority = len(k.text)
	k.text = appendCut(k.text, r.field("x-request-id"), keptID)
	k.id = len(k.text)
	k.text = appendCut(k.text, cause, keptCause)
}

// appendCut appends at most so many bytes of s, and says where that is not all.
func appendCut[T string | []byte](b []byte, s T, most int) []byte {
	if len(s) <= most {
		return append(b, s...)
	}
	for end := most - utf8.UTFMax; most > end && !utf8.RuneStart(s[most]); {
		most--
	}
	return append(append(b, s[:most]...), "…"...)
}

// Recent gives the failures that are remembered, the latest first, and how many there were since the sidecar began.
func (f *Failures) Recent() (recent []Failure, total uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := int(min(f.total, KeptFailures))
	recent = make([]Failure, 0, n)
	for i := range n {
		k := &f.kept[(f.total-1-uint64(i))%KeptFailures]
		out := k.Failure
		text := string(k.text)
		out.Method, out.Path, out.Authority = text[:k.method], text[k.method:k.path], text[k.path:k.authority]
		out.RequestID, out.Cause = text[k.authority:k.id], text[k.id:]
		out.Source, out.Destination = party(k.labels, "source"), party(k.labels, "destination")
		recent = append(recent, out)
	}
	return recent, f.total
}

// party gives the workload of one side, as the labels of a series name it, and empty where they do not know it.
func party(labels, side string) string {
	name, namespace := labelOf(labels, side+"_workload"), labelOf(labels, side+"_workload_namespace")
	if name == "" || name == "unknown" {
		return ""
	}
	return name + "." + namespace
}

// labelOf finds the value of a label in the text of a series. Names of workloads need no escapes.
func labelOf(labels, name string) string {
	for at := 0; ; {
		i := strings.Index(labels[at:], name+`="`)
		if i < 0 {
			return ""
		}
		at += i
		if at == 0 || labels[at-1] == ',' || labels[at-1] == '{' {
			value, _, _ := strings.Cut(labels[at+len(name)+2:], `"`)
			return value
		}
		at++
	}
}
