package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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
	// watch, unless nil, is called for each directory before it is looked into, so that what comes meanwhile is either
	// listed or has an event.
	watch func(dir string) error

	files []entryKey
	// dirs are the directories to watch; targets those that are only watched because a symlinked file lies there.
	dirs, targets []string
	failures      []failure
}

// failure is a path that cannot be read.
type failure struct {
	key          entryKey
	message, fix string
}

// walkPaths lists the manifest files below the paths, by path, then by name. See tree for watch.
func walkPaths(paths []string, watch func(dir string) error) *tree {
	t := &tree{watch: watch}
	for root, path := range paths {
		t.root(root, filepath.Clean(path))
	}
	t.sort()
	return t
}

func (t *tree) sort() {
	slices.SortFunc(t.files, entryKey.compare)
	slices.Sort(t.dirs)
	t.dirs = slices.Compact(t.dirs)
}

// root adds one of the paths. It may come, go or change between file and directory at any moment: what it is counts
// only once the directory is watched where that would show.
func (t *tree) root(root int, path string) {
	for dir := ""; dir != watchFor(path); {
		dir = watchFor(path)
		t.enter(root, dir)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		t.fail(entryKey{root, path}, err)
	case info.IsDir():
		t.list(root, path, nil)
	default:
		t.files = append(t.files, entryKey{root, path})
		t.follow(root, path)
	}
}

// watchFor gives the directory to watch for changes of one of the paths: itself, or the one where the file lies, not the
// file, because editors put a new one in its place; and for what is missing, the directory where it will show up.
func watchFor(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return path
	}
	return existingParent(path)
}

// enter makes dir one of those that are watched.
func (t *tree) enter(root int, dir string) {
	t.dirs = append(t.dirs, dir)
	if t.watch == nil {
		return
	}
	switch err := t.watch(dir); {
	case err == nil, errors.Is(err, fs.ErrNotExist): // gone since it was listed: its parent has an event to come
	case errors.Is(err, syscall.ENOSPC):
		t.failures = append(t.failures, failure{
			key: entryKey{root, dir}, message: "too many directories to watch", fix: "raise the sysctl fs.inotify.max_user_watches",
		})
	default:
		t.fail(entryKey{root, dir}, err)
	}
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

// follow watches the directory of a symlink's target too.
func (t *tree) follow(root int, path string) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return // a dangling link shows when it is read
	}
	if dir := filepath.Dir(target); filepath.Clean(path) != target {
		t.targets = append(t.targets, dir)
		t.enter(root, dir)
	}
}

// walk adds a directory and what is below it. links are the real paths of the symlinked directories it is inside of.
func (t *tree) walk(root int, dir string, links []string) {
	t.enter(root, dir)
	t.list(root, dir, links)
}

// list adds what is in a directory.
func (t *tree) list(root int, dir string, links []string) {
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
			t.follow(root, path)
		}
	case len(links) < maxLinks:
		target, err := filepath.EvalSymlinks(path)
		here, err2 := filepath.EvalSymlinks(filepath.Dir(path))
		loop := err != nil || err2 != nil || slices.Contains(links, target) || within(target, here)
		if !loop {
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
		return nil, errTooLarge(int(info.Size()))
	}
	return os.ReadFile(path)
}

func errTooLarge(size int) error {
	return fmt.Errorf("%d MB large, more than the %d MB that are read", size>>20, maxFileSize>>20)
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
