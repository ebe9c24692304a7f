package exposition

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/testing/protocmp"
)

// translate gives the messages of a page, written in pieces of a size.
func translate(t testing.TB, page string, piece int) []*dto.MetricFamily {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out)
	for part := range slices.Chunk([]byte(page), piece) {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return decode(t, &out)
}

// decode reads messages by the types of the library that Prometheus' own clients write them with.
func decode(t testing.TB, r io.Reader) (all []*dto.MetricFamily) {
	t.Helper()
	buffered := bufio.NewReader(r)
	for {
		f := new(dto.MetricFamily)
		err := protodelim.UnmarshalFrom(buffered, f)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
}

// parsed gives what the library of Prometheus' clients reads of a page of text, by the names of its families.
func parsed(t *testing.T, page string) map[string]*dto.MetricFamily {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	all, err := p.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if h := m.GetHistogram(); h != nil {
				h.Bucket = slices.DeleteFunc(h.GetBucket(), func(b *dto.Bucket) bool { return math.IsInf(b.GetUpperBound(), 1) })
			}
		}
	}
	return all
}

const page = `# HELP http_requests_total Requests, "quoted", C:\\DIR\nand more.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400",path="C:\\DIR\\",note="a \"b\"\n",} 3

metric_without_labels 12.47
weird{ a = "b" , c="{}," }   NaN
# TYPE big gauge
big +Inf
rpc:rate5m -1.7e-9
# TYPE latency histogram
# HELP latency How long.
latency_bucket{a="é",le="0.05"} 24054
latency_bucket{a="é",le="+Inf"} 24055
latency_sum{a="é"} 53423.5
latency_count{a="é"} 24055
latency_bucket{le="1",a="b"} 0
latency_bucket{le="+Inf",a="b"} 0
latency_sum{a="b"} 0
latency_count{a="b"} 0
# TYPE rpc summary
rpc{quantile="0.5"} 4773
rpc{quantile="0.9"} NaN
rpc_sum 1.7560473e+07
rpc_count 2693
#	TYPE   tabs	gauge
tabs	1	-5
# TYPE nothing counter
last 1`

// TestWriterSaysWhatTheTextSays compares with what the library of Prometheus' clients makes of the text.
func TestWriterSaysWhatTheTextSays(t *testing.T) {
	for _, piece := range []int{1, 7, 1 << 20} {
		got := map[string]*dto.MetricFamily{}
		for _, f := range translate(t, page, piece) {
			got[f.GetName()] = f
		}
		want := parsed(t, page+"\n")
		delete(want, "nothing") // a message without a metric says nothing
		if diff := cmp.Diff(want, got, protocmp.Transform(), cmpopts.EquateNaNs()); diff != "" {
			t.Errorf("in pieces of %d (-text +protobuf):\n%s", piece, diff)
		}
	}
}

// samples are the series that a Prometheus makes of messages.
func samples(all []*dto.MetricFamily) (out []string) {
	say := func(name string, m *dto.Metric, extra string, v float64) {
		var labels strings.Builder
		for _, l := range m.GetLabel() {
			fmt.Fprintf(&labels, "%s=%q,", l.GetName(), l.GetValue())
		}
		out = append(out, fmt.Sprintf("%s{%s%s} %v @%d", name, labels.String(), extra, v, m.GetTimestampMs()))
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			switch name := f.GetName(); f.GetType() {
			case dto.MetricType_COUNTER:
				say(name, m, "", m.GetCounter().GetValue())
			case dto.MetricType_GAUGE:
				say(name, m, "", m.GetGauge().GetValue())
			case dto.MetricType_UNTYPED:
				say(name, m, "", m.GetUntyped().GetValue())
			case dto.MetricType_SUMMARY:
				for _, q := range m.GetSummary().GetQuantile() {
					say(name, m, fmt.Sprintf("quantile=\"%v\",", q.GetQuantile()), q.GetValue())
				}
				say(name+"_sum", m, "", m.GetSummary().GetSampleSum())
				say(name+"_count", m, "", float64(m.GetSummary().GetSampleCount()))
			case dto.MetricType_HISTOGRAM:
				for _, b := range m.GetHistogram().GetBucket() {
					say(name+"_bucket", m, fmt.Sprintf("le=\"%v\",", b.GetUpperBound()), float64(b.GetCumulativeCount()))
				}
				say(name+"_bucket", m, `le="+Inf",`, float64(m.GetHistogram().GetSampleCount()))
				say(name+"_sum", m, "", m.GetHistogram().GetSampleSum())
				say(name+"_count", m, "", float64(m.GetHistogram().GetSampleCount()))
			case dto.MetricType_GAUGE_HISTOGRAM:
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestWriterLosesNoLine: whatever is missing of a histogram or a summary, and in whatever order its lines come, each line is a series.
func TestWriterLosesNoLine(t *testing.T) {
	lines := []string{
		`h_bucket{a="1",le="0.5"} 1`, `h_bucket{a="1",le="+Inf"} 3`, `h_sum{a="1"} 7.5`, `h_count{a="1"} 3`,
		`h_bucket{a="2",le="0.5"} 1.5`, `h_bucket{a="2",le="+Inf"} 4`, `h_sum{a="2"} 8`, `h_count{a="2"} 4 17`, `h 5`,
		`h_bucket{a="1"} 6`, `s{quantile="0.5"} 9`, `s_sum 10`, `s_count 11`, `s{other="x"} 12`, `c 13`, `c{a="b"} 14`,
	}
	kinds := "# TYPE h histogram\n# TYPE s summary\n# TYPE c counter\n"
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		chosen := slices.DeleteFunc(slices.Clone(lines), func(string) bool { return r.IntN(5) == 0 })
		if seed%2 == 0 {
			r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		}
		var text strings.Builder
		text.WriteString(kinds)
		var want []string
		for i, line := range chosen {
			if i > 0 && r.IntN(4) == 0 {
				fmt.Fprintf(&text, "# TYPE %s %s\n", []string{"h", "s", "c"}[r.IntN(3)], []string{"histogram", "summary", "counter"}[r.IntN(3)])
			}
			text.WriteString(line + "\n")
			name, rest, _ := strings.Cut(line, " ")
			labels := ""
			if n, l, ok := strings.Cut(name, "{"); ok {
				name, labels = n, strings.TrimSuffix(l, "}")+","
			}
			value, stamp, ok := strings.Cut(rest, " ")
			if !ok {
				stamp = "0"
			}
			want = append(want, fmt.Sprintf("%s{%s} %s @%s", name, labels, value, stamp))
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, samples(translate(t, text.String(), 11))); diff != "" {
			t.Fatalf("seed %d (-lines +series):\n%s\n%s", seed, diff, text.String())
		}
	}
}

// TestWriterIsBounded: a family is written in messages of bounded size, and a histogram that does not end is not kept.
func TestWriterIsBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString("# TYPE many gauge\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "many{number=\"%d\"} %d\n", i, i)
	}
	text.WriteString("# TYPE endless histogram\n")
	for i := range 20_000 {
		fmt.Fprintf(&text, "endless_bucket{le=\"%d\"} %d\n", i, i)
	}
	families := map[string]int{}
	series := 0
	for _, f := range translate(t, text.String(), 1000) {
		families[f.GetName()]++
		series += len(f.GetMetric())
		if f.GetName() == "many" && f.GetType() != dto.MetricType_GAUGE {
			t.Errorf("a piece of the family is a %v", f.GetType())
		}
	}
	if families["many"] < 2 || families["endless_bucket"] < 2 || series != 25_000 {
		t.Errorf("messages by family %v, %d series", families, series)
	}
}

type refusing struct{}

func (refusing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriterTellsThatTheScraperIsGone(t *testing.T) {
	w := NewWriter(refusing{})
	io.WriteString(w, page)
	if err := w.Flush(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

func TestHistogram(t *testing.T) {
	for name, buckets := range map[string][]uint64{
		"none": nil, "empty": make([]uint64, 9), "one": {0, 0, 5}, "gaps": {1, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 1 << 60}, "full": {4, 3, 2, 1},
	} {
		h := &Histogram{Count: 7, Sum: 1.5, Bounds: []float64{1, 5}, Cumulative: []uint64{2, 6}, Schema: 3, ZeroThreshold: 0.25, ZeroCount: 2, First: -12, Buckets: buckets}
		var out bytes.Buffer
		w := NewWriter(&out)
		io.WriteString(w, "# HELP h Help.\n# TYPE h histogram\n")
		w.Histogram("h", `a="b\"",c="d"`, h)
		w.Histogram("h", "", h)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		all := decode(t, &out)
		if len(all) != 1 || len(all[0].GetMetric()) != 2 || all[0].GetHelp() != "Help." || all[0].GetMetric()[0].GetLabel()[0].GetValue() != `b"` {
			t.Fatalf("%s: %v", name, all)
		}
		got := all[0].GetMetric()[1].GetHistogram()
		if got.GetSampleCount() != 7 || got.GetSampleSum() != 1.5 || got.GetSchema() != 3 || got.GetZeroThreshold() != 0.25 || got.GetZeroCount() != 2 || len(got.GetBucket()) != 2 {
			t.Errorf("%s: %v", name, got)
		}
		if diff := cmp.Diff(filled(h), read(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// filled are the buckets that are not empty, by their index.
func filled(h *Histogram) map[int]uint64 {
	out := map[int]uint64{}
	for i, n := range h.Buckets {
		if n > 0 {
			out[h.First+i] = n
		}
	}
	return out
}

// read gives the buckets of a message as the format describes them.
func read(h *dto.Histogram) map[int]uint64 {
	out := map[int]uint64{}
	at, delta, n := 0, 0, int64(0)
	for _, s := range h.GetPositiveSpan() {
		at += int(s.GetOffset())
		for range s.GetLength() {
			n += h.GetPositiveDelta()[delta]
			delta++
			if n > 0 {
				out[at] = uint64(n)
			}
			at++
		}
	}
	return out
}

func TestPrefersProtobuf(t *testing.T) {
	const offer = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	for accept, want := range map[string]bool{
		offer + ";q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1": true,
		offer + ",application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1":      true,
		offer + ";escaping=allow-utf-8": true,
		"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1": false,
		offer + ";q=0": false, offer + ";q=x": false, offer + ";q=NaN": false, offer + ";q=0.5,text/plain": false,
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text": false,
		"application/vnd.google.protobuf": false, "*/*": false, "": false, ",,;;=": false,
	} {
		if got := PrefersProtobuf(accept); got != want {
			t.Errorf("%q: %t", accept, got)
		}
	}
}

func FuzzWriter(f *testing.F) {
	f.Add(page)
	f.Add("h{le=\"1\"} 1\n# TYPE h histogram\nh_bucket{le=\"x\"} 1\nh_count 18446744073709551616\n")
	f.Fuzz(func(t *testing.T, text string) {
		var out bytes.Buffer
		w := NewWriter(&out)
		io.WriteString(w, text)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if utf8.ValidString(text) { // the decoder refuses others, and so does the filter before this
			decode(t, &out)
		}
	})
}
