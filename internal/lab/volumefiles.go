package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// volumeSet is the directories behind a pod's volumes. They are made by the pod's goroutine; the cluster's changes files.
type volumeSet struct {
	// Fixed after newPod.
	dir    string // of the pod's own volumes
	claims string // of the namespace's claims, as the beginning of a path
	group  int    // fsGroup, or -1

	mu   sync.Mutex
	made bool     // guarded by mu
	want []volume // guarded by mu
}

// create makes the directories and writes the files.
func (s *volumeSet) create() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for i := range s.want {
		v := &s.want[i]
		if err := s.createOne(v); err != nil {
			errs = append(errs, fmt.Errorf("volume %q: %w", v.name, err))
		}
	}
	s.made = true
	return errors.Join(errs...)
}

func (s *volumeSet) createOne(v *volume) error {
	switch v.kind {
	case absentVolume:
		return nil
	case hostVolume:
		return s.checkHost(v)
	case emptyVolume, filesVolume, claimVolume:
	}
	dir := s.source(v)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // users of containers pass through
		return err
	}
	if v.kind == filesVolume {
		return writeFiles(dir, v.files, s.group)
	}
	return s.open(dir)
}

// open lets every user write in a directory, as a kubelet does; of a group's, what is made in it is the group's.
func (s *volumeSet) open(dir string) error {
	perm := fs.FileMode(0o777)
	if s.group >= 0 {
		if err := os.Chown(dir, -1, s.group); err != nil {
			return err
		}
		perm |= fs.ModeSetgid
	}
	return os.Chmod(dir, perm)
}

// checkHost refuses what would lead out of the lab. A path that is not there gets a directory of the pod's own, for the
// lab makes nothing outside of itself.
func (s *volumeSet) checkHost(v *volume) error {
	found, err := filepath.EvalSymlinks(v.at)
	if errors.Is(err, fs.ErrNotExist) {
		found = filepath.Join(s.dir, v.name)
		if err = os.MkdirAll(found, 0o755); err == nil { //nolint:gosec // as the machine's
			err = s.open(found)
		}
	}
	if err != nil {
		return err
	}
	if found == "/run" || strings.HasPrefix(found, "/run/") || found == "/" {
		return fmt.Errorf("hostPath %s is not given to pods: sockets in /run lead out of the lab", v.at)
	}
	v.at = found
	return nil
}

// source is what is mounted for a volume.
func (s *volumeSet) source(v *volume) string {
	switch v.kind {
	case hostVolume:
		return v.at
	case claimVolume:
		return s.claims + v.at
	case emptyVolume, filesVolume, absentVolume:
	}
	return filepath.Join(s.dir, v.name)
}

// update has the files follow their objects.
func (s *volumeSet) update(want []volume) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for i := range s.want {
		have := &s.want[i]
		at := slices.IndexFunc(want, func(v volume) bool { return v.name == have.name })
		if at < 0 || have.kind != filesVolume || maps.Equal(have.files, want[at].files) {
			continue
		}
		have.files = want[at].files
		if s.made {
			errs = append(errs, writeFiles(s.source(have), have.files, s.group))
		}
	}
	return errors.Join(errs...)
}

// sources gives where the volumes are that mounts name.
func (s *volumeSet) sources() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for i := range s.want {
		out[s.want[i].name] = s.source(&s.want[i])
	}
	return out
}

// dataLink leads to the directory with the files that are in force. It is replaced in one step, so that apps see all old
// files or all new ones, the names of a kubelet's volumes among them.
const dataLink = "..data"

// writeFiles puts files in force below dir.
func writeFiles(dir string, files map[string]volumeFile, group int) error {
	old, _ := os.Readlink(filepath.Join(dir, dataLink)) // none the first time
	fresh, err := os.MkdirTemp(dir, "..fairlead-")
	if err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o755); err != nil { //nolint:gosec // read by the users of containers
		return err
	}
	top := map[string]bool{}
	for name, f := range files {
		if err := writeVolumeFile(filepath.Join(fresh, name), f, group); err != nil {
			return err
		}
		first, _, _ := strings.Cut(name, "/")
		top[first] = true
	}
	next := filepath.Join(dir, "..data_tmp")
	if err := errors.Join(os.Symlink(filepath.Base(fresh), next), os.Rename(next, filepath.Join(dir, dataLink))); err != nil {
		return err
	}
	if old != "" {
		err = os.RemoveAll(filepath.Join(dir, filepath.Base(old)))
	}
	return errors.Join(err, linkNames(dir, top))
}

// linkNames has each name of top lead to the file in force, and no other.
func linkNames(dir string, top map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink != 0 && e.Name() != dataLink && !top[e.Name()] {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	for name := range top {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name))
		if !errors.Is(err, fs.ErrExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func writeVolumeFile(path string, f volumeFile, group int) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // read by the users of containers
		return err
	}
	if err := os.WriteFile(path, []byte(f.content), 0o600); err != nil {
		return err
	}
	perm := fs.FileMode(f.mode)
	if group >= 0 {
		if err := os.Chown(path, -1, group); err != nil {
			return err
		}
		perm |= 0o440
	}
	return os.Chmod(path, perm)
}

// openPart opens what is mounted of a source: all of it, or what subPath names without leading out of it. What is not
// there becomes a directory, as a kubelet has it.
func openPart(source, subPath string) (*os.File, error) {
	if subPath == "" {
		return os.OpenFile(source, unix.O_PATH, 0)
	}
	root, err := os.OpenRoot(source)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // nothing was written through it
	if _, err := root.Stat(subPath); errors.Is(err, fs.ErrNotExist) {
		if err := root.MkdirAll(subPath, 0o777); err != nil {
			return nil, fmt.Errorf("subPath: %w", err)
		}
		if err := root.Chmod(subPath, 0o777); err != nil {
			return nil, fmt.Errorf("subPath: %w", err)
		}
	}
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), subPath, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH})
	if err != nil {
		return nil, fmt.Errorf("subPath %s: %w", subPath, err)
	}
	return os.NewFile(uintptr(fd), subPath), nil
}
