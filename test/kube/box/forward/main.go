// Command forward carries connections from this network namespace into another one:
//
//	forward 127.0.0.1:16441 /proc/4711/ns/net 172.31.241.1:6443
//
// so that kubectl on the machine reaches the API server of a cluster that has no link to it. It ends when the
// namespace's file is gone.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: forward LISTEN NETNS TARGET")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "forward:", err)
		os.Exit(1)
	}
}

func serve(listen, netns, target string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	for {
		from, err := l.Accept()
		if err != nil {
			return err
		}
		to, err := dialIn(netns, target)
		if os.IsNotExist(err) {
			return nil // the cluster is gone
		}
		if err != nil {
			from.Close()
			continue
		}
		go relay(from, to)
	}
}

// dialIn connects to target inside a network namespace. The thread that enters it is not used for anything else: it
// is locked and ends with its goroutine.
func dialIn(netns, target string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		var f *os.File
		if f, err = os.Open(netns); err != nil {
			return
		}
		defer f.Close()
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err == nil {
			conn, err = net.Dial("tcp", target)
		}
	}()
	<-done
	return conn, err
}

func relay(a, b net.Conn) {
	var both sync.WaitGroup
	half := func(to, from net.Conn) {
		defer both.Done()
		_, _ = io.Copy(to, from)
		if t, ok := to.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
	}
	both.Add(2)
	go half(a, b)
	go half(b, a)
	both.Wait()
	a.Close()
	b.Close()
}
