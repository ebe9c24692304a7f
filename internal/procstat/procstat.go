package procstat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Figure is one figure of the process.
type Figure struct {
	// Name is that of Prometheus' client for Go, such as process_open_fds.
	Name, Help string
	// Total says that it only grows: a counter.
	Total bool
	Value float64
}

// Kind is the type in Prometheus' text format.
func (f Figure) Kind() string {
	if f.Total {
		return "counter"
	}
	return "gauge"
}

// Read looks at the present state.
func Read() []Figure {
	return append(ofRuntime(), ofKernel()...)
}

// ofRuntime is what Go's runtime knows. Heap in use rises and falls with each collection of garbage; what the last one left
// shows whether something is kept.
func ofRuntime() []Figure {
	known := []struct{ metric, name, help string }{
		{"/sched/goroutines:goroutines", "go_goroutines", "Goroutines."},
		{"/sched/threads/total:threads", "go_threads", "Threads that run Go code, or wait to."},
		{"/gc/heap/live:bytes", "go_gc_heap_live_bytes", "Bytes of the heap that the last collection of garbage left."},
		{"/memory/classes/heap/objects:bytes", "go_memstats_heap_alloc_bytes", "Bytes in use by the heap."},
		{"/memory/classes/total:bytes", "go_memstats_sys_bytes", "Bytes obtained from the system."},
		{"/gc/heap/allocs:objects", "go_memstats_mallocs_total", "Objects that were ever put on the heap."},
	}
	samples := make([]metrics.Sample, len(known))
	for i, k := range known {
		samples[i].Name = k.metric
	}
	metrics.Read(samples)
	var all []Figure
	for i, k := range known {
		if samples[i].Value.Kind() == metrics.KindUint64 { // otherwise this version of Go has it no more
			all = append(all, Figure{Name: k.name, Help: k.help, Total: strings.HasSuffix(k.name, "_total"), Value: float64(samples[i].Value.Uint64())})
		}
	}
	return all
}

// ofKernel is what the kernel knows.
func ofKernel() []Figure {
	var all []Figure
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) == nil {
		all = append(all, Figure{
			Name: "process_cpu_seconds_total", Help: "Seconds of processor time, of the process and the kernel for it.", Total: true,
			Value: (time.Duration(used.Utime.Nano()) + time.Duration(used.Stime.Nano())).Seconds(),
		})
	}
	if open, err := openFiles("/proc/self/fd"); err == nil {
		all = append(all, Figure{Name: "process_open_fds", Help: "Open files and sockets.", Value: float64(open)})
	}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil && files.Cur < math.MaxInt64 {
		all = append(all, Figure{Name: "process_max_fds", Help: "Open files and sockets that are allowed.", Value: float64(files.Cur)})
	}
	raw, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return all
	}
	s, err := parseStat(raw)
	if err != nil {
		return all
	}
	all = append(all,
		Figure{Name: "process_resident_memory_bytes", Help: "Memory in use.", Value: float64(s.residentPages) * float64(os.Getpagesize())},
		Figure{Name: "process_virtual_memory_bytes", Help: "Addresses in use.", Value: float64(s.virtualBytes)},
	)
	if raw, err = os.ReadFile("/proc/stat"); err != nil {
		return all
	}
	if booted, err := bootTime(raw); err == nil {
		all = append(all, Figure{
			Name: "process_start_time_seconds", Help: "When the process began, in seconds since 1970.",
			Value: float64(booted) + float64(s.startedTicks)/ticksPerSecond,
		})
	}
	return all
}

// openFiles counts the entries of a directory of descriptors, without the one that reading it needs.
func openFiles(dir string) (int, error) {
	d, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	n := -1
	for {
		names, err := d.Readdirnames(256)
		n += len(names)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// ticksPerSecond is USER_HZ, in which the kernel tells times to processes. It is 100 wherever Go runs on Linux.
const ticksPerSecond = 100

// stat is what is used of /proc/PID/stat.
type stat struct {
	startedTicks  uint64 // since the machine was started
	virtualBytes  uint64
	residentPages uint64
}

// parseStat reads /proc/PID/stat, see proc_pid_stat(5). The second field is the name of the program in parentheses, and may
// hold anything: fields are counted behind its end.
func parseStat(raw []byte) (stat, error) {
	end := bytes.LastIndexByte(raw, ')')
	if end < 0 {
		return stat{}, errors.New("no name in parentheses")
	}
	fields := bytes.Fields(raw[end+1:])
	const first = 3 // what the manual calls the first of them
	number := func(field int) (uint64, error) {
		if field-first >= len(fields) {
			return 0, fmt.Errorf("no field %d", field)
		}
		return strconv.ParseUint(string(fields[field-first]), 10, 64)
	}
	started, err := number(22)
	if err != nil {
		return stat{}, err
	}
	virtual, err := number(23)
	if err != nil {
		return stat{}, err
	}
	resident, err := number(24)
	return stat{startedTicks: started, virtualBytes: virtual, residentPages: resident}, err
}

// bootTime reads the line btime of /proc/stat: when the machine was started, in seconds since 1970.
func bootTime(raw []byte) (uint64, error) {
	for line := range bytes.Lines(raw) {
		if v, ok := bytes.CutPrefix(line, []byte("btime ")); ok {
			return strconv.ParseUint(string(bytes.TrimSpace(v)), 10, 64)
		}
	}
	return 0, errors.New("no line btime")
}
