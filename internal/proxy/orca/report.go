package orca

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"fairlead.dev/fairlead/internal/net/httpx"
)

// Report is what an app says of its load.
type Report struct {
	// Utilization is how much of what it can do it does, of 1: the largest of the metrics that were asked for, where that is
	// above 0, or else the app's own figure, or that of its CPU.
	Utilization float64
	// RPS and EPS are the requests that it answers, and the errors that it makes, in a second.
	RPS, EPS float64
}

// The fields that reports come in.
const (
	Field       = "endpoint-load-metrics"
	BinaryField = "endpoint-load-metrics-bin"
)

// maxReport bounds a report, in bytes.
const maxReport = 2 << 10

// reading is a report that is being read.
type reading struct {
	metrics                 []string
	cpu, app, rps, eps, max float64
}

// Read gives the report among the fields of an answer. metrics name those that make the utilization, such as "cpu_utilization"
// or "named_metrics.queue".
func Read(fields *httpx.Fields, metrics []string) (_ Report, ok bool) {
	r := reading{metrics: metrics}
	if !r.read(fields) {
		return Report{}, false
	}
	used := r.max
	if used <= 0 {
		used = r.app
	}
	if used <= 0 {
		used = r.cpu
	}
	return Report{used, r.rps, r.eps}, true
}

func (r *reading) read(fields *httpx.Fields) bool {
	if b := fields.Get(BinaryField); b != nil {
		return r.binary(b)
	}
	switch v := fields.Get(Field); {
	case bytes.HasPrefix(v, []byte("BIN ")):
		return r.binary(v[4:])
	case bytes.HasPrefix(v, []byte("TEXT ")):
		return r.text(v[5:])
	case bytes.HasPrefix(v, []byte("JSON ")):
		s := scanner{v[5:]}
		return len(v) <= maxReport && r.object(&s) && s.rest()
	}
	return false
}

// put takes one metric: a field of the message, or, with a key, an entry of one of its maps. ok is false where it is none.
func (r *reading) put(field string, key []byte, value float64) (ok bool) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return false
	}
	for _, m := range r.metrics {
		name, entry, _ := strings.Cut(m, ".")
		if name == field && entry == string(key) {
			r.max = max(r.max, value)
		}
	}
	switch field {
	case "cpu_utilization":
		r.cpu = value
	case "application_utilization":
		r.app = value
	case "rps_fractional":
		r.rps = value
	case "eps":
		r.eps = value
	case "mem_utilization":
	default:
		return isMap(field)
	}
	return true
}

func isMap(field string) bool {
	return field == "named_metrics" || field == "utilization" || field == "request_cost"
}

// text reads "cpu_utilization:0.3, named_metrics.queue:7"; with "=" it is as good.
func (r *reading) text(v []byte) bool {
	if len(v) > maxReport {
		return false
	}
	for len(v) > 0 {
		var entry []byte
		entry, v, _ = bytes.Cut(v, []byte(","))
		if entry = bytes.TrimSpace(entry); len(entry) == 0 {
			continue
		}
		at := bytes.IndexAny(entry, ":=")
		if at < 0 {
			return false
		}
		number, ok := number(bytes.TrimSpace(entry[at+1:]))
		name, key, mapped := bytes.Cut(bytes.TrimSpace(entry[:at]), []byte("."))
		field := fieldOf(name)
		if !ok || mapped != isMap(field) || mapped && len(key) == 0 || !r.put(field, key, number) {
			return false
		}
	}
	return true
}

// fieldOf gives the name of a field of the message, as a constant, "" for none. JSON has two spellings.
func fieldOf(name []byte) string {
	switch string(name) {
	case "cpu_utilization", "cpuUtilization":
		return "cpu_utilization"
	case "mem_utilization", "memUtilization":
		return "mem_utilization"
	case "application_utilization", "applicationUtilization":
		return "application_utilization"
	case "rps_fractional", "rpsFractional":
		return "rps_fractional"
	case "eps":
		return "eps"
	case "named_metrics", "namedMetrics":
		return "named_metrics"
	case "utilization":
		return "utilization"
	case "request_cost", "requestCost":
		return "request_cost"
	}
	return ""
}

// maxNumber bounds the digits of a number.
const maxNumber = 40

func number(b []byte) (float64, bool) {
	if len(b) == 0 || len(b) > maxNumber {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(b), 64) // the conversion stays on the stack: it is short
	return f, err == nil
}

// binary reads a message in base64, with padding or without.
func (r *reading) binary(v []byte) bool {
	var buf [maxReport]byte
	v = bytes.TrimRight(bytes.TrimSpace(v), "=")
	if len(v) == 0 || base64.RawStdEncoding.DecodedLen(len(v)) > len(buf) {
		return false
	}
	n, err := base64.RawStdEncoding.Decode(buf[:], v)
	return err == nil && r.message(buf[:n])
}

// The numbers of the fields.
var doubles = map[protowire.Number]string{
	1: "cpu_utilization", 2: "mem_utilization", 6: "rps_fractional", 7: "eps", 9: "application_utilization",
}

var maps = map[protowire.Number]string{4: "request_cost", 5: "utilization", 8: "named_metrics"}

func (r *reading) message(b []byte) bool {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch {
		case typ == protowire.Fixed64Type && doubles[num] != "":
			var bits uint64
			if bits, n = protowire.ConsumeFixed64(b); n < 0 || !r.put(doubles[num], nil, math.Float64frombits(bits)) {
				return false
			}
		case typ == protowire.BytesType && maps[num] != "":
			var entry []byte
			if entry, n = protowire.ConsumeBytes(b); n < 0 || !r.entry(maps[num], entry) {
				return false
			}
		default:
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return false
			}
		}
		b = b[n:]
	}
	return true
}

// entry reads one entry of a map: its key is field 1, its value field 2.
func (r *reading) entry(field string, b []byte) bool {
	var key []byte
	value := 0.0
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch {
		case num == 1 && typ == protowire.BytesType:
			key, n = protowire.ConsumeBytes(b)
		case num == 2 && typ == protowire.Fixed64Type:
			var bits uint64
			bits, n = protowire.ConsumeFixed64(b)
			value = math.Float64frombits(bits)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return false
		}
		b = b[n:]
	}
	return r.put(field, key, value)
}
