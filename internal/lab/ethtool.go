package lab

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct{ cmd, data uint32 }

// ethtoolRequest is struct ifreq of linux/if.h with a pointer to data, on machines of 64 bits.
type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// ethtool sets a property of an interface; fd is any socket of its network namespace.
func ethtool(fd int, name string, cmd, data uint32) error {
	value := ethtoolValue{cmd: cmd, data: data}
	req := ethtoolRequest{data: unsafe.Pointer(&value)} //nolint:gosec // the kernel reads it during the call
	copy(req.name[:unix.IFNAMSIZ-1], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 { //nolint:gosec // as above
		return errno
	}
	return nil
}
