package cni

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// kubeconfigName is the file that the plugin asks the API server with, in the directory of configurations.
	kubeconfigName = Name + ".kubeconfig"
	// recheck is how often everything is looked at without being told of a change: a service account's token is
	// renewed some minutes before it expires, and a notice may get lost.
	recheck = 30 * time.Second
	// uninstallTimeout bounds what happens after SIGTERM.
	uninstallTimeout = 5 * time.Second
)

// notYet is the problem that an installer starts with.
const notYet = "not installed yet"

// InstallOptions say where the plugin goes, and what else the installer does on its node.
type InstallOptions struct {
	// Executable is the program that is copied as the plugin.
	Executable string
	// BinDir and ConfDir are the runtime's directories of plugins and of network configurations, as this process sees
	// them; HostConfDir is the latter as the runtime sees it (default: ConfDir without a leading /host).
	BinDir, ConfDir, HostConfDir string
	// ConfName is the configuration to edit; the one that the runtime uses where empty.
	ConfName string
	// LogFile, where set, takes the plugin's log besides the runtime's; a path of the host's.
	LogFile string
	// ExcludeNamespaces are those whose pods the plugin does not look at.
	ExcludeNamespaces []string

	// APIServer is the URL of the API server as the node reaches it; TokenFile and CAFile are those of a service account.
	APIServer, TokenFile, CAFile string

	// Listen is the address of the health endpoints.
	Listen string
	// Repair says what to do about pods that were started without the plugin; Node is the name of this node.
	Repair Repair
	Node   string

	Uninstall UninstallOptions
	Logger    *slog.Logger
}

// UninstallOptions say whether the plugin leaves the node when Run ends.
type UninstallOptions struct {
	// OnExit takes the plugin off the node.
	OnExit bool
	// DaemonSet and Namespace, where set, name the DaemonSet that this process belongs to. As long as it exists, the
	// end of this process is an upgrade, and the plugin stays: pods that start meanwhile need it.
	DaemonSet, Namespace string
}

// Installer puts the plugin on a node and keeps it there.
type Installer struct {
	o     InstallOptions
	conf  confDir
	entry member
	api   *client
	log   *slog.Logger
	pace  pace   // owned by Run's goroutine
	last  string // the problem that was logged last; owned by Run's goroutine

	mu    sync.Mutex
	state state
}

// state is what the installer's goroutines share.
type state struct {
	// problem keeps the node from being ready; nil when the plugin is in place.
	problem error
	// since is when the configuration got the plugin.
	since time.Time
}

// NewInstaller checks o. It does no I/O.
func NewInstaller(o InstallOptions) (*Installer, error) {
	for _, required := range []struct{ name, value string }{
		{"Executable", o.Executable},
		{"BinDir", o.BinDir},
		{"ConfDir", o.ConfDir},
		{"APIServer", o.APIServer},
		{"TokenFile", o.TokenFile},
		{"CAFile", o.CAFile},
		{"Listen", o.Listen},
	} {
		if required.value == "" {
			return nil, fmt.Errorf("cni: %s is empty", required.name)
		}
	}
	if o.ConfName != filepath.Base(o.ConfName) && o.ConfName != "" {
		return nil, fmt.Errorf("cni: ConfName %q: write the name of a file in %s", o.ConfName, o.ConfDir)
	}
	if o.Repair != RepairNone && o.Node == "" {
		return nil, errors.New("cni: the name of the node is needed to repair its pods (NODE_NAME)")
	}
	if o.Logger == nil {
		return nil, errors.New("cni: Logger is nil")
	}
	o.HostConfDir = cmp.Or(o.HostConfDir, hostPath(o.ConfDir))
	entry := newMember()
	entry.Kubeconfig = filepath.Join(o.HostConfDir, kubeconfigName)
	entry.ExcludeNamespaces = o.ExcludeNamespaces
	entry.LogFile = o.LogFile
	return &Installer{
		o:     o,
		conf:  confDir{path: o.ConfDir, name: o.ConfName},
		entry: entry,
		log:   o.Logger,
		last:  notYet,
		state: state{problem: errors.New(notYet)},
	}, nil
}

// hostPath takes off the directory below which the host's are mounted.
func hostPath(p string) string {
	if rest, ok := strings.CutPrefix(filepath.Clean(p), "/host/"); ok {
		return "/" + rest
	}
	return filepath.Clean(p)
}

// Run installs the plugin, and again whenever that is undone, until ctx ends. It fails where it can never succeed: the
// directories or the service account cannot be read, or the address is in use.
func (in *Installer) Run(ctx context.Context) error {
	if err := errors.Join(os.MkdirAll(in.o.ConfDir, 0o755), os.MkdirAll(in.o.BinDir, 0o755)); err != nil { //nolint:gosec // as distributions make them
		return err
	}
	ca, err := os.ReadFile(in.o.CAFile)
	if err != nil {
		return fmt.Errorf("service account: %w", err)
	}
	if in.api, err = newClient(in.o.APIServer, ca, in.token); err != nil {
		return err
	}
	defer in.api.close()
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w (fs.inotify.max_user_instances?)", in.o.ConfDir, err)
	}
	defer func() { _ = watcher.Close() }() // nothing is lost with it
	for _, dir := range []string{in.o.ConfDir, in.o.BinDir} {
		if err := watcher.Add(dir); err != nil {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", in.o.Listen)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	running.Go(func() { in.serve(ctx, listener) })
	if in.o.Repair != RepairNone {
		running.Go(func() { in.newRepairer().run(ctx) })
	}
	in.keep(ctx, watcher)
	running.Wait()
	// ctx has ended; what is left to do is bounded by itself.
	return in.leave(context.WithoutCancel(ctx))
}

// keep reconciles until ctx ends.
func (in *Installer) keep(ctx context.Context, watcher *fsnotify.Watcher) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-watcher.Events:
			if ours, _ := filepath.Match(tempPattern, filepath.Base(e.Name)); ours {
				continue
			}
		case err := <-watcher.Errors:
			in.log.LogAttrs(ctx, slog.LevelWarn, "watching is impaired", slog.String("error", err.Error()))
		case <-timer.C:
		}
		timer.Reset(in.reconcile(ctx))
	}
}

// reconcile puts everything in place once, and says when to look again.
func (in *Installer) reconcile(ctx context.Context) time.Duration {
	if pause := in.pace.pause(time.Now()); pause > 0 {
		return pause
	}
	got, err := in.install()
	if got.changed {
		in.log.LogAttrs(ctx, slog.LevelInfo, "plugin inserted", slog.String("file", filepath.Join(in.o.HostConfDir, got.file)))
		if n := in.pace.changed(time.Now()); n == paceTroubled {
			in.log.LogAttrs(ctx, slog.LevelWarn,
				"another program keeps rewriting the network configuration; let it leave other plugins alone (Cilium: cni.exclusive=false)",
				slog.String("file", filepath.Join(in.o.HostConfDir, got.file)))
		}
	}
	in.mu.Lock()
	in.state = state{problem: err, since: got.since}
	in.mu.Unlock()
	in.logProblem(ctx, err)
	return recheck
}

// logProblem logs a problem once, and that it is over.
func (in *Installer) logProblem(ctx context.Context, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == in.last {
		return
	}
	in.last = text
	if err != nil {
		in.log.LogAttrs(ctx, slog.LevelWarn, "plugin not in place", slog.String("error", text))
		return
	}
	in.log.LogAttrs(ctx, slog.LevelInfo, "plugin in place", slog.String("bin_dir", in.o.BinDir), slog.String("conf_dir", in.o.HostConfDir))
}

// install puts the program and its kubeconfig in place before the configuration that names them.
func (in *Installer) install() (ensured, error) {
	if err := copyProgram(in.o.Executable, filepath.Join(in.o.BinDir, Name)); err != nil {
		return ensured{}, fmt.Errorf("program: %w", err)
	}
	if err := in.writeKubeconfig(); err != nil {
		return ensured{}, fmt.Errorf("kubeconfig: %w", err)
	}
	return in.conf.ensure(in.entry)
}

func (in *Installer) token() (string, error) {
	b, err := os.ReadFile(in.o.TokenFile)
	if err != nil {
		return "", fmt.Errorf("service account: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (in *Installer) writeKubeconfig() error {
	ca, err := os.ReadFile(in.o.CAFile)
	if err != nil {
		return err
	}
	token, err := in.token()
	if err != nil {
		return err
	}
	content, err := encodeKubeconfig(in.o.APIServer, ca, token)
	if err != nil {
		return err
	}
	path := filepath.Join(in.o.ConfDir, kubeconfigName)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	return write(path, 0o600, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}

// copyProgram copies a program unless it is there already. A running one is not disturbed: its file goes on to exist
// without a name.
func copyProgram(from, to string) error {
	if same, err := sameContent(from, to); err != nil || same {
		return err
	}
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	return write(to, 0o755, func(f *os.File) error {
		_, err := io.Copy(f, source)
		return err
	})
}

// sameContent compares two files; a missing b is different.
func sameContent(a, b string) (bool, error) {
	infoA, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	infoB, err := os.Stat(b)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && (infoA.Size() != infoB.Size() || infoB.Mode().Perm() != 0o755)) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	sumA, errA := digest(a)
	sumB, errB := digest(b)
	return sumA == sumB, errors.Join(errA, errB)
}

func digest(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err = io.Copy(h, f); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}

// ready gives the time since when the plugin is in place.
func (in *Installer) ready() (since time.Time, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.state.since, in.state.problem
}

// serve answers health checks until ctx ends.
func (in *Installer) serve(ctx context.Context, l net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz/live", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /healthz/ready", func(w http.ResponseWriter, _ *http.Request) {
		since, err := in.ready()
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "plugin in place since", since.UTC().Format(time.RFC3339))
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		in.log.LogAttrs(ctx, slog.LevelError, "health endpoints ended", slog.String("error", err.Error()))
	}
}

// leave takes the plugin off the node, where that is wanted: first out of the configuration, then what it needs.
func (in *Installer) leave(ctx context.Context) error {
	if !in.o.Uninstall.OnExit {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, uninstallTimeout)
	defer cancel()
	if stays, why := in.stays(ctx); stays {
		in.log.LogAttrs(ctx, slog.LevelInfo, "plugin stays on the node", slog.String("reason", why))
		return nil
	}
	if err := in.conf.withdraw(""); err != nil {
		return fmt.Errorf("uninstall: %w", err) // the program stays: the configuration still names it
	}
	err := errors.Join(
		ignoreMissing(os.Remove(filepath.Join(in.o.ConfDir, kubeconfigName))),
		ignoreMissing(os.Remove(filepath.Join(in.o.BinDir, Name))),
	)
	if err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	in.log.LogAttrs(ctx, slog.LevelInfo, "plugin removed from the node")
	return nil
}

// stays tells an upgrade, after which another installer comes, from an uninstall. An API server that does not answer
// leaves everything as it is.
func (in *Installer) stays(ctx context.Context) (stays bool, why string) {
	u := in.o.Uninstall
	if u.DaemonSet == "" {
		return false, ""
	}
	var set struct {
		Metadata podMetadata `json:"metadata"`
	}
	err := in.api.once(ctx, request{
		method: http.MethodGet,
		path:   "/apis/apps/v1/namespaces/" + u.Namespace + "/daemonsets/" + u.DaemonSet,
	}, &set)
	switch code := status(err); {
	case err == nil && set.Metadata.DeletionTimestamp == nil:
		return true, "its DaemonSet still exists"
	case err == nil, code == http.StatusNotFound:
		return false, ""
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return false, "" // its service account or role has been deleted before it
	}
	return true, err.Error()
}
