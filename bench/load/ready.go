package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// ready prints when the first answer came: after a command was started, in ns since that; without one, after a line of input, in ns
// since 1970. Each try is a connection of its own.
func (g *generator) ready(args []string) error {
	addr, err := net.ResolveTCPAddr("tcp", g.addr)
	if err != nil {
		return err
	}
	g.addr = addr.String()
	if len(args) == 0 {
		if _, err := g.first(); err != nil { // the one that is to be started anew
			return err
		}
		fmt.Println("answers")
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return err
		}
		at, err := g.first()
		if err == nil {
			fmt.Println(at.UnixNano())
		}
		return err
	}
	if err := g.attempt(); err == nil {
		return fmt.Errorf("%s answers before anything was started", g.addr)
	}
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec // the command is the point
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // one that has ended is not there
		_ = cmd.Wait()                                      // killed is how it ends
	}()
	at, err := g.first()
	if err == nil {
		fmt.Println(at.Sub(begun).Nanoseconds())
	}
	return err
}

// readyWithin is how long a proxy may take to answer.
const readyWithin = 10 * time.Second

// first tries until something answers.
func (g *generator) first() (time.Time, error) {
	for deadline := time.Now().Add(readyWithin); ; time.Sleep(200 * time.Microsecond) {
		err := g.attempt()
		if now := time.Now(); err == nil || now.After(deadline) {
			return now, err
		}
	}
}

func (g *generator) attempt() error {
	c, err := net.DialTimeout("tcp", g.addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	return g.exchange(c, make([]byte, 8192))
}
