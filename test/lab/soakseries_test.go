//go:build soak

package lab_test

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// soakFigures are what is looked at of each process, by its name in Prometheus' format; divided by unit for the table. The
// slack is what each may grow by in a run.
var soakFigures = []struct {
	name, metric string
	unit         float64
	slack        slack
}{
	{"open files", "process_open_fds", 1, slack{0.10, 15}},
	{"goroutines", "go_goroutines", 1, slack{0.10, 25}},
	{"heap MiB", "go_gc_heap_live_bytes", 1 << 20, slack{0.25, 3 << 20}},
	{"memory MiB", "process_resident_memory_bytes", 1 << 20, slack{0.15, 6 << 20}},
}

// controlPlane is the name of its series.
const controlPlane = "control plane"

// soakSeries are samples of processes.
type soakSeries struct {
	pods []string // those whose sidecars are looked at

	mu sync.Mutex
	// series are samples by process and the name of the figure, in the figure's unit.
	series map[[2]string][]float64
	rows   [][]string
}

// interval is that of samples: 180 of a run, as far as that is between a second and ten.
func (s *soak) interval() time.Duration { return limited(s.length/180, time.Second, 10*time.Second) }

// sample adds what each sidecar and the control plane hold at the moment. The control plane may be away.
func (s *soak) sample(t *testing.T, turn int) {
	t.Helper()
	for _, name := range s.pods {
		a, err := request(t.Context(), s.once(name, "127.0.0.1:15090"), http.MethodGet, "http://127.0.0.1:15090/stats/prometheus")
		if err != nil || !s.add(name, a.body, "istio_agent_", time.Duration(turn)*s.interval()) {
			t.Errorf("figures of %s: %v, %d bytes", name, err, len(a.body))
		}
	}
	c := onceBy(func(ctx context.Context) (net.Conn, error) { return s.DialController(ctx, 15014) })
	if a, err := request(t.Context(), c, http.MethodGet, "http://controller/metrics"); err == nil {
		s.add(controlPlane, a.body, "", time.Duration(turn)*s.interval())
	}
}

// add takes the figures of a process from its page; false where one is missing.
func (s *soakSeries) add(process, page, prefix string, at time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.series == nil {
		s.series = map[[2]string][]float64{}
	}
	whole := true
	for _, f := range soakFigures {
		v, ok := figure(page, prefix+f.metric)
		if !ok {
			whole = false
			continue
		}
		key := [2]string{process, f.name}
		s.series[key] = append(s.series[key], v/f.unit)
		s.rows = append(s.rows, []string{strconv.FormatFloat(at.Seconds(), 'f', -1, 64), process, f.metric, strconv.FormatFloat(v, 'f', -1, 64)})
	}
	return whole
}

// forget drops the samples of a process.
func (s *soakSeries) forget(process string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range soakFigures {
		delete(s.series, [2]string{process, f.name})
	}
}

// figure gives the value of a series without labels.
func figure(page, name string) (float64, bool) {
	for line := range strings.Lines(page) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return f, err == nil
		}
	}
	return 0, false
}

// once is a client for one request that comes out of a pod. It leaves no connection behind, for those are counted.
func (s *soak) once(name, address string) *http.Client {
	return onceBy(func(ctx context.Context) (net.Conn, error) { return s.DialPod(ctx, pod(name), address) })
}

func onceBy(dial func(context.Context) (net.Conn, error)) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
}

// report prints a table of what was sampled, and fails where something grows.
func (s *soak) report(t *testing.T) {
	t.Helper()
	table, few := s.table(t)
	t.Log("\n" + table)
	if len(few) > 0 {
		t.Errorf("too few samples: %v", few)
	}
	dir := cmp.Or(os.Getenv("SOAK_OUT"), t.TempDir())
	if err := os.WriteFile(filepath.Join(dir, "soak.txt"), []byte(table), 0o600); err != nil {
		t.Error(err)
	}
	f, err := os.Create(filepath.Join(dir, "soak.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := csv.NewWriter(f).WriteAll(append([][]string{{"seconds", "process", "figure", "value"}}, s.rows...)); err != nil {
		t.Error(err)
	}
}

// table has a line for each figure of each process, and says of which there are too few samples to judge: of a sidecar half of
// what the run had time for, of the control plane a sixth.
func (s *soak) table(t *testing.T) (text string, few []string) {
	t.Helper()
	full := int(s.length / s.interval())
	var b strings.Builder
	fmt.Fprintf(&b, "%-32s %-10s %9s %9s %9s %9s %7s %6s        %s\n", "PROCESS", "FIGURE", "FIRST 1/3", "LAST 1/3", "LEAST", "LARGEST", "GROWN", "SIGMA", "FROM BEGIN TO END")
	for _, process := range append(slices.Sorted(slices.Values(s.pods)), controlPlane) {
		for _, f := range soakFigures {
			samples, want := s.series[[2]string{process, f.name}], full/2
			if process == controlPlane {
				want = full / 6
			}
			if len(samples) < want {
				few = append(few, fmt.Sprintf("%s, %s: %d of %d", process, f.name, len(samples), want))
				continue
			}
			third := len(samples) / 3
			judged := trendOf(samples, slack{f.slack.share, f.slack.absolute / f.unit})
			verdict := "flat"
			if judged.grows {
				verdict = "GROWS"
				t.Errorf("%s has grown by %.1f %s after the first third of the run", process, judged.grown, f.name)
			}
			fmt.Fprintf(&b, "%-32s %-10s %9.1f %9.1f %9.1f %9.1f %+7.1f %+6.1f %-6s %s\n", process, f.name, median(samples[:third]), median(samples[2*third:]),
				slices.Min(samples), slices.Max(samples), judged.grown, judged.deviations, verdict, graph(samples, 60))
		}
	}
	return b.String(), few
}
