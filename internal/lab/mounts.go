package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// withMounts gives the pod's namespaces with a mount namespace of its own in which volumes are at their places. sources
// says where each volume is.
func (s *sandbox) withMounts(mounts []mount, sources map[string]string) (*sandbox, error) {
	out := &sandbox{}
	err := s.do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("mounts of a container: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make the container's mounts private: %w", err)
		}
		if err := arrangeVolumes(mounts, sources); err != nil {
			return err
		}
		return out.open()
	})
	if err != nil {
		out.close()
		return nil, err
	}
	return out, nil
}

// arrangeVolumes mounts volumes in the calling thread's mount namespace.
func arrangeVolumes(mounts []mount, sources map[string]string) error {
	m := mounter{made: map[string]bool{}}
	if err := m.prepareRoot(mounts); err != nil {
		return err
	}
	// All are opened before the first is mounted: it may hide the others.
	var open []*os.File
	defer func() { closeAll(open) }()
	for i := range mounts {
		f, err := openPart(sources[mounts[i].volume], mounts[i].subPath)
		if err != nil {
			return fmt.Errorf("volume %q: %w", mounts[i].volume, err)
		}
		open = append(open, f)
	}
	restore, err := m.keepOwn()
	if err != nil {
		return err
	}
	targets := make([]string, len(mounts))
	for i := range mounts {
		if targets[i], err = m.bind(open[i], mounts[i].path); err != nil {
			return fmt.Errorf("volume %q at %s: %w", mounts[i].volume, mounts[i].path, err)
		}
		m.volumes = append(m.volumes, targets[i])
	}
	if err := restore(); err != nil {
		return err
	}
	for i := range mounts { // last, for a volume inside another one needs a place there
		if !mounts[i].readOnly {
			continue
		}
		if err := setReadOnly(targets[i]); err != nil {
			return fmt.Errorf("volume %q at %s, read-only: %w", mounts[i].volume, mounts[i].path, err)
		}
	}
	return nil
}

// mounter makes places to mount at without making files on the machine: a directory that lacks one is replaced by one of
// memory in which everything of the machine's is mounted, and the new place is made there.
type mounter struct {
	made    map[string]bool // directories of memory
	volumes []string        // where volumes are mounted
}

// prepareRoot replaces the root where it lacks the first directory of a path.
func (m *mounter) prepareRoot(mounts []mount) error {
	for i := range mounts {
		first, _, _ := strings.Cut(mounts[i].path[1:], "/")
		if _, err := os.Lstat("/" + first); errors.Is(err, fs.ErrNotExist) {
			return m.replaceRoot()
		}
	}
	return nil
}

// keepOwn gives what puts the lab's own directories back where a volume at /run hides them.
func (m *mounter) keepOwn() (restore func() error, err error) {
	var own []*os.File
	for _, dir := range []string{runDir, secretsDir} {
		f, err := os.OpenFile(dir, unix.O_PATH, 0)
		if err != nil {
			closeAll(own)
			return nil, err
		}
		own = append(own, f)
	}
	return func() error {
		defer closeAll(own)
		for _, f := range own {
			if _, err := os.Lstat(f.Name()); err == nil {
				continue
			}
			if _, err := m.bind(f, f.Name()); err != nil {
				return fmt.Errorf("put %s back: %w", f.Name(), err)
			}
		}
		return nil
	}, nil
}

// bind mounts what f is at path and gives the path without links.
func (m *mounter) bind(f *os.File, path string) (string, error) {
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	target, err := m.place(path, st.IsDir())
	if err != nil {
		return "", err
	}
	return target, unix.Mount(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), target, "", unix.MS_BIND|unix.MS_REC, "")
}

// place resolves path and makes what is missing of it; dir says what is to be mounted there.
func (m *mounter) place(path string, dir bool) (string, error) {
	at := "/"
	parts := strings.Split(path[1:], "/")
	for i, part := range parts {
		next := filepath.Join(at, part)
		last := i == len(parts)-1
		st, err := os.Stat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := m.add(at, next, dir || !last); err != nil {
				return "", err
			}
		case err != nil:
			return "", err
		case last && st.IsDir() != dir:
			return "", errors.New("of the volume's part and what is there on this machine, one is a directory and one is not")
		default:
			if next, err = filepath.EvalSymlinks(next); err != nil {
				return "", err
			}
		}
		at = next
	}
	return at, nil
}

// add makes a directory or an empty file in parent.
func (m *mounter) add(parent, path string, dir bool) error { //nolint:revive // a directory or a file
	if !m.own(parent) {
		if err := m.cover(parent); err != nil {
			return err
		}
	}
	if !dir {
		return os.WriteFile(path, nil, 0o644) //nolint:gosec // a place to mount at
	}
	m.made[path] = true
	return os.Mkdir(path, 0o755) //nolint:gosec // as the machine's
}

// own reports whether the machine's files stay as they are when something is made in dir.
func (m *mounter) own(dir string) bool {
	if m.made[dir] || dir == "/run" || strings.HasPrefix(dir, "/run/") {
		return true
	}
	for _, v := range m.volumes {
		if dir == v || strings.HasPrefix(dir, v+"/") {
			return true
		}
	}
	return false
}

// cover replaces a directory of the machine.
func (m *mounter) cover(dir string) error {
	if dir == "/" {
		return errors.New("a link leads to a directory that is not there")
	}
	m.made[dir] = true
	return mirror(dir, dir)
}

// replaceRoot replaces the root directory.
func (m *mounter) replaceRoot() error {
	fresh, err := os.MkdirTemp("/run", ".root-") // the pod's, which containers share
	if err != nil {
		return err
	}
	if err := mirror("/", fresh); err != nil {
		return err
	}
	if err := unix.Unmount(fresh+fresh, unix.MNT_DETACH); err != nil { // itself, in the copy of /run
		return fmt.Errorf("root of a container: %w", err)
	}
	if err := os.Chdir(fresh); err != nil {
		return err
	}
	// Over itself, so that the old root needs no place in the new one; pivot_root(2).
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("root of a container: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("root of a container: %w", err)
	}
	m.made["/"] = true
	return errors.Join(os.Chdir("/"), os.Remove(fresh))
}

// mirror mounts a directory of memory at to, in which is everything that from has.
func mirror(from, to string) error {
	old, err := os.OpenFile(from, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer old.Close()
	st, err := old.Stat()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	options := fmt.Sprintf("mode=%o,size=16m", st.Mode().Perm())
	if err := unix.Mount("tmpfs", to, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("replace %s: %w", from, err)
	}
	for _, e := range entries {
		source, target := fmt.Sprintf("/proc/self/fd/%d/%s", old.Fd(), e.Name()), filepath.Join(to, e.Name())
		if err := mirrorEntry(e, source, target); err != nil {
			return fmt.Errorf("replace %s: %s: %w", from, e.Name(), err)
		}
	}
	return nil
}

func mirrorEntry(e fs.DirEntry, source, target string) error {
	switch {
	case e.Type()&fs.ModeSymlink != 0:
		link, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return os.Symlink(link, target)
	case e.IsDir():
		if err := os.Mkdir(target, 0o755); err != nil { //nolint:gosec // a place to mount at
			return err
		}
	default:
		if err := os.WriteFile(target, nil, 0o644); err != nil { //nolint:gosec // a place to mount at
			return err
		}
	}
	return unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, "")
}

// setReadOnly keeps the flags that the mount has: without root, those of the machine must not go.
func setReadOnly(target string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(target, &st); err != nil {
		return err
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY)
	for _, f := range []struct{ has, set int64 }{
		{unix.ST_NOSUID, unix.MS_NOSUID},
		{unix.ST_NODEV, unix.MS_NODEV},
		{unix.ST_NOEXEC, unix.MS_NOEXEC},
		{unix.ST_NOATIME, unix.MS_NOATIME},
		{unix.ST_NODIRATIME, unix.MS_NODIRATIME},
		{unix.ST_RELATIME, unix.MS_RELATIME},
	} {
		if st.Flags&f.has != 0 {
			flags |= uintptr(f.set)
		}
	}
	return unix.Mount("", target, "", flags, "")
}
