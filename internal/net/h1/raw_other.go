//go:build !linux

package h1

import (
	"net"
	"syscall"
)

// rawConn has nothing to offer here; input reads through net.Conn.
func rawConn(net.Conn) syscall.RawConn { return nil }

func (*input) tryRead(uintptr) bool { return true }

func quickAck(uintptr) {}

func readable(net.Conn) bool { return false }
