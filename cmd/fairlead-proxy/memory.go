package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settled is how long after the start a sidecar has read its configuration and got its certificate.
const settled = time.Second

const (
	// lull is how long a sidecar must do nothing before it gives memory back.
	lull = 30 * time.Second
	// lullCPU is what counts as nothing: what probes, scrapes and the control channel cost in that time is a tenth.
	lullCPU = 30 * time.Millisecond
	// A crowd of connections that begin to wait leaves stacks and heap behind that are three times what they hold from then on,
	// and one that goes on leaves the stacks that it outgrows. It is given back once those have come too that were used in the
	// same moment, and not each time where crowds come and go.
	crowdGathers = 300 * time.Millisecond
	crowdRests   = 5 * time.Second
)

// giveBack keeps what the sidecar holds of the node's memory to what it needs, until ctx ends. crowded tells of connections that have
// begun to wait, or go on.
func giveBack(ctx context.Context, crowded <-chan struct{}) {
	slim(ctx)
	ticker := time.NewTicker(lull)
	defer ticker.Stop()
	rested := time.NewTimer(0)
	defer rested.Stop()
	var hear <-chan struct{} // crowded, or nil while that must wait
	var q quiet
	for {
		select {
		case <-ctx.Done():
			return
		case <-rested.C:
			hear = crowded
			continue
		case <-hear:
			gathered(ctx, crowded)
			debug.FreeOSMemory()
			hear = nil
			rested.Reset(crowdRests)
			continue
		case <-ticker.C:
		}
		var usage unix.Rusage
		if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
			return // cannot be; without it nothing is lost but memory
		}
		if q.after(time.Duration(usage.Utime.Nano() + usage.Stime.Nano())) {
			// Pools keep what they hold over one collection, for the calls that come at once (sync.Pool).
			runtime.GC()
			debug.FreeOSMemory()
		}
	}
}

// gathered returns when no more is told of a crowd for a while, or ctx has ended.
func gathered(ctx context.Context, crowded <-chan struct{}) {
	quiet := time.NewTimer(crowdGathers)
	defer quiet.Stop()
	latest := time.NewTimer(crowdRests)
	defer latest.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-crowded:
			quiet.Reset(crowdGathers)
		case <-quiet.C:
			return
		case <-latest.C:
			return
		}
	}
}

// quiet finds the end of each busy time.
type quiet struct {
	used time.Duration
	busy bool
}

// after takes the CPU time used in all, a lull after it was last told. It reports whether the lull was one, and the
// first since the sidecar was busy.
func (q *quiet) after(used time.Duration) bool {
	was := q.busy
	q.busy = used-q.used > lullCPU
	q.used = used
	return was && !q.busy
}

// slim gives back, once, what only the start needed: free heap, and the pages of the program's own code and constants
// that were mapped on the way. The kernel maps 64 KiB around every fault, so that after the start nearly the whole
// file counts as resident; what the sidecar really runs is mapped again at the next use, from the page cache, which all
// sidecars of a node share. Measured: 10.6 MB resident before, 7.6 to 7.8 MB after.
func slim(ctx context.Context) {
	t := time.NewTimer(settled)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return
	case <-t.C:
	}
	debug.FreeOSMemory()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return // no procfs, nothing lost
	}
	defer maps.Close()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for _, m := range programPages(maps, exe) {
		// Clean pages of a file: dropping the mapping loses nothing, a failure changes nothing.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.length, unix.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ start, length uintptr }

// programPages finds the mappings of the program's file that cannot be written: only those may be dropped. The format
// is that of proc(5), /proc/pid/maps.
func programPages(maps io.Reader, exe string) []mapping {
	var out []mapping
	for s := bufio.NewScanner(maps); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) != 6 || fields[5] != exe || strings.Contains(fields[1], "w") {
			continue
		}
		from, to, ok := strings.Cut(fields[0], "-")
		start, err := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if !ok || err != nil || err2 != nil || end <= start {
			continue
		}
		out = append(out, mapping{uintptr(start), uintptr(end - start)})
	}
	return out
}

// paces are how much the heap may grow between two collections, in percent of what is alive, from so much on. Twice of three
// megabytes is nothing; twice of fifteen, as while requests that get stuck come by the thousand, is half of what a sidecar is
// to have, and twice of thirty is what the kernel kills for.
func paces() []pacing {
	return []pacing{{20 << 20, 25}, {8 << 20, 50}, {0, relaxed}}
}

type pacing struct {
	alive   uint64
	percent int
}

// relaxed is the pace at the start.
const relaxed = 200

// pace sets the collector by what is alive, after each collection, until ctx ends: a heap that many stuck requests fill
// doubles and trebles within a second.
func pace(ctx context.Context) {
	collected := make(chan struct{}, 1)
	watch(ctx, collected)
	alive := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := relaxed
	for {
		select {
		case <-ctx.Done():
			return
		case <-collected:
		}
		metrics.Read(alive)
		if next := growth(now, alive[0].Value.Uint64()); next != now {
			debug.SetGCPercent(next)
			now = next
		}
	}
}

// canary is garbage as soon as it is made. It has a size at which the allocator gives it a place of its own.
type canary struct{ _ [64]byte }

// watch tells of each collection until ctx ends.
func watch(ctx context.Context, collected chan<- struct{}) {
	runtime.SetFinalizer(new(canary), func(*canary) {
		select {
		case collected <- struct{}{}:
		default:
		}
		if ctx.Err() == nil {
			watch(ctx, collected)
		}
	})
}

// growth chooses the pace. One that was chosen stays until half of what led to it is alive, so that it does not swing.
func growth(now int, alive uint64) int {
	for _, p := range paces() {
		if alive >= p.alive || p.percent == now && alive >= p.alive/2 {
			return p.percent
		}
	}
	return relaxed
}
