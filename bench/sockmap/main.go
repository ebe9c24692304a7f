// Command sockmap shows what joining an app's and its sidecar's sockets in the kernel saves, and what an app sees of it: a BPF
// program notes both ends of a connection when it is established, another puts each message into the other end's queue, past
// TCP and loopback.
//
//	sockmap hold CGROUP   joins the sockets of a cgroup's processes, both ways and with a bound, until it is interrupted;
//	                      pair.sh measures sidecars so. Without a bound a stream takes all memory that the kernel
//	                      has for TCP, everybody's
//
// It needs root and a cgroup2 hierarchy, and links nothing of the mesh, which offers no such thing.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sockmap:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "hold" {
		return hold(args[1])
	}
	return errors.New("want hold CGROUP")
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
