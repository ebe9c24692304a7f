// Command sockmap shows what joining an app's and its sidecar's sockets in the kernel saves, and what an app sees of it: a BPF
// program notes both ends of a connection when it is established, another puts each message into the other end's queue, past
// TCP and loopback.
//
//	sockmap show          calls that apps make, on captured connections in a namespace of its own, with sockets joined and not
//	sockmap hold CGROUP   joins the sockets of a cgroup's processes, both ways and with a bound, until it is interrupted;
//	                      pair.sh measures sidecars so. Without a bound a stream takes all memory that the kernel
//	                      has for TCP, everybody's
//
// It needs root, a cgroup2 hierarchy in the kernel, nft and ip, and links nothing of the mesh, which offers no such thing:
// docs/adr/0036-joined-sockets.md says why.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sockmap:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "show":
		return elsewhere("shown")
	case len(args) == 1 && args[0] == "shown":
		return inside(show)
	case len(args) == 2 && args[0] == "write":
		return write(args[1])
	case len(args) == 2 && args[0] == "hold":
		return hold(args[1])
	}
	return errors.New("want show, or hold CGROUP")
}

// elsewhere runs a command of this program in namespaces of its own.
func elsewhere(command string) error {
	cmd := exec.Command("/proc/self/exe", command) //nolint:gosec // one of run's
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}

func hold(cgroup string) error {
	j, err := join(cgroup, mode{toApp: true, most: bound})
	if err != nil {
		return err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	fmt.Println("sockets are joined")
	<-interrupted
	return j.Close()
}

// row is what a probe found in each mode.
type row struct {
	answer

	in []string
}

// show prints a row for each probe and direction, with a column for each mode.
func show(cgroup string) error {
	var rows []row
	var times []*timing
	defer func() { closeAll(times) }()
	for _, m := range modes() {
		answers, t, err := ask(cgroup, m)
		if err != nil {
			return err
		}
		times = append(times, t)
		if rows == nil {
			rows = make([]row, len(answers))
		}
		for i, a := range answers { // the same in each mode
			rows[i].answer, rows[i].in = a, append(rows[i].in, a.is)
		}
	}
	if err := table(rows); err != nil {
		return err
	}
	return compare(times)
}

func table(rows []row) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprint(w, "\t ")
	for _, m := range modes() {
		fmt.Fprintf(w, "\t %s ", m.name)
	}
	fmt.Fprintln(w)
	differ := 0
	for _, r := range rows {
		sign := " "
		switch {
		case r.meant:
			sign = "*"
		case r.in[0] != r.in[1]:
			sign, differ = "!", differ+1
		}
		fmt.Fprintf(w, "\t%s %s \t %s\n", sign, r.of, strings.Join(r.in, " \t "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Printf("\n%d of %d rows differ where sockets are joined (!); * is what is meant to.\n\n", differ, len(rows))
	return nil
}

// ask runs the probes in a mode. The connections that it leaves open for the timing stay in that mode.
func ask(cgroup string, m mode) ([]answer, *timing, error) {
	var j *joint
	if !m.off {
		var err error
		if j, err = join(cgroup, m); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	t := &timing{name: m.name, joint: j}
	var err error
	if t.conn, err = captured(); err != nil {
		return nil, t, err
	}
	answers := probe()
	if j != nil {
		err = j.detach()
	}
	return answers, t, err
}
