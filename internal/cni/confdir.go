package cni

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// savedSuffix marks a single plugin's configuration that a list of ours stands in for. No runtime reads such files.
const savedSuffix = ".fairlead-saved"

// tempPattern names files on their way; no runtime reads them either.
const tempPattern = ".fairlead-*.tmp"

// errNoConfig says that no network configuration is there yet, as on a node whose network is still being set up.
var errNoConfig = errors.New("no network configuration yet; the cluster's network plugin writes one")

// confDir is the runtime's directory of network configurations.
type confDir struct {
	path string
	// name, where set, is the file to edit, without regard to which one the runtime would choose.
	name string
}

// ensured says what ensure found or did.
type ensured struct {
	file    string // that holds the plugin
	changed bool
	since   time.Time // of the file: pods whose network was made before may lack the plugin
}

// ensure puts the plugin into the configuration that the runtime uses, and takes it out of all others.
func (d confDir) ensure(entry member) (ensured, error) {
	file, err := d.primary()
	if err != nil {
		return ensured{}, err
	}
	target, changed, err := d.add(file, entry)
	if err != nil {
		return ensured{}, fmt.Errorf("%s: %w", filepath.Join(d.path, file), err)
	}
	if err := d.withdraw(target); err != nil {
		return ensured{}, err
	}
	info, err := os.Stat(filepath.Join(d.path, target))
	if err != nil {
		return ensured{}, err
	}
	return ensured{file: target, changed: changed, since: info.ModTime()}, nil
}

// primary finds the file that the runtime uses: the first one in lexical order that is valid.
func (d confDir) primary() (string, error) {
	files, err := d.files()
	if err != nil {
		return "", err
	}
	var problems []error
	for _, name := range files {
		if d.name != "" && name != d.name && name != d.name+extList {
			continue
		}
		content, err := os.ReadFile(filepath.Join(d.path, name))
		if err != nil {
			continue // deleted since
		}
		if filepath.Ext(name) == extList {
			_, _, err = parseList(content)
		} else {
			_, err = parseSingle(content)
		}
		if err == nil {
			return name, nil
		}
		problems = append(problems, fmt.Errorf("%s: %w", name, err))
	}
	where := d.path
	if d.name != "" {
		where = filepath.Join(d.path, d.name)
	}
	return "", errors.Join(fmt.Errorf("%s: %w", where, errNoConfig), errors.Join(problems...))
}

// files gives the names that runtimes look at, in their order.
func (d confDir) files() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if slices.Contains([]string{extList, extSingle, extJSON}, filepath.Ext(e.Name())) && !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// add puts the plugin into one file, and gives the file that holds it then: a single plugin's configuration is moved
// aside for a list.
func (d confDir) add(name string, entry member) (target string, changed bool, err error) {
	path := filepath.Join(d.path, name)
	content, err := os.ReadFile(path)
	if err != nil {
		return "", false, err
	}
	if filepath.Ext(name) == extList {
		with, err := insert(content, entry)
		if err != nil || bytes.Equal(with, content) {
			return name, false, err
		}
		return name, true, replace(path, with)
	}
	list, err := convert(content)
	if err != nil {
		return "", false, err
	}
	with, err := insert(list, entry)
	if err != nil {
		return "", false, err
	}
	// In this order there is a valid configuration at any time; the single one comes first until it is gone.
	target = name + extList
	if err := replace(filepath.Join(d.path, target), with); err != nil {
		return "", false, err
	}
	return target, true, os.Rename(path, path+savedSuffix)
}

// withdraw takes the plugin out of all lists except one. keep is empty when the plugin leaves the node.
func (d confDir) withdraw(keep string) error {
	files, err := d.files()
	if err != nil {
		return err
	}
	var problems []error
	for _, name := range files {
		if name == keep || filepath.Ext(name) != extList {
			continue
		}
		if err := d.removeFrom(name); err != nil {
			problems = append(problems, fmt.Errorf("%s: remove %s: %w", filepath.Join(d.path, name), Name, err))
		}
	}
	return errors.Join(problems...)
}

func (d confDir) removeFrom(name string) error {
	path := filepath.Join(d.path, name)
	content, err := os.ReadFile(path)
	if err != nil {
		return ignoreMissing(err)
	}
	without, was, err := remove(content)
	if !was {
		return nil // not ours, or not valid and not used either
	}
	if single, ok := strings.CutSuffix(path, extList); ok && exists(single+savedSuffix) {
		return d.restore(single)
	}
	if err != nil {
		return err
	}
	return replace(path, without)
}

// restore brings back what a list of ours stood in for, unless its owner has written it anew.
func (d confDir) restore(single string) error {
	if exists(single) {
		if err := os.Remove(single + savedSuffix); err != nil {
			return err
		}
	} else if err := os.Rename(single+savedSuffix, single); err != nil {
		return err
	}
	return os.Remove(single + extList)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// replace writes a file so that a reader sees the old content or the new one, never a part, not even after a power
// failure. An existing file keeps its permissions.
func replace(path string, content []byte) error {
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	return write(path, mode, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}

// write makes a file by way of a temporary one beside it.
func write(path string, mode fs.FileMode, fill func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), tempPattern)
	if err != nil {
		return err
	}
	err = fill(f)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
