package telemetry

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"

	"fairlead.dev/fairlead/internal/exposition"
	"fairlead.dev/fairlead/internal/plan"
)

func withNative() *Registry {
	r := NewRegistry("x")
	r.SetNativeHistograms(true)
	return r
}

// families reads what a scraper gets that takes protobuf, by the names of families.
func familiesOf(tb testing.TB, r *Registry) map[string][]*dto.Metric {
	tb.Helper()
	var page bytes.Buffer
	w := exposition.NewWriter(&page)
	if err := errors.Join(r.WriteMetrics(w), w.Flush()); err != nil {
		tb.Fatal(err)
	}
	all := map[string][]*dto.Metric{}
	for in := bufio.NewReader(&page); ; {
		f := new(dto.MetricFamily)
		err := protodelim.UnmarshalFrom(in, f)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			tb.Fatal(err)
		}
		all[f.GetName()] = append(all[f.GetName()], f.GetMetric()...)
	}
}

// oracle is a histogram of Prometheus' own client with the same settings.
func oracle(zero float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "x", Help: "What is compared with.", Buckets: bounds[:], NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: zero,
	})
}

// TestNativeHistogramsAreThoseOfPrometheusClient counts the same with Prometheus' own client, which decides what is in which bucket.
func TestNativeHistogramsAreThoseOfPrometheusClient(t *testing.T) {
	r := withNative()
	s := r.HTTP(labels(Source))
	duration, size := oracle(1.0/64), oracle(0.5)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		rec := &Record{Code: 200, Duration: time.Duration(rnd.ExpFloat64() * float64(20*time.Millisecond)), Received: int64(rnd.IntN(3)) * int64(i)}
		switch i % 10 {
		case 0: // exactly where buckets end
			rec.Duration = time.Millisecond << (i % 20)
		case 1:
			rec.Duration = time.Duration(i)
		case 2:
			rec.Received = 1 << (i % 40)
		}
		s.Observe(rec)
		duration.Observe(float64(rec.Duration) / float64(time.Millisecond))
		size.Observe(float64(rec.Received))
	}
	got := familiesOf(t, r)
	for name, h := range map[string]prometheus.Histogram{"istio_request_duration_milliseconds": duration, "istio_request_bytes": size} {
		var want dto.Metric
		if err := h.Write(&want); err != nil {
			t.Fatal(err)
		}
		want.Histogram.CreatedTimestamp = nil
		if len(got[name]) != 1 {
			t.Fatalf("%s: %d series", name, len(got[name]))
		}
		if diff := cmp.Diff(want.GetHistogram().String(), got[name][0].GetHistogram().String()); diff != "" {
			t.Errorf("%s (-client_golang +ours):\n%s", name, diff)
		}
	}
}

// nativeCounts are the buckets of a message by their index.
func nativeCounts(h *dto.Histogram) (counts map[int]uint64, total uint64) {
	counts, total = map[int]uint64{}, h.GetZeroCount()
	at, i, n := 0, 0, int64(0)
	for _, span := range h.GetPositiveSpan() {
		at += int(span.GetOffset())
		for range span.GetLength() {
			n += h.GetPositiveDelta()[i]
			i++
			counts[at] += uint64(n)
			total += uint64(n)
			at++
		}
	}
	return counts, total
}

// TestNativeHistogramsAreBounded: with values of all magnitudes buckets are wider, and nothing is lost, not beyond the last either.
func TestNativeHistogramsAreBounded(t *testing.T) {
	r := withNative()
	s := r.HTTP(labels(Source))
	const each = 4
	seen := 0
	for v := 1.0 / 128; v < 1<<44; v *= 1.05 {
		for range each {
			s.Observe(&Record{Code: 200, Duration: time.Duration(min(v*float64(time.Millisecond), math.MaxInt64/2)), Received: int64(v)})
			seen++
		}
	}
	for _, name := range []string{"istio_request_duration_milliseconds", "istio_request_bytes"} {
		h := familiesOf(t, r)[name][0].GetHistogram()
		counts, total := nativeCounts(h)
		if len(counts) > maxNative || len(counts) < maxNative/3 || h.GetSchema() >= nativeSchema || total != uint64(seen) || h.GetSampleCount() != total {
			t.Errorf("%s: %d buckets of schema %d, %d of %d observations, count %d", name, len(counts), h.GetSchema(), total, seen, h.GetSampleCount())
		}
	}
}

// TestNativeCountsAreTheClassicOnes: whatever is counted while pages are written, a page's classic buckets are never ahead of its count, which
// is that of its native ones.
func TestNativeCountsAreTheClassicOnes(t *testing.T) {
	r := withNative()
	s := r.HTTP(labels(Source))
	const workers, each = 4, 2000
	var observing sync.WaitGroup
	for i := range workers {
		observing.Go(func() {
			for j := range each {
				s.Observe(&Record{Code: 200 + i%2, Duration: time.Duration(i*j) * time.Microsecond, Sent: int64(j)})
			}
		})
	}
	check := func() (all uint64) {
		for name, series := range familiesOf(t, r) {
			for _, m := range series {
				h := m.GetHistogram()
				if h == nil {
					continue
				}
				_, total := nativeCounts(h)
				classic := h.GetBucket()[len(h.GetBucket())-1].GetCumulativeCount()
				if total != h.GetSampleCount() || classic > total {
					t.Errorf("%s: %d in native buckets, %d up to the last classic bound, count %d", name, total, classic, h.GetSampleCount())
				}
				if name == "istio_response_bytes" {
					all += h.GetSampleCount()
				}
			}
		}
		return all
	}
	for range 20 {
		check()
	}
	observing.Wait()
	text, _ := value(t, r, "istio_response_bytes_count")
	if all := check(); all != workers*each || text != workers*each {
		t.Errorf("%d are counted natively and %v as text, of %d", all, text, workers*each)
	}
}

// TestNativeHistogramsAreSwitched: with them series begin anew, also those whose labels objects change; without them nothing is said of them.
func TestNativeHistogramsAreSwitched(t *testing.T) {
	r := NewRegistry("x")
	s := r.HTTP(labels(Source))
	observe := func(times int) {
		for range times {
			s.Observe(&Record{Code: 200, Duration: time.Millisecond})
		}
	}
	state := func() (count uint64, native bool) {
		all := familiesOf(t, r)["istio_request_duration_milliseconds"]
		if len(all) != 1 {
			t.Fatalf("%d series", len(all))
		}
		return all[0].GetHistogram().GetSampleCount(), len(all[0].GetHistogram().GetPositiveSpan()) > 0
	}
	expect := func(when string, count uint64, native bool) {
		t.Helper()
		if c, n := state(); c != count || n != native {
			t.Errorf("%s: count %d, native %t; want %d, %t", when, c, n, count, native)
		}
	}
	observe(2)
	expect("never switched on", 2, false)
	r.SetNativeHistograms(true)
	observe(3)
	expect("switched on", 3, true)
	r.SetNativeHistograms(true)
	r.SetTelemetry(nil)
	expect("told again", 3, true)
	if said := r.DescribeMetrics(Source); said != "native histograms" {
		t.Errorf("described as %q", said)
	}
	rulesFor(r, Source, plan.MetricRule{Metric: 1, Disabled: true})
	observe(4)
	expect("with rules of an object", 4, true)
	r.SetNativeHistograms(false)
	observe(5)
	expect("switched off, with these rules", 5, false)
	r.SetTelemetry(nil)
	observe(1)
	expect("as at first", 3, false)
}

func TestNativeObservationAllocatesNothing(t *testing.T) {
	s := withNative().HTTP(labels(Source))
	o := &Record{Code: 200, Duration: time.Millisecond, Received: 10, Sent: 1024}
	if n := testing.AllocsPerRun(100, func() { s.Observe(o) }); n != 0 {
		t.Errorf("%v allocations per observation, want 0", n)
	}
}

func BenchmarkObserveNative(b *testing.B) {
	s := withNative().HTTP(labels(Source))
	for b.Loop() {
		s.Observe(&Record{Code: 200, Duration: time.Millisecond, Received: 10, Sent: 1024})
	}
}
