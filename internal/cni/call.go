package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"
)

// Name is the plugin's type in network configurations and its file's name in the runtime's directory of plugins.
const Name = "fairlead-cni"

// addTimeout bounds what an ADD waits for the API server. The kubelet tries again.
const addTimeout = 15 * time.Second

// maxConfig bounds what is read from standard input, in bytes. Results of plugins are a few kilobytes.
const maxConfig = 4 << 20

// The versions of the specification that the plugin speaks, oldest first: from the first one with chained plugins.
var versions = [...]string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} //nolint:gochecknoglobals // a table that never changes

// Invocation is one call of the plugin: parameters from the environment, and its streams.
type Invocation struct {
	// Command, ContainerID, NetNS, IfName and Args are CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS.
	Command, ContainerID, NetNS, IfName, Args string

	Stdin  io.Reader
	Stdout io.Writer
	// Stderr takes the log.
	Stderr io.Writer
}

// Environ fills the parameters of an Invocation from the environment.
func Environ(getenv func(string) string) Invocation {
	return Invocation{
		Command:     getenv("CNI_COMMAND"),
		ContainerID: getenv("CNI_CONTAINERID"),
		NetNS:       getenv("CNI_NETNS"),
		IfName:      getenv("CNI_IFNAME"),
		Args:        getenv("CNI_ARGS"),
	}
}

// Codes of errors, from the specification's table; those from 100 are the plugin's own.
const (
	codeVersion     = 1
	codeEnvironment = 4
	codeIO          = 5
	codeDecode      = 6
	codeConfig      = 7
	codeTryAgain    = 11
	codeRedirect    = 100
	codeAnnotation  = 101
)

// callError is what the runtime is told.
type callError struct {
	code int
	err  error
}

func (e *callError) Error() string { return e.err.Error() }
func (e *callError) Unwrap() error { return e.err }

func fail(code int, format string, args ...any) error {
	return &callError{code, fmt.Errorf(format, args...)}
}

// netConf is the plugin's configuration with what the runtime adds to it.
type netConf struct {
	CNIVersion string          `json:"cniVersion"`
	Name       string          `json:"name"`
	PrevResult json.RawMessage `json:"prevResult"`

	RuntimeConfig struct {
		// PodAnnotations are there where the runtime knows the capability. The kubelet adds some of its own, so that
		// those of a pod are never empty.
		PodAnnotations map[string]string `json:"io.kubernetes.cri.pod-annotations"`
	} `json:"runtimeConfig"`

	Kubeconfig        string   `json:"kubeconfig"`
	ExcludeNamespaces []string `json:"excludeNamespaces"`
	LogFile           string   `json:"logFile"`
}

// Call serves one invocation and gives the exit code of the process.
func Call(ctx context.Context, inv Invocation) int {
	version, err := call(ctx, inv)
	if err == nil {
		return 0
	}
	code := codeIO
	if e, ok := errors.AsType[*callError](err); ok {
		code = e.code
	}
	if version == "" {
		version = versions[len(versions)-1]
	}
	object := struct {
		CNIVersion string `json:"cniVersion"`
		Code       int    `json:"code"`
		Msg        string `json:"msg"`
	}{version, code, Name + ": " + err.Error()}
	_ = json.NewEncoder(inv.Stdout).Encode(object) // the runtime reads nothing else
	return 1
}

// call gives the version that an error is to be written in.
func call(ctx context.Context, inv Invocation) (version string, err error) {
	if inv.Command == "VERSION" {
		return "", printVersions(inv)
	}
	conf, err := parseConfig(inv.Stdin)
	if err != nil {
		return "", err
	}
	if err := accepts(conf.CNIVersion, inv.Command); err != nil {
		return "", err
	}
	if err := inv.complete(); err != nil {
		return conf.CNIVersion, err
	}
	log, closeLog := conf.logger(inv.Stderr)
	defer closeLog()
	p := plugin{inv: inv, conf: conf, log: log}
	switch inv.Command {
	case "ADD":
		err = p.add(ctx)
	case "CHECK":
		err = p.check(ctx)
	case "DEL", "GC", "STATUS":
		// Nothing to take away: the rules go with the pod's namespace, and the plugin keeps no state. Nothing to look at
		// for STATUS either: an ADD needs only a configuration that can be read, which was checked above.
	default:
		err = fail(codeEnvironment, "CNI_COMMAND %q: use ADD, DEL, CHECK, GC, STATUS or VERSION", inv.Command)
	}
	return conf.CNIVersion, err
}

func printVersions(inv Invocation) error {
	// The runtime may say in which version it wants the answer; older ones send nothing.
	var wanted struct {
		CNIVersion string `json:"cniVersion"`
	}
	if b, err := io.ReadAll(io.LimitReader(inv.Stdin, maxConfig)); err != nil || json.Unmarshal(b, &wanted) != nil || wanted.CNIVersion == "" {
		wanted.CNIVersion = versions[len(versions)-1]
	}
	return json.NewEncoder(inv.Stdout).Encode(struct {
		CNIVersion        string   `json:"cniVersion"`
		SupportedVersions []string `json:"supportedVersions"`
	}{wanted.CNIVersion, versions[:]})
}

func parseConfig(r io.Reader) (*netConf, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return nil, fail(codeIO, "network configuration on standard input: %w", err)
	}
	if len(b) > maxConfig {
		return nil, fail(codeDecode, "network configuration on standard input: more than %d bytes", maxConfig)
	}
	conf := &netConf{}
	if err := json.Unmarshal(b, conf); err != nil {
		return nil, fail(codeDecode, "network configuration on standard input: %w", err)
	}
	if bytes.Equal(conf.PrevResult, []byte("null")) {
		conf.PrevResult = nil
	}
	return conf, nil
}

// accepts checks that a command exists in a version.
func accepts(version, command string) error {
	at := slices.Index(versions[:], version)
	if at < 0 {
		return fail(codeVersion, "cniVersion %q: use %s", version, strings.Join(versions[:], ", "))
	}
	since := map[string]string{"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}[command]
	if since != "" && at < slices.Index(versions[:], since) {
		return fail(codeVersion, "CNI_COMMAND %s came with version %s, and the configuration is of version %s", command, since, version)
	}
	return nil
}

// complete checks that the parameters which the command needs are there.
func (in *Invocation) complete() error {
	needs := map[string]string{}
	switch in.Command {
	case "ADD", "CHECK":
		needs["CNI_NETNS"] = in.NetNS
		fallthrough
	case "DEL":
		needs["CNI_CONTAINERID"], needs["CNI_IFNAME"] = in.ContainerID, in.IfName
	}
	var missing []string
	for name, value := range needs {
		if value == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fail(codeEnvironment, "%s not set", strings.Join(missing, ", "))
	}
	return nil
}

// maxLog is the size in bytes at which a log file is begun anew; the previous one is kept beside it.
const maxLog = 10 << 20

// logger writes to standard error, which runtimes put into their own log, and to the configured file.
func (c *netConf) logger(stderr io.Writer) (*slog.Logger, func()) {
	out, closeFile := stderr, func() {}
	if c.LogFile != "" {
		if info, err := os.Stat(c.LogFile); err == nil && info.Size() > maxLog {
			_ = os.Rename(c.LogFile, c.LogFile+".1") // at worst the file grows on
		}
		// A log that cannot be written must not keep pods from starting.
		if f, err := os.OpenFile(c.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			out, closeFile = io.MultiWriter(stderr, f), func() { f.Close() }
		}
	}
	return slog.New(slog.NewTextHandler(out, nil)).With(slog.String("logger", Name)), closeFile
}
