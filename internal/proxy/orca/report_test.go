package orca

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"fairlead.dev/fairlead/internal/net/httpx"
)

func double(b []byte, n protowire.Number, v float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), math.Float64bits(v))
}

func entry(b []byte, n protowire.Number, key string, v float64) []byte {
	e := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), key)
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), double(e, 2, v))
}

// example is a report with every kind of field, one of a later version, and the rps of an earlier one.
func example() string {
	b := double(double(double(double(double(nil, 1, .7), 2, .9), 6, 1000), 7, 2), 9, .8)
	b = entry(entry(entry(b, 8, "queue", .95), 5, "disk", .2), 4, "db", 12)
	b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), 1000)
	b = protowire.AppendString(protowire.AppendTag(b, 77, protowire.BytesType), "later")
	return base64.StdEncoding.EncodeToString(b)
}

func fieldsOf(name, value string) *httpx.Fields {
	f := &httpx.Fields{}
	f.AddString("content-type", "text/plain")
	f.AddString(name, value)
	return f
}

func TestRead(t *testing.T) {
	all := Report{.8, 1000, 2}
	const text = "TEXT cpu_utilization:0.7, mem_utilization:0.9,application_utilization:0.8,rps_fractional:1000,eps:2,named_metrics.queue:0.95,"
	const json = `JSON {"cpu_utilization": 0.7, "memUtilization":9e-1,"applicationUtilization":"0.8" , "rpsFractional":1000,"eps":2, "rps": 1000, "namedMetrics":{"queue":0.95,"b":1e-3},"utilization":{}}`
	for _, tt := range []struct {
		name, field, value string
		metrics            []string
		want               Report
		ok                 bool
	}{
		{"binary", BinaryField, example(), nil, all, true},
		{"binary_without_padding", BinaryField, strings.TrimRight(example(), "="), nil, all, true},
		{"binary_by_prefix", Field, "BIN " + example(), nil, all, true},
		{"text", Field, text, nil, all, true},
		{"text_with_equals", Field, strings.ReplaceAll(text, ":", "="), nil, all, true},
		{"json", Field, json, nil, all, true},
		{"a_metric_of_binary", BinaryField, example(), []string{"named_metrics.queue"}, Report{.95, 1000, 2}, true},
		{"a_metric_of_text", Field, text, []string{"named_metrics.queue"}, Report{.95, 1000, 2}, true},
		{"a_metric_of_json", Field, json, []string{"named_metrics.queue"}, Report{.95, 1000, 2}, true},
		{"the_largest_metric", BinaryField, example(), []string{"utilization.disk", "mem_utilization", "named_metrics.none"}, Report{.9, 1000, 2}, true},
		{"a_metric_that_is_not_there", Field, text, []string{"named_metrics.none"}, all, true},
		{"only_cpu", Field, "TEXT cpu_utilization:0.7", nil, Report{Utilization: .7}, true},
		{"no_format", Field, "cpu_utilization:0.7", nil, Report{}, false},
		{"not_a_metric", Field, "TEXT cpu:0.7", nil, Report{}, false},
		{"no_value", Field, "TEXT cpu_utilization", nil, Report{}, false},
		{"not_a_number", Field, "TEXT cpu_utilization:NaN", nil, Report{}, false},
		{"infinite", Field, "TEXT cpu_utilization:Inf", nil, Report{}, false},
		{"a_map_without_key", Field, "TEXT named_metrics.:1", nil, Report{}, false},
		{"too_long", Field, "TEXT " + strings.Repeat("eps:1,", 400), nil, Report{}, false},
		{"broken_json", Field, `JSON {"eps":1`, nil, Report{}, false},
		{"more_behind_json", Field, `JSON {"eps":1}}`, nil, Report{}, false},
		{"an_escape_in_json", Field, `JSON {"eps\n":1}`, nil, Report{}, false},
		{"broken_base64", BinaryField, "*", nil, Report{}, false},
		{"a_broken_message", BinaryField, base64.StdEncoding.EncodeToString([]byte{9, 1}), nil, Report{}, false},
		{"nothing", "x-other", "TEXT eps:1", nil, Report{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fieldsOf(tt.field, tt.value)
			if got, ok := Read(f, tt.metrics); got != tt.want || ok != tt.ok {
				t.Errorf("Read(%q) = %+v, %v; want %+v, %v", tt.value, got, ok, tt.want, tt.ok)
			}
			if n := testing.AllocsPerRun(20, func() { Read(f, tt.metrics) }); n != 0 && tt.ok {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// Whatever an app writes, a report has numbers, and reading ends.
func FuzzRead(f *testing.F) {
	f.Add("", example())
	f.Add("TEXT cpu_utilization:0.7,named_metrics.a:1", "")
	f.Add(`JSON {"eps":1,"named_metrics":{"a":2}}`, "")
	f.Add("BIN "+example(), "")
	f.Fuzz(func(t *testing.T, value, binary string) {
		fields := &httpx.Fields{}
		if binary != "" {
			fields.AddString(BinaryField, binary)
		}
		fields.AddString(Field, value)
		r, ok := Read(fields, []string{"named_metrics.a", "cpu_utilization"})
		for _, v := range []float64{r.Utilization, r.RPS, r.EPS} {
			if math.IsNaN(v) || math.IsInf(v, 0) || !ok && v != 0 {
				t.Errorf("%+v, %v", r, ok)
			}
		}
	})
}
