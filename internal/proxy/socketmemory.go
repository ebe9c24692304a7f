package proxy

import (
	"bytes"
	"io/fs"
	"strconv"
)

// statFile is where cgroup v2 says what the memory of a container is used for. In a container its own directory is the root.
// Version 1 counts sockets apart from the memory that it limits.
const statFile = "sys/fs/cgroup/memory.stat"

// socketMemory gives what the kernel holds in the socket buffers of the container, in bytes, as far as that counts for its
// memory limit: up to 128 KiB of a response that its client does not read lie there before the app is held back, and Go knows
// nothing of them. root is the file system.
func socketMemory(root fs.FS) int64 {
	stat, err := fs.ReadFile(root, statFile)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(stat) {
		if number, ok := bytes.CutPrefix(line, []byte("sock ")); ok {
			n, err := strconv.ParseInt(string(bytes.TrimSpace(number)), 10, 64)
			if err != nil {
				return 0
			}
			return max(n, 0)
		}
	}
	return 0
}
