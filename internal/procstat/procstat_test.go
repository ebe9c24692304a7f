package procstat

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A process of name "a) b (c" that began 1234 ticks after the machine, with 5 pages.
const (
	told    = "17 (a) b (c) S 1 17 17 0 -1 4194560 1 0 0 0 200 100 0 0 20 0 7 0 1234" + toldEnd
	toldEnd = " 4096000 5 18446744073709551615 1 1\n"
)

func TestParseStat(t *testing.T) {
	tests := []struct {
		name, raw string
		want      stat
		err       string
	}{
		{"a_name_like_fields", told, stat{startedTicks: 1234, virtualBytes: 4096000, residentPages: 5}, ""},
		{"empty", "", stat{}, "no name in parentheses"},
		{"cut", strings.TrimSuffix(told, toldEnd), stat{}, "no field 23"},
		{"no_number", strings.Replace(told, "1234", "-1", 1), stat{}, "invalid syntax"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat([]byte(tt.raw))
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("parseStat(%q) = %+v, %v, want %+v, %q", tt.raw, got, err, tt.want, tt.err)
			}
		})
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add(told)
	f.Add("1 (x) R")
	f.Fuzz(func(t *testing.T, name string) {
		if _, err := parseStat([]byte(name)); err == nil && !strings.Contains(name, ")") {
			t.Errorf("parseStat(%q) found a name", name)
		}
		// Whatever the program is called, the fields are those behind its name.
		if got, err := parseStat([]byte(strings.Replace(told, "a) b (c", name, 1))); err != nil || got.startedTicks != 1234 || got.residentPages != 5 {
			t.Errorf("a program %q: %+v, %v", name, got, err)
		}
	})
}

func TestBootTime(t *testing.T) {
	if got, err := bootTime([]byte("cpu 1 2\nbtime 1700000000\nprocesses 5\n")); got != 1_700_000_000 || err != nil {
		t.Errorf("bootTime = %d, %v", got, err)
	}
	if _, err := bootTime([]byte("cpu 1 2\n")); err == nil {
		t.Error("bootTime of nothing succeeds")
	}
}

func TestOpenFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"0", "1", "2"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := openFiles(dir); n != 2 || err != nil { // one of three would be the directory
		t.Errorf("openFiles = %d, %v, want 2", n, err)
	}
	if _, err := openFiles(filepath.Join(dir, "none")); err == nil {
		t.Error("openFiles of nothing succeeds")
	}
}

// The figures are those of this process, in the units that their names say.
func TestRead(t *testing.T) {
	runtime.GC() // a first one, of which the heap is what it left
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]Figure{}
	for _, f := range Read() {
		if f.Help == "" || f.Kind() == "counter" != strings.HasSuffix(f.Name, "_total") {
			t.Errorf("%+v", f)
		}
		got[f.Name] = f
	}
	now := float64(time.Now().Unix())
	for _, want := range []struct {
		name        string
		least, most float64
	}{
		{"go_goroutines", 2, 1000},
		{"go_threads", 1, 1000},
		{"go_gc_heap_live_bytes", 10_000, 1 << 32},
		{"go_memstats_heap_alloc_bytes", 10_000, 1 << 32},
		{"go_memstats_sys_bytes", 1 << 20, 1 << 36},
		{"go_memstats_mallocs_total", 100, 1e12},
		{"process_cpu_seconds_total", 0.0001, 1e6},
		{"process_open_fds", 4, 1 << 20},
		{"process_max_fds", 4, 1 << 40},
		{"process_resident_memory_bytes", 1 << 20, 1 << 36},
		{"process_virtual_memory_bytes", 1 << 20, 1 << 50},
		{"process_start_time_seconds", now - 86400, now + 60},
	} {
		if f, ok := got[want.name]; !ok || f.Value < want.least || f.Value > want.most {
			t.Errorf("%s = %+v, %t, want between %g and %g", want.name, f.Value, ok, want.least, want.most)
		}
		delete(got, want.name)
	}
	if len(got) > 0 {
		t.Errorf("figures without bounds: %v", got)
	}
}
