package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// copyTo writes this program to a file that everybody may run, for a container of another image, such as an Envoy's. The file
// is there as a whole or not at all.
func copyTo(args []string) error {
	if len(args) != 1 {
		return errors.New("copy: write one FILE, where this program is to be")
	}
	own, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(own)
	if err != nil {
		return err
	}
	defer from.Close()
	dir := filepath.Dir(args[0])
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // other users run what is in it
		return err
	}
	to, err := os.CreateTemp(dir, ".copy-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(to.Name()) }() //nolint:gosec // its name is made here; the rename may have taken it away
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Chmod(0o755), to.Close()); err != nil {
		return err
	}
	return os.Rename(to.Name(), args[0]) //nolint:gosec // the injector says which file
}
