package main

import (
	"bufio"
	"bytes"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// noLimit is from where on a number is cgroup v1's word for none: the largest int64, in whole pages.
const noLimit = 1 << 62

// memoryLimit gives the lowest memory limit of the process's cgroup and those above it, in bytes, from the files of
// cgroup v2 (memory.max) or v1 (memory.limit_in_bytes). In a container the cgroup's own directory is usually mounted as
// the root, and the path in /proc/self/cgroup may be the host's, so both are looked at. root is the file system.
func memoryLimit(root fs.FS) (limit int64, ok bool) {
	limit = noLimit
	for _, file := range limitFiles(root) {
		text, err := fs.ReadFile(root, file)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && n > 0 { // "max" is none
			limit = min(limit, n)
		}
	}
	return limit, limit < noLimit
}

// limitFiles names the files that may hold a limit; not all of them exist.
func limitFiles(root fs.FS) (files []string) {
	const v1, v2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
	files = []string{v2 + "/memory.max", v1 + "/memory.limit_in_bytes"}
	self, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return files
	}
	for lines := bufio.NewScanner(bytes.NewReader(self)); lines.Scan(); {
		// ID:CONTROLLERS:PATH, cgroups(7); version 2 has the ID 0 and no controllers.
		id, rest, _ := strings.Cut(lines.Text(), ":")
		controllers, at, _ := strings.Cut(rest, ":")
		for at = path.Clean("/" + at); at != "/"; at = path.Dir(at) {
			switch {
			case id == "0" && controllers == "":
				files = append(files, v2+at+"/memory.max")
			case strings.Contains(","+controllers+",", ",memory,"):
				files = append(files, v1+at+"/memory.limit_in_bytes")
			}
		}
	}
	return files
}
