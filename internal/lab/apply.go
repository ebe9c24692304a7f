package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/file"
)

// Changed says what apply or delete did with one object.
type Changed struct {
	Ref model.Ref
	// Verb is applied, deleted or "not found".
	Verb string
}

// Apply puts objects in force, over those of the lab's own directories.
func (c *Client) Apply(objects []source.Object) ([]Changed, error) {
	unlock, err := c.lockApplied()
	if err != nil {
		return nil, err
	}
	defer unlock()
	hidden, err := c.readHidden()
	if err != nil {
		return nil, err
	}
	var done []Changed
	for i := range objects {
		raw, err := manifest(objects[i].Value)
		if err != nil {
			return done, fmt.Errorf("%s: %w", objects[i].Ref, err)
		}
		if err := writeAtomic(c.appliedFile(objects[i].Ref), raw); err != nil {
			return done, err
		}
		delete(hidden, objects[i].Ref.String())
		done = append(done, Changed{objects[i].Ref, "applied"})
	}
	return done, c.writeHidden(hidden)
}

// Delete takes objects out of force, those of the lab's own directories too, without touching the user's files.
func (c *Client) Delete(objects []source.Object) ([]Changed, error) {
	unlock, err := c.lockApplied()
	if err != nil {
		return nil, err
	}
	defer unlock()
	own, err := c.ownObjects()
	if err != nil {
		return nil, err
	}
	hidden, err := c.readHidden()
	if err != nil {
		return nil, err
	}
	var done []Changed
	for i := range objects {
		ref := objects[i].Ref
		err := os.Remove(c.appliedFile(ref))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return done, err
		}
		verb := "deleted"
		switch {
		case own[ref] && !hidden[ref.String()]:
			hidden[ref.String()] = true
		case err != nil:
			verb = "not found"
		}
		done = append(done, Changed{ref, verb})
	}
	return done, c.writeHidden(hidden)
}

// forget takes back what was applied of some objects. Those of the lab's own directories are in force again.
func forget(c *Client, objects []source.Object) error {
	unlock, err := c.lockApplied()
	if err != nil {
		return err
	}
	defer unlock()
	for i := range objects {
		if err := os.Remove(c.appliedFile(objects[i].Ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// lockApplied keeps two commands from changing the applied objects at the same time.
func (c *Client) lockApplied() (unlock func(), err error) {
	dir, err := os.Open(c.state.applied())
	if err != nil {
		return nil, fmt.Errorf("applied objects: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		dir.Close()
		return nil, fmt.Errorf("applied objects: %w", err)
	}
	return func() { dir.Close() }, nil
}

func (c *Client) appliedFile(ref model.Ref) string {
	return filepath.Join(c.state.applied(), fmt.Sprintf("%s_%s_%s.yaml", ref.Kind, ref.Namespace, ref.Name))
}

// ownObjects gives what the lab's own directories hold.
func (c *Client) ownObjects() (map[model.Ref]bool, error) {
	raw, err := os.ReadFile(c.state.config())
	if err != nil {
		return nil, err
	}
	var cfg config
	if err := json.Unmarshal(raw, &cfg); err != nil {
		return nil, err
	}
	own := map[model.Ref]bool{}
	read, err := file.Load(file.LoadOptions{Paths: cfg.Paths, Data: true})
	for i := range read.Objects {
		own[read.Objects[i].Ref] = true
	}
	return own, err
}

// hiddenFile lists objects of earlier paths that are out of force; see package file.
const hiddenFile = ".deleted"

func (c *Client) readHidden() (map[string]bool, error) {
	hidden := map[string]bool{}
	raw, err := os.ReadFile(filepath.Join(c.state.applied(), hiddenFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line != "" {
			hidden[line] = true
		}
	}
	return hidden, nil
}

func (c *Client) writeHidden(hidden map[string]bool) error {
	path := filepath.Join(c.state.applied(), hiddenFile)
	if len(hidden) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return writeAtomic(path, []byte(strings.Join(slices.Sorted(maps.Keys(hidden)), "\n")+"\n"))
}

// manifest writes an object as a user would: without status and without nulls.
func manifest(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	delete(fields, "status")
	return yaml.Marshal(withoutNulls(fields))
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if value == nil {
				delete(v, key)
				continue
			}
			v[key] = withoutNulls(value)
		}
	case []any:
		for i := range v {
			v[i] = withoutNulls(v[i])
		}
	}
	return v
}
