package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/lab"
)

// newLabCommand is everything below "fairlead lab".
func newLabCommand(a *app, judge judge) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Run pods, sidecars and the control plane on this machine, without Kubernetes and without root",
	}
	cmd.AddCommand(
		newLabUpCommand(a), newLabDownCommand(a), newLabApplyCommand(a, judge), newLabDeleteCommand(a), newLabStatusCommand(a),
		newLabExecCommand(a), newLabLogsCommand(a), newLabKillCommand(a), newLabCaptureCommand(a), newLabControllerCommand(a), newLabLinkCommand(a), newLabUnlinkCommand(a),
		newLabInitCommand(), newLabSupervisorCommand(a),
	)
	return cmd
}

// newLabInitCommand and newLabSupervisorCommand are the processes that "lab up" starts.
func newLabInitCommand() *cobra.Command {
	return &cobra.Command{
		Use: "init DIR", Hidden: true, Args: cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error { return lab.RunInit(args) },
	}
}

func newLabSupervisorCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "supervisor DIR", Hidden: true, Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return lab.RunSupervisor(cmd.Context(), args, slog.New(slog.NewTextHandler(a.Err, nil)))
		},
	}
}

// lab gives a client for the lab that the flags name.
func (a *app) lab() (*lab.Client, error) { return lab.Open(a.labState, a.labName) }

// pod names a pod by the command's argument and -n.
func (a *app) pod(name string) lab.PodRef { return lab.PodRef{Namespace: a.inNamespace(), Name: name} }

func newLabUpCommand(a *app) *cobra.Command {
	var o lab.UpOptions
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "up -f DIR|FILE|-…",
		Short: "Start a lab and wait until its pods are ready; it goes on in the background",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Name, o.StateDir, o.Environ, o.Stdin = a.labName, a.labState, a.Environ, a.In
			if i := slices.IndexFunc(a.Environ, func(v string) bool { return strings.HasPrefix(v, "ENVOY=") }); i >= 0 && o.Envoy == "" && !o.Plain {
				o.Envoy = strings.TrimPrefix(a.Environ[i], "ENVOY=")
			}
			if a.verbose && o.LogLevel == "" {
				o.LogLevel = "debug"
			}
			return a.labUp(cmd.Context(), o, wait)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVarP(&o.Paths, "filename", "f", nil, "manifests: files and directories, whose edits take effect while the lab runs, or - for standard input")
	flags.DurationVar(&wait, "wait", time.Minute, "how long to wait for the pods; 0 does not wait")
	flags.Var(&oneOf{value: (*string)(&o.IPFamily), words: lab.IPFamilies()}, "ip-family",
		"addresses of pods and Services: "+strings.Join(lab.IPFamilies(), ", ")+" (default dual where the kernel has IPv6)")
	flags.StringVar(&o.PodNetwork, "pod-network", "", "addresses of pods, 10.N.0.0/`16` (default the first one from 10.244.0.0/16 on that no other lab has)")
	flags.BoolVar(&o.Plain, "plain", false, "pods only: no control plane and no sidecars")
	flags.StringVar(&o.Proxy, "proxy", "", "the fairlead-proxy binary (default beside fairlead)")
	flags.StringVar(&o.Controller, "controller", "", "the fairlead-controller binary (default beside fairlead)")
	flags.StringVar(&o.Envoy, "envoy", "", "an Envoy `binary` for pods with the annotation fairlead.dev/proxy: envoy (default $ENVOY)")
	flags.StringVar(&o.Consul, "consul", "", "`address`, as seen in the lab, of a Consul whose services can be called: that of a Service or pod, such as 10.96.0.85:8500, or unix:///PATH")
	flags.StringArrayVar(&o.Mesh, "set", nil, "option of the mesh by its name in the chart, `mesh.NAME=VALUE`, such as mesh.accessLog=json or tracing.otlp.endpoint=collector.observability:4317; may be given several times")
	flags.StringVar(&o.LogLevel, "log-level", "", "log level of sidecars and control plane")
	_ = cmd.MarkFlagRequired("filename")
	return cmd
}

// labUp starts a lab and says how its pods get on.
func (a *app) labUp(ctx context.Context, o lab.UpOptions, wait time.Duration) error {
	begun := time.Now()
	c, err := lab.Up(ctx, o)
	if err != nil {
		return err
	}
	if wait <= 0 {
		fmt.Fprintf(a.Out, "lab %q started\n", o.Name)
		return nil
	}
	deadline, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("waited %s", wait))
	defer cancel()
	progress := newProgress(a.Err)
	st, err := c.WaitFor(deadline, func(st *lab.Status) bool {
		progress.waitsFor(st.Waiting)
		return st.Settled || len(st.Failed) > 0
	})
	if st != nil {
		for _, p := range st.Problems {
			fmt.Fprintln(a.Err, p)
		}
	}
	if err != nil {
		if st == nil {
			return err
		}
		for _, w := range st.Waiting {
			fmt.Fprintln(a.Err, w)
		}
		return fmt.Errorf("lab %q runs, but is not ready (%w); see: %s", o.Name, err, lab.Command(o.Name, "status"))
	}
	if len(st.Failed) > 0 {
		for _, line := range st.Failed {
			fmt.Fprintln(a.Err, line)
		}
		return fmt.Errorf("lab %q runs, but not every pod can", o.Name)
	}
	fmt.Fprintf(a.Out, "lab %q is ready: %d pods in %.1f s\n", o.Name, len(st.Pods), time.Since(begun).Seconds())
	return nil
}

func newLabDownCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the lab; nothing of it stays",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.lab()
			if errors.Is(err, lab.ErrNotRunning) {
				fmt.Fprintf(a.Out, "lab %q is not running\n", a.labName)
				return lab.Clean(a.labState, a.labName)
			}
			if err != nil {
				return err
			}
			if err := c.Down(cmd.Context()); err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "lab %q ended\n", a.labName)
			return nil
		},
	}
}

func newLabControllerCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:       "controller stop|start|kill",
		Short:     "Take the control plane away, or bring it back; sidecars go on without it",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"stop", "start", "kill"},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.lab()
			if err != nil {
				return err
			}
			return c.Controller(cmd.Context(), args[0])
		},
	}
}

func newLabKillCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kill POD",
		Short: "SIGKILL everything in a pod; its workload replaces it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.lab()
			if err != nil {
				return err
			}
			name, err := c.Kill(cmd.Context(), a.pod(args[0]))
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Out, "pod %s/%s killed\n", a.inNamespace(), name)
			return nil
		},
	}
	completeArgument(a, cmd, a.labPods)
	return cmd
}
