package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/model"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/file"
)

// backing is what a control plane stands on: files on one machine, or a Kubernetes cluster.
type backing interface {
	// follow gives what is configured, the first time all of it, and then what changes, until ctx ends.
	follow(ctx context.Context, sink func(source.Change)) error
	// obstacles says what keeps it from giving anything yet.
	obstacles() []model.Problem
	doorkeeper
	rootkeeper
	// unready says what else must be there before others may rely on this replica; empty where nothing is missing.
	unready() string
	// parts are further works that run as long as the control plane.
	parts() []part
}

// doorkeeper knows who may what.
type doorkeeper interface {
	// authenticate gives what a workload token proves.
	authenticate(ctx context.Context, token string) (ca.Claims, error)
	// mayObserve says who may see what sidecars see; nil where everybody may who gets to the monitor port from this machine.
	mayObserve() observe.Authorizer
}

// rootkeeper has the CA, and what others know of it.
type rootkeeper interface {
	// followCA hands over the CA, and again when it is replaced, until ctx ends.
	followCA(ctx context.Context, use func(*ca.CA)) error
	// publishedRoots gives the mesh's own roots, PEM, as others are to trust them, and a number that is larger with each change of
	// them and never smaller, which all replicas have from one place. own is the CA at hand.
	publishedRoots(ctx context.Context, own *ca.CA) (pem []byte, version uint64, err error)
}

// part is one work that runs until its context ends. Its error ends all others and says where it comes from.
type part func(context.Context) error

// files is a backing without Kubernetes: manifests, keys and tokens are files, as in the lab.
type files struct {
	source    *file.Source
	stateDir  string
	tokenKey  string
	moreRoots string
	ca        ca.Options
}

func newFiles(o *Options) (*files, error) {
	switch {
	case o.StateDir == "":
		return nil, errors.New("control plane: no state directory for the CA")
	case o.TokenKey == "":
		return nil, errors.New("control plane: no public key for workload tokens")
	}
	s, err := file.New(file.Options{Paths: o.Sources, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	return &files{
		source: s, stateDir: o.StateDir, tokenKey: o.TokenKey, moreRoots: o.MoreRoots,
		ca: ca.Options{TrustDomain: o.TrustDomain, TTL: o.WorkloadCertTTL, Logger: o.Logger},
	}, nil
}

// mayObserve implements backing: to get here is to be the owner of the processes.
func (f *files) mayObserve() observe.Authorizer { return nil }

func (f *files) follow(ctx context.Context, sink func(source.Change)) error {
	return f.source.Run(ctx, sink)
}

func (f *files) parts() []part { return nil }

func (f *files) unready() string { return "" }

func (f *files) obstacles() []model.Problem { return nil } // what cannot be read is part of what it gives

func (f *files) followCA(ctx context.Context, use func(*ca.CA)) error {
	if err := os.MkdirAll(f.stateDir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	ca, err := ca.LoadOrCreate(f.stateDir, f.ca)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(f.stateDir, RootCertFile), ca.Roots()); err != nil {
		return fmt.Errorf("root certificate: %w", err)
	}
	if _, err := f.verifier(); err != nil {
		return err
	}
	f.trustMore(ctx, ca, use)
	return nil
}

// trustMore hands the CA over, and again whenever there are other roots to trust beside its own, until ctx ends. Roots that
// cannot be read leave those that are trusted as they are.
func (f *files) trustMore(ctx context.Context, own *ca.CA, use func(*ca.CA)) {
	ticker := time.NewTicker(clusterDirPause)
	defer ticker.Stop()
	var before, fault string
	for first := true; ; first = false {
		roots, err := readRoots(f.moreRoots)
		current := own
		if err == nil && roots != "" {
			current, err = own.WithPeerRoots("", []byte(roots))
		}
		if text := errorText(err); text != fault {
			if fault = text; text != "" {
				f.ca.Logger.LogAttrs(ctx, slog.LevelWarn, "further roots cannot be read, those that are trusted stay", slog.String("error", text))
			}
		}
		switch {
		case err == nil && (first || roots != before):
			before = roots
			use(current)
		case first:
			use(own)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// readRoots puts the files of a directory together; an empty name means none.
func readRoots(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		all.Write(text)
		all.WriteByte('\n')
	}
	return all.String(), nil
}

// authenticate reads the public key anew each time, so that it can be replaced.
func (f *files) authenticate(_ context.Context, token string) (ca.Claims, error) {
	verifier, err := f.verifier()
	if err != nil {
		return ca.Claims{}, err
	}
	return verifier.Verify(token)
}

func (f *files) verifier() (*ca.TokenVerifier, error) {
	keys, err := os.ReadFile(f.tokenKey) //nolint:gosec // a file that the operator names
	if err != nil {
		return nil, fmt.Errorf("public key for workload tokens: %w", err)
	}
	v, err := ca.NewTokenVerifier(ca.VerifierOptions{PublicKeysPEM: keys})
	if err != nil {
		return nil, fmt.Errorf("public key for workload tokens: %s: %w", f.tokenKey, err)
	}
	return v, nil
}

// writeFile replaces a public file at once: a reader sees all of it.
func writeFile(path string, content []byte) error {
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, content, 0o644); err != nil { //nolint:gosec // certificates are public
		return err
	}
	return os.Rename(temporary, path)
}
