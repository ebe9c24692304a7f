package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// hidesFile lists, in one path, objects to hide in the earlier ones.
	hidesFile = ".deleted"
	// maxFileSize bounds what is read into memory. etcd takes 1.5 MB per object.
	maxFileSize = 64 << 20
	// maxLinks bounds how many symlinked directories may lie inside each other.
	maxLinks = 16
)

// tree is what a walk over the paths finds.
type tree struct {
	files []entryKey
	// dirs are the directories to watch; linked those of them that may be others behind the same name tomorrow, because
	// a symlink led there; targets those that are only watched because a symlinked file lies there.
	dirs, linked, targets []string
	failures              []failure
}

// failure is a path that cannot be read.
type failure struct {
	key          entryKey
	message, fix string
}

// walkPaths lists the manifest files below the paths, by path, then by name.
func walkPaths(paths []string) *tree {
	t := &tree{}
	for root, path := range paths {
		path = filepath.Clean(path)
		info, err := os.Stat(path)
		switch {
		case err != nil:
			t.fail(entryKey{root, path}, err)
			t.dirs = append(t.dirs, existingParent(path))
		case info.IsDir():
			t.walk(root, path, nil)
		default:
			t.file(entryKey{root, path})
		}
	}
	slices.SortFunc(t.files, entryKey.compare)
	slices.Sort(t.dirs)
	t.dirs = slices.Compact(t.dirs)
	return t
}

func (t *tree) fail(k entryKey, err error) {
	message, fix := plainFileError(err)
	t.failures = append(t.failures, failure{key: k, message: message, fix: fix})
}

// plainFileError says why a file cannot be read, without naming it again.
func plainFileError(err error) (message, fix string) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file or directory", "it is read once it appears"
	case errors.Is(err, fs.ErrPermission):
		return "no permission to read it", ""
	}
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		err = at.Err
	}
	return err.Error(), ""
}

// file adds a path that names a single file. Its directory is watched, not the file: editors put a new one in its place.
func (t *tree) file(k entryKey) {
	t.files = append(t.files, k)
	t.dirs = append(t.dirs, filepath.Dir(k.path))
	t.follow(k.path)
}

// follow watches the directory of a symlink's target too.
func (t *tree) follow(path string) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return // a dangling link shows when it is read
	}
	if dir := filepath.Dir(target); filepath.Clean(path) != target {
		t.dirs, t.targets = append(t.dirs, dir), append(t.targets, dir)
	}
}

// walk adds a directory and what is below it. links are the real paths of the symlinked directories it is inside of.
func (t *tree) walk(root int, dir string, links []string) {
	t.dirs = append(t.dirs, dir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // gone since it was listed: there is an event to come
		t.fail(entryKey{root, dir}, err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.Name() == hidesFile:
			t.files = append(t.files, entryKey{root, path})
		case isHidden(e.Name()):
		case e.IsDir():
			t.walk(root, path, links)
		case e.Type()&fs.ModeSymlink != 0:
			t.link(root, path, links)
		case isManifest(e.Name()):
			t.files = append(t.files, entryKey{root, path})
		}
	}
}

// link adds a symlink to a file or to a directory that it is not itself inside of.
func (t *tree) link(root int, path string, links []string) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
	case !info.IsDir():
		if isManifest(filepath.Base(path)) {
			t.files = append(t.files, entryKey{root, path})
			t.follow(path)
		}
	case len(links) < maxLinks:
		target, err := filepath.EvalSymlinks(path)
		here, err2 := filepath.EvalSymlinks(filepath.Dir(path))
		loop := err != nil || err2 != nil || slices.Contains(links, target) || within(target, here)
		if !loop {
			t.linked = append(t.linked, path)
			t.walk(root, path, append(slices.Clone(links), target))
		}
	}
}

// within reports whether path is dir or below it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// isHidden reports whether editors or people mean a file not to be seen.
func isHidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") || strings.HasPrefix(name, "~") || strings.HasSuffix(name, "~")
}

// isManifest reports whether a file in a directory is to be read.
func isManifest(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return !isHidden(name)
	default:
		return false
	}
}

// existingParent gives the nearest directory above path that is there: where path will show up.
func existingParent(path string) string {
	for {
		parent := filepath.Dir(path)
		if info, err := os.Stat(parent); parent == path || err == nil && info.IsDir() {
			return parent
		}
		path = parent
	}
}

// readFile reads a regular file of bounded size.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case info.Size() > maxFileSize:
		return nil, fmt.Errorf("%d MB large, more than the %d MB that are read", info.Size()>>20, maxFileSize>>20)
	}
	return os.ReadFile(path)
}

// load reads one file into the registry.
func (r *registry) load(k entryKey) {
	data, err := readFile(k.path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // gone since it was listed, or a symlink to nowhere
		r.remove(k)
	case err != nil:
		message, fix := plainFileError(err)
		r.fail(k, message, fix)
	default:
		r.put(k, data)
	}
}
