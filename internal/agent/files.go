package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Files are the places that an app finds its things at.
type Files struct {
	// Socket leads to the control plane, Bootstrap says so, Certificates is the directory of the workload's certificate.
	Socket, Bootstrap, Certificates string
}

// The names of the files, as Istio's OUTPUT_CERTS has them.
const (
	keyFile   = "key.pem"
	chainFile = "cert-chain.pem"
	rootsFile = "root-cert.pem"
)

// generation is the link in a directory to the files that count, as the kubelet has it in volumes.
const (
	generation   = "..data"
	generations  = "..generation-"
	forTheApp    = 0o644 // the app has a user of its own, and the directory is the pod's
	forTheAppDir = 0o755
)

// writeTogether replaces the files of a directory all at once: each name is a link through one other link, which is renamed.
// Who opens one after the other may still see two generations, as in volumes of the kubelet's; gRPC's file_watcher takes a
// certificate and a key that do not fit together for none, and looks again.
func writeTogether(dir string, files map[string][]byte) error {
	old, err := os.Readlink(filepath.Join(dir, generation))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("certificates for the app: %w", err)
	}
	fresh, err := os.MkdirTemp(dir, generations)
	if err != nil {
		return fmt.Errorf("certificates for the app: %w", err)
	}
	err = os.Chmod(fresh, forTheAppDir)
	for name, content := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(fresh, name), content, forTheApp))
	}
	for name := range files { // they lead nowhere until there is a first generation
		if at, failed := os.Readlink(filepath.Join(dir, name)); failed != nil || at != filepath.Join(generation, name) {
			err = errors.Join(err, link(dir, filepath.Join(generation, name), name))
		}
	}
	if err == nil {
		err = link(dir, filepath.Base(fresh), generation)
	}
	if err != nil {
		os.RemoveAll(fresh) //nolint:errcheck // the error is what counts
		return fmt.Errorf("certificates for the app: %w", err)
	}
	if strings.HasPrefix(old, generations) {
		os.RemoveAll(filepath.Join(dir, old)) //nolint:errcheck // what stays is but small
	}
	return nil
}

// link makes a name in dir lead to a target, in the place of what it led to.
func link(dir, target, name string) error {
	made := filepath.Join(dir, name+".new")
	if err := os.Remove(made); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, made); err != nil {
		return err
	}
	return os.Rename(made, filepath.Join(dir, name))
}

// replace writes a file so that a reader sees all of it or what was there before.
func replace(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, forTheApp); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
