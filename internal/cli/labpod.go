package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/internal/lab/demoapp"
)

func newLabExecCommand(a *app) *cobra.Command {
	var container string
	cmd := &cobra.Command{
		Use:   "exec POD|deploy/NAME|statefulset/NAME|daemonset/NAME|job/NAME [-c CONTAINER] -- CMD…",
		Short: "Run a command inside a pod's namespaces; its exit code is passed on",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.lab()
			if err != nil {
				return err
			}
			streams, finish, err := a.files()
			if err != nil {
				return err
			}
			code, err := c.Exec(cmd.Context(), lab.ExecOptions{
				Pod: a.pod(args[0]), Container: container, Command: args[1:], Stdin: streams[0], Stdout: streams[1], Stderr: streams[2],
			})
			finish()
			if err == nil && code != 0 {
				return exitCode(code)
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&container, "container", "c", "", "whose environment the command gets; \"proxy\" is the sidecar (default the first app)")
	completeArgument(a, cmd, a.labPods)
	return cmd
}

// files gives the standard streams as files, through pipes where they are none; finish waits until everything that was
// written has arrived.
func (a *app) files() (streams [3]*os.File, finish func(), err error) {
	var copying []chan struct{}
	var ends []*os.File
	finish = func() {
		for _, f := range ends {
			f.Close()
		}
		for _, done := range copying {
			<-done
		}
	}
	if f, ok := a.In.(*os.File); ok {
		streams[0] = f
	} else if a.In != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return streams, finish, err
		}
		streams[0], ends = r, append(ends, r)
		go func() { // ends when the input does, or when the command closes its side
			defer w.Close()
			_, _ = io.Copy(w, a.In)
		}()
	}
	for i, out := range []io.Writer{a.Out, a.Err} {
		if f, ok := out.(*os.File); ok {
			streams[i+1] = f
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			finish()
			return streams, func() {}, err
		}
		done := make(chan struct{})
		streams[i+1], ends, copying = w, append(ends, w), append(copying, done)
		go func() {
			defer close(done)
			defer r.Close()
			_, _ = io.Copy(out, r)
		}()
	}
	return streams, finish, nil
}

func newLabLogsCommand(a *app) *cobra.Command {
	var container string
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs POD [-c proxy|CONTAINER] [-f]",
		Short: "Print what a pod's container wrote; \"controller\" as POD is the control plane",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.lab()
			if err != nil {
				return err
			}
			path, err := a.logPath(cmd.Context(), c, args[0], container)
			if err != nil {
				return err
			}
			f, err := os.Open(path)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("no log of container %q in pod %s/%s yet", container, a.inNamespace(), args[0])
			}
			if err != nil {
				return err
			}
			defer f.Close()
			return copyLog(cmd.Context(), a.Out, f, follow)
		},
	}
	cmd.Flags().StringVarP(&container, "container", "c", "", "the container; \"proxy\" is the sidecar (default the first app)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on printing")
	completeArgument(a, cmd, a.labPods)
	return cmd
}

// logPath finds the log of a container, by default of the pod's first app.
func (a *app) logPath(ctx context.Context, c *lab.Client, name, container string) (string, error) {
	if name == "controller" {
		return c.ControllerLog(), nil
	}
	ref := a.pod(name)
	st, err := c.Status(ctx)
	if err != nil {
		return "", err
	}
	p := st.Find(ref)
	if p == nil { // it may have ended: its log is still there
		if container == "" {
			return "", fmt.Errorf("no pod %q in namespace %q; see: %s", name, ref.Namespace, lab.Command(a.labName, "status"))
		}
		return c.LogPath(ref, container), nil
	}
	if container == "" {
		container = p.DefaultContainer
	}
	ref.Name = p.Name
	return c.LogPath(ref, container), nil
}

// copyLog prints a log, and what is added to it until ctx ends where follow is set.
func copyLog(ctx context.Context, out io.Writer, f *os.File, follow bool) error { //nolint:revive // -f is what the user said
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := io.Copy(out, f); err != nil {
			return err
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

func newLabStatusCommand(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List pods and say what is not ready and why",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.lab()
			if err != nil {
				return err
			}
			st, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if a.namespace != "" {
				st.KeepNamespace(a.namespace)
			}
			if output != table {
				return printValue(a.Out, output, st)
			}
			return printStatus(a.Out, st)
		},
	}
	addOutputFlag(cmd.Flags(), &output, table, "json", "yaml")
	return cmd
}

// printStatus prints the table that kubectl users know.
func printStatus(out io.Writer, st *lab.Status) error {
	tw := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(tw, "NAMESPACE\tNAME\tREADY\tSTATUS\tRESTARTS\tIP\tNODE\tAGE")
	for i := range st.Pods {
		p := &st.Pods[i]
		ready := 0
		for _, c := range p.Containers {
			if c.Ready {
				ready++
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%d/%d\t%s\t%d\t%s\t%s\t%s\n", p.Namespace, p.Name, ready, len(p.Containers), p.Status, p.Restarts,
			p.IPs[0], p.Node, time.Since(p.Created).Round(time.Second))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if err := printJobs(out, st.Jobs); err != nil {
		return err
	}
	if st.Controller == nil {
		fmt.Fprintln(out, "\ncontrol plane: none (--plain)")
	} else {
		fmt.Fprintf(out, "\ncontrol plane: %s\n", strings.TrimSpace(st.Controller.State+" "+st.Controller.Message))
	}
	for _, line := range append(st.Waiting, st.Problems...) {
		fmt.Fprintln(out, line)
	}
	return nil
}

func printJobs(out io.Writer, jobs []lab.JobStatus) error {
	if len(jobs) == 0 {
		return nil
	}
	tw := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(tw, "\nNAMESPACE\tJOB\tSTATUS\tCOMPLETIONS\tFAILED\tDURATION")
	for i := range jobs {
		j := &jobs[i]
		status := j.Status
		if j.Reason != "" {
			status += " (" + j.Reason + ")"
		}
		wanted := "1 or more"
		if j.Completions > 0 {
			wanted = strconv.Itoa(j.Completions)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d/%s\t%d\t%s\n", j.Namespace, j.Name, status, j.Succeeded, wanted, j.Failed, j.Duration(time.Now()).Round(time.Second))
	}
	return tw.Flush()
}

func newLabCaptureCommand(a *app) *cobra.Command {
	o := lab.CaptureOptions{}
	var output string
	cmd := &cobra.Command{
		Use:   "capture POD [--for 2s] [--grep TEXT]",
		Short: "Watch the wire of a pod and say what the bytes of each connection look like",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.lab()
			if err != nil {
				return err
			}
			o.Pod = a.pod(args[0])
			o.Started = func() { fmt.Fprintf(a.Err, "watching %s for %s\n", args[0], o.For) }
			flows, err := c.Capture(cmd.Context(), o)
			if err != nil {
				return err
			}
			if output == table {
				err = printFlows(a.Out, flows)
			} else {
				err = printValue(a.Out, output, flows)
			}
			if err == nil {
				err = context.Cause(cmd.Context()) // cut short, but what was seen is printed
			}
			return err
		},
	}
	cmd.Flags().DurationVar(&o.For, "for", 2*time.Second, "how long to watch")
	cmd.Flags().StringVar(&o.Grep, "grep", "", "count the packets whose payload contains this text")
	completeArgument(a, cmd, a.labPods)
	addOutputFlag(cmd.Flags(), &output, table, "json", "yaml")
	return cmd
}

func printFlows(out io.Writer, flows []lab.Flow) error {
	tw := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(tw, "DIRECTION\tPOD\tPEER\tPACKETS OUT/IN\tBYTES OUT/IN\tFIRST OUT\tFIRST IN\tMATCHES")
	for i := range flows {
		f := &flows[i]
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d/%d\t%d/%d\t%s\t%s\t%d\n", f.Direction, f.Pod, f.Peer, f.PacketsOut, f.PacketsIn,
			f.BytesOut, f.BytesIn, f.FirstOut, f.FirstIn, f.Matches)
	}
	return tw.Flush()
}

// newDemoAppCommand is the app of the examples, as image fairlead.dev/demo-app runs it. Its flags are its own.
func newDemoAppCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "demo-app", Hidden: true, DisableFlagParsing: true,
		Short: "The app of the examples: echoes who it is and what it received",
		RunE: func(cmd *cobra.Command, args []string) error {
			return demoapp.Main(cmd.Context(), args, demoapp.Process{Out: a.Out, Err: a.Err, Environ: a.Environ})
		},
	}
}
