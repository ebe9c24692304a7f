package lab_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/lab"
)

// countCommand is how this program is started inside a pod, with the number of a process, to count its system calls until
// its own input ends. It says "counting" when no call is missed any more, and the counts, as JSON, at the end.
const countCommand = "count-calls"

// systemCalls are those of a process by kind: reads, writes and what makes, sets and ends sockets. What Go's scheduler makes is none of
// them. Those that failed, as a read where nothing is, are kinds of their own.
type systemCalls map[string]int

// kinds are the calls that are counted.
func kinds() map[uint64]string {
	out := map[uint64]string{}
	for kind, numbers := range map[string][]uint64{
		"read":       {unix.SYS_READ, unix.SYS_READV, unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG},
		"write":      {unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG},
		"accept":     {unix.SYS_ACCEPT4},
		"socket":     {unix.SYS_SOCKET},
		"connect":    {unix.SYS_CONNECT},
		"close":      {unix.SYS_CLOSE},
		"shutdown":   {unix.SYS_SHUTDOWN},
		"setsockopt": {unix.SYS_SETSOCKOPT},
		"ask":        {unix.SYS_GETSOCKOPT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_FCNTL, unix.SYS_IOCTL},
		"epoll_ctl":  {unix.SYS_EPOLL_CTL},
		"splice":     {unix.SYS_SPLICE},
	} {
		for _, n := range numbers {
			out[n] = kind
		}
	}
	return out
}

// tracer follows the threads of a process by ptrace(2), which needs nothing that a kernel may lack. Its methods belong to one
// thread, but for counted.
type tracer struct {
	kinds   map[uint64]string
	waiting map[int]bool   // threads that have not stopped for the first time
	now     map[int]string // what a thread is in

	mu   sync.Mutex // guards seen
	seen systemCalls
}

// countCalls follows a process until the input ends. Threads that are followed go on when this process ends.
func countCalls(pid string, in io.Reader, out io.Writer) error {
	t := &tracer{kinds: kinds(), waiting: map[int]bool{}, now: map[int]string{}, seen: systemCalls{}}
	failed := make(chan error, 1)
	following := make(chan struct{})
	go func() {
		runtime.LockOSThread() // who follows a thread is a thread
		failed <- t.follow(pid, following)
	}()
	select {
	case err := <-failed:
		return err
	case <-following:
	}
	fmt.Fprintln(out, "counting")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // an end of any kind
	}()
	select {
	case err := <-failed:
		return err
	case <-ended:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return json.NewEncoder(out).Encode(t.seen)
}

// follow reports on following when every thread is followed, and goes on until the process ends.
func (t *tracer) follow(pid string, following chan<- struct{}) error {
	if err := t.seize(pid); err != nil {
		return err
	}
	for said := false; ; {
		if !said && len(t.waiting) == 0 {
			close(following)
			said = true
		}
		var status unix.WaitStatus
		// Of this thread's tracees alone: the Go runtime has other children of nobody's concern.
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("wait for a thread of %s: %w", pid, err)
		case !status.Stopped():
			continue // it has ended
		}
		if err := t.stopped(tid, status); err != nil && !errors.Is(err, unix.ESRCH) { // killed meanwhile
			return fmt.Errorf("thread %d of %s: %w", tid, pid, err)
		}
	}
}

// seize follows every thread there is. A thread that a followed one starts is followed from its start.
func (t *tracer) seize(pid string) error {
	for {
		tasks, err := filepath.Glob("/proc/" + pid + "/task/*")
		if err != nil || len(tasks) == 0 {
			return fmt.Errorf("no process %s: %w", pid, err)
		}
		fresh := 0
		for _, task := range tasks {
			tid, err := strconv.Atoi(filepath.Base(task))
			if err != nil || t.waiting[tid] {
				continue
			}
			const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE
			err = ptrace(unix.PTRACE_SEIZE, tid, 0, options)
			if err == nil {
				err = unix.PtraceInterrupt(tid)
			}
			switch {
			case errors.Is(err, unix.ESRCH): // it has ended
			case errors.Is(err, unix.EPERM) && len(t.waiting) > 0: // one that a followed one has started
			case err != nil:
				return fmt.Errorf("follow thread %d: %w", tid, err)
			default:
				fresh++
				t.waiting[tid] = true
			}
		}
		if fresh == 0 {
			return nil
		}
	}
}

// stopped looks at why a thread has stopped, and lets it go on.
func (t *tracer) stopped(tid int, status unix.WaitStatus) error {
	delete(t.waiting, tid)
	signal := int(status.StopSignal())
	switch {
	case signal == int(unix.SIGTRAP)|0x80: // PTRACE_O_TRACESYSGOOD
		signal = 0
		if err := t.call(tid); err != nil {
			return err
		}
	case int(status)>>16 != 0: // an event of ptrace, and no signal
		signal = 0
	}
	return ptrace(unix.PTRACE_SYSCALL, tid, 0, uintptr(signal))
}

// syscallInfo is struct ptrace_syscall_info of linux/ptrace.h.
type syscallInfo struct {
	op     uint8
	_      [3]uint8
	_      uint32
	_, _   uint64
	number uint64 // of a call that begins; what it gives when it ends
	failed uint8  // when it ends
	_      [56]uint8
}

// call looks at the call that a thread begins or ends.
func (t *tracer) call(tid int) error {
	var info syscallInfo
	_, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return errno
	}
	switch info.op {
	case unix.PTRACE_SYSCALL_INFO_ENTRY:
		t.now[tid] = t.kinds[info.number]
	case unix.PTRACE_SYSCALL_INFO_EXIT:
		kind := t.now[tid]
		delete(t.now, tid)
		if kind == "" {
			return nil
		}
		if info.failed != 0 {
			kind = "failed " + kind
		}
		t.mu.Lock()
		t.seen[kind]++
		t.mu.Unlock()
	}
	return nil
}

// ptrace is a request with numbers.
func ptrace(request, tid int, addr, data uintptr) error {
	if _, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// countCalls gives what a pod's sidecar calls while do runs.
func (m *mesh) countCalls(t *testing.T, name string, do func()) systemCalls {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var pipes [3][2]*os.File // the counter's input, output and errors
	for i := range pipes {
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		for _, p := range pipes {
			p[0].Close()
			p[1].Close()
		}
	}()
	in, out, bad := pipes[0], pipes[1], pipes[2]
	pid := strconv.Itoa(m.sidecar(t, name).PID)
	ended := make(chan error, 1)
	go func() {
		code, err := m.Exec(t.Context(), lab.ExecOptions{
			Pod: pod(name), Command: []string{self, countCommand, pid}, Stdin: in[0], Stdout: out[1], Stderr: bad[1],
		})
		for _, f := range []*os.File{out[1], bad[1]} {
			f.Close()
		}
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d", code)
		}
		ended <- err
	}()
	said := bufio.NewReader(out[0])
	if line, _ := said.ReadString('\n'); line == "counting\n" {
		do()
	}
	in[1].Close()
	var seen systemCalls
	err = json.NewDecoder(said).Decode(&seen)
	errText, _ := io.ReadAll(bad[0])
	if err := errors.Join(<-ended, err); err != nil {
		t.Fatalf("count the system calls of %s's sidecar: %v\n%s", name, err, errText)
	}
	return seen
}
