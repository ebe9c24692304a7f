package controlplane

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/incluster"
	"fairlead.dev/fairlead/internal/remote"
	"fairlead.dev/fairlead/internal/source"
	"fairlead.dev/fairlead/internal/source/file"
	"fairlead.dev/fairlead/internal/source/kube"
)

// clusterDirPause is how often the directory of other clusters is looked at: it may be a volume of Kubernetes, or one of another
// machine, of which no news come.
const clusterDirPause = 250 * time.Millisecond

// mirrorsOnlyFile in the directory of a cluster says that its Services are not shared, but mirrored as Links say.
const mirrorsOnlyFile = ".mirrors-only"

// clusterDir declares the clusters that a directory has: a file is a kubeconfig, a directory, or a link to one, is manifests of
// a cluster as a lab has them, each thing in it a path of a source. Each is called as the cluster is.
type clusterDir struct {
	path string
	set  *remote.Set
	log  *slog.Logger
	kubeconfigs
}

// run looks until ctx ends. A directory that cannot be read leaves the clusters as they are.
func (d *clusterDir) run(ctx context.Context) error {
	ticker := time.NewTicker(clusterDirPause)
	defer ticker.Stop()
	fault := ""
	for {
		clusters, err := d.read()
		if err == nil {
			d.set.Declare(d.path, clusters)
		}
		d.set.Listed(d.path)
		if text := errorText(err); text != fault {
			if fault = text; text != "" {
				d.log.LogAttrs(ctx, slog.LevelWarn, "the directory of clusters cannot be read, they stay as they are", slog.String("error", text))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (d *clusterDir) read() (map[string]remote.Spec, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	out := make(map[string]remote.Spec)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(d.path, e.Name())
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case info.IsDir():
			out[e.Name()], err = d.manifests(path)
		default:
			var text []byte
			if text, err = os.ReadFile(path); err == nil {
				out[e.Name()] = d.spec(text)
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return out, nil
}

// manifests is a cluster that consists of files.
func (d *clusterDir) manifests(path string) (remote.Spec, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return remote.Spec{}, err
	}
	var paths []string
	apart := false
	for _, e := range entries {
		if e.Name() == mirrorsOnlyFile {
			apart = true
			continue
		}
		target, err := filepath.EvalSymlinks(filepath.Join(path, e.Name()))
		if err != nil {
			target = filepath.Join(path, e.Name()) // it is missing, which the source waits for
		}
		paths = append(paths, target)
	}
	return remote.Spec{Apart: apart, Print: strings.Join(paths, "\n"), Open: func() (remote.Source, error) {
		if len(paths) == 0 {
			return nil, fmt.Errorf("%s is empty: no manifests of the cluster", path)
		}
		return &fileCluster{paths: paths, log: d.log}, nil
	}}, nil
}

// kubeconfigs makes sources of kubeconfigs.
type kubeconfigs struct {
	plugins incluster.KubeconfigPlugins
	logger  *slog.Logger
}

// spec is a cluster behind an API server.
func (k kubeconfigs) spec(kubeconfig []byte) remote.Spec {
	sum := sha256.Sum256(kubeconfig)
	return remote.Spec{Print: hex.EncodeToString(sum[:]), Open: func() (remote.Source, error) {
		config, err := incluster.RemoteConfig(kubeconfig, k.plugins)
		if err != nil {
			return nil, err
		}
		s, err := kube.New(kube.Options{Config: config, OfClusters: true, Logger: k.logger})
		if err != nil {
			return nil, err
		}
		return &kubeCluster{source: s}, nil
	}}
}

// kubeCluster is a cluster behind an API server.
type kubeCluster struct{ source *kube.Source }

// Run implements remote.Source.
func (c *kubeCluster) Run(ctx context.Context, sink remote.Sink) error {
	first := true
	return c.source.Run(ctx, func(change source.Change) {
		if first {
			sink.Whole(change.Upserts)
		} else {
			sink.Changed(change)
		}
		first = false
	})
}

// Trouble implements remote.Source.
func (c *kubeCluster) Trouble() (time.Time, string) { return c.source.Trouble() }

// Skew implements remote.Source.
func (c *kubeCluster) Skew() time.Duration { return c.source.Skew() }

// fileCluster is a cluster whose objects are in files. While one of the paths is missing, what is known stays.
type fileCluster struct {
	paths []string
	log   *slog.Logger

	mu    sync.Mutex
	since time.Time // guarded by mu, as cause
	cause string
}

// Run implements remote.Source.
func (c *fileCluster) Run(ctx context.Context, sink remote.Sink) error {
	for ctx.Err() == nil {
		if !c.await(ctx) {
			return nil
		}
		if err := c.follow(ctx, sink); err != nil {
			return err
		}
	}
	return nil
}

// follow hands on what the files say until one of the paths is missing, or ctx ends.
func (c *fileCluster) follow(ctx context.Context, sink remote.Sink) error {
	s, err := file.New(file.Options{Paths: c.paths, Logger: c.log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first := true
	return s.Run(ctx, func(change source.Change) {
		if c.missing() {
			cancel()
		}
		if ctx.Err() != nil {
			return
		}
		if first {
			sink.Whole(change.Upserts)
		} else {
			sink.Changed(change)
		}
		first = false
	})
}

// await waits until all paths are there; false where ctx has ended.
func (c *fileCluster) await(ctx context.Context) bool {
	ticker := time.NewTicker(clusterDirPause)
	defer ticker.Stop()
	for c.missing() {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	return true
}

// missing looks whether a path is missing, and notes it.
func (c *fileCluster) missing() bool {
	cause := ""
	at := slices.IndexFunc(c.paths, func(p string) bool { _, err := os.Stat(p); return err != nil })
	if at >= 0 {
		cause = c.paths[at] + " cannot be read"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if (cause == "") != (c.cause == "") {
		c.since = time.Now()
	}
	c.cause = cause
	return cause != ""
}

// Trouble implements remote.Source.
func (c *fileCluster) Trouble() (time.Time, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since, c.cause
}

// Skew implements remote.Source: files have no clock.
func (c *fileCluster) Skew() time.Duration { return 0 }
