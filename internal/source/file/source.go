package file

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
)

// Options configure a Source.
type Options struct {
	// Paths are files and directories (read with their sub-directories). Later ones override earlier ones. One that
	// does not exist is a Problem until it does.
	Paths []string
	// Data has ConfigMaps, DaemonSets and Jobs read as well, which mean nothing to a mesh but something to the apps
	// in it.
	Data bool
	// Logger receives a line per batch at debug level and per watching failure at warning level. Nil discards.
	Logger *slog.Logger
}

// Source follows manifests on disk.
type Source struct {
	paths []string
	data  bool
	log   *slog.Logger

	halfWritten time.Duration // see there
}

// New makes a Source. It does no I/O.
func New(o Options) (*Source, error) {
	if len(o.Paths) == 0 {
		return nil, errors.New("no manifests: name at least one file or directory")
	}
	s := &Source{log: o.Logger, data: o.Data, halfWritten: halfWritten}
	for _, path := range o.Paths {
		if path == "" {
			return nil, errors.New("an empty path among the manifests")
		}
		s.paths = append(s.paths, filepath.Clean(path))
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Manifests is what files and directories hold.
type Manifests struct {
	// Objects are those in force, ordered by path, file and place.
	Objects  []source.Object
	Problems []model.Problem
	// Bystanders counts by kind the objects that were left out because their kind means nothing to a mesh.
	Bystanders map[string]int
}

// Stdin as a path means the reader of [LoadOptions]. Problems call it stdin.
const Stdin = "-"

// LoadOptions say what to read once.
type LoadOptions struct {
	// Paths are files and directories, or Stdin; later ones override earlier ones.
	Paths []string
	// Stdin is read where Paths name it; nil where they cannot.
	Stdin io.Reader
	// Namespace is that of objects which name none and belong to one; empty means default.
	Namespace string
	// Data is that of Options.
	Data bool
}

// Load reads paths once: all objects in force, and all problems. A path that cannot be read at all is an error.
func Load(o LoadOptions) (Manifests, error) {
	r, t := registryOf(decoderOf(o.Data)), &tree{}
	if o.Namespace != "" {
		r.decoder.namespace = o.Namespace
	}
	for root, path := range o.Paths {
		if path == Stdin && o.Stdin != nil {
			data, err := io.ReadAll(io.LimitReader(o.Stdin, maxFileSize+1))
			if err == nil && len(data) > maxFileSize {
				err = errTooLarge(len(data))
			}
			if err != nil {
				return Manifests{}, fmt.Errorf("standard input: %w", err)
			}
			r.put(entryKey{root, "stdin"}, data)
			continue
		}
		if _, err := os.Stat(path); err != nil {
			message, _ := plainFileError(err)
			return Manifests{}, fmt.Errorf("%s: %s", path, message)
		}
		t.root(root, filepath.Clean(path))
	}
	t.sort()
	for _, f := range t.failures {
		r.fail(f.key, f.message, f.fix)
	}
	for _, k := range t.files {
		r.load(k)
	}
	change, _ := r.flush()
	m := Manifests{Objects: change.Upserts, Problems: change.Problems, Bystanders: map[string]int{}}
	for _, e := range r.entries {
		for _, kind := range e.bystanders {
			m.Bystanders[kind]++
		}
	}
	return m, nil
}
