package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// find gives the processes whose command line contains all of some words.
func find(words ...string) []int {
	var out []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is right
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		line := string(bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if pid != os.Getpid() && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			out = append(out, pid)
		}
	}
	return out
}

// family adds the children of processes, and theirs.
func family(pids []int) []int {
	out := slices.Clone(pids)
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for grown := -1; grown < len(out); {
		grown = len(out)
		for _, f := range files {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			if slices.Contains(out, parent(pid)) && !slices.Contains(out, pid) {
				out = append(out, pid)
			}
		}
	}
	return out
}

// offspring is a family without those that began it.
func offspring(pids []int) []int {
	return slices.DeleteFunc(family(pids), func(pid int) bool { return slices.Contains(pids, pid) })
}

// parent of a process, 0 where there is none.
func parent(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before may contain anything but this
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1])
	return n
}

// cpuTime is what processes have used, by their clocks: nanoseconds, threads that have ended included.
func cpuTime(pids []int) time.Duration {
	var sum time.Duration
	for _, pid := range pids {
		var ts unix.Timespec
		if unix.ClockGettime(int32(^pid<<3|2), &ts) == nil { // CPUCLOCK_SCHED of a process, clock_getcpuclockid(3)
			sum += time.Duration(ts.Nano())
		}
	}
	return sum
}

// busyTime is what all processors have worked since the machine started.
func busyTime() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var ticks int
	for i, f := range strings.Fields(line) {
		n, _ := strconv.Atoi(f)
		if i > 0 && i != 4 && i != 5 && i < 9 { // not idle, not waiting for disks; guests are counted in user
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ
}

// resident is the memory of processes, in KB.
func resident(pids []int) int { return ofEach(pids, "status", "VmRSS:") }

// private is the part of it that no other process shares, in KB.
func private(pids []int) int {
	return ofEach(pids, "smaps_rollup", "Private_Clean:", "Private_Dirty:")
}

// ofEach adds up what lines of a file of processes say.
func ofEach(pids []int, file string, names ...string) int {
	sum := 0
	for _, pid := range pids {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file)) // one that has ended has none
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 1 && slices.Contains(names, f[0]) {
				n, _ := strconv.Atoi(f[1])
				sum += n
			}
		}
	}
	return sum
}

// pin has processes run on some processors.
func pin(cpus string, pids []int) error {
	for _, pid := range pids {
		out, err := exec.Command("taskset", "-acp", cpus, strconv.Itoa(pid)).CombinedOutput() //nolint:gosec // a number
		if err != nil {
			return fmt.Errorf("taskset: %w: %s", err, out)
		}
	}
	return nil
}

// descriptors is how many a process may have: as many as we may give ourselves, which all that we start inherit.
func descriptors() int {
	const wanted = 65536
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil {
		return 1024
	}
	if more := (unix.Rlimit{Cur: max(files.Max, wanted), Max: max(files.Max, wanted)}); unix.Setrlimit(unix.RLIMIT_NOFILE, &more) == nil {
		return int(min(more.Cur, 1<<20))
	}
	files.Cur = files.Max
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &files) // what we may have anyway
	return int(min(files.Cur, 1<<20))
}

// machine describes what the run was made on.
func machine() map[string]string {
	out := map[string]string{}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		out["kernel"] = unix.ByteSliceToString(u.Release[:])
	}
	b, _ := os.ReadFile("/proc/cpuinfo")
	processors := 0
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(name) {
		case "processor":
			processors++
		case "model name":
			out["cpu"] = strings.TrimSpace(value)
		}
	}
	out["processors"] = strconv.Itoa(processors)
	return out
}

// versionOf runs a program and gives the first line of what it prints.
func versionOf(name string, args ...string) string {
	b, _ := exec.Command(name, args...).CombinedOutput() //nolint:gosec // of our own list
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}
