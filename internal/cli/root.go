package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/check"
	"fairlead.dev/fairlead/internal/lab"
	"fairlead.dev/fairlead/internal/validate"
)

// Streams are what a command reads and writes, and the environment it may look at.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Environ is the environment in the form of os.Environ.
	Environ []string
	// Version is what "fairlead version" prints.
	Version string
	// Brief is how long a user waits for a cluster who asks for a version, or for the words that the shell completes; 2 s unless set.
	Brief time.Duration
}

// Execute runs the command line args (without the program's name) and returns the exit code: 0, 1 for an error that
// has been printed, what a command that passes on an exit code says, or 128 and the signal's number where ctx ended with
// an [InterruptError] as its cause and the command did not get to its end.
func Execute(ctx context.Context, args []string, streams Streams) int {
	a := &app{Streams: streams}
	a.Brief = cmp.Or(a.Brief, 2*time.Second)
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	code := 1
	if signal, ok := interrupted(ctx, err); ok {
		code = signal.code()
		if errors.Is(err, context.Canceled) {
			err = signal
		}
	}
	fmt.Fprintln(streams.Err, "fairlead: "+err.Error())
	return code
}

// exitCode is an error that has already been told to the user, or needs no words: only the code is passed on.
type exitCode int //nolint:errname // it is a code that travels as an error

// Error implements error.
func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// app is what all commands share: the streams and the persistent flags.
type app struct {
	Streams
	// namespace is -n; empty where the user gave none. See app.inNamespace.
	namespace string
	// labName and labState choose the lab: --name and --state-dir.
	labName, labState string
	// inLab is --lab: see app.mesh.
	inLab bool
	// kubeconfig and context choose the cluster, as kubectl's flags of these names do.
	kubeconfig, context string
	// system is the namespace of the control plane.
	system  string
	verbose bool
}

// inNamespace is the namespace that a command about one object uses.
func (a *app) inNamespace() string {
	if a.namespace == "" {
		return "default"
	}
	return a.namespace
}

// newRootCommand puts the command tree together. Persistent flags work before and after the verb.
func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "fairlead",
		Short:         "A service mesh: routes, secures and explains the calls between your pods",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&a.namespace, "namespace", "n", "", "namespace of the object (default \"default\")")
	flags.StringVar(&a.labName, "name", lab.DefaultName, "which lab: several run side by side under different names")
	flags.StringVar(&a.labState, "state-dir", "", "where labs keep their state (default /tmp/fairlead-<uid>)")
	flags.StringVar(&a.kubeconfig, "kubeconfig", "", "kubeconfig file of the cluster (default $KUBECONFIG or ~/.kube/config)")
	flags.StringVar(&a.context, "context", "", "context of the kubeconfig: which cluster (default its current one)")
	flags.StringVar(&a.system, "system-namespace", check.SystemNamespace, "namespace of the control plane in the cluster")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "say more about what happens")
	root.AddCommand(newLabCommand(a, validate.Objects), newDemoAppCommand(a), newProxyConfigCommand(a), newProxyStatusCommand(a), newRolloutCommand(a), newHealthChecksCommand(a), newErrorsCommand(a), newWhyCommand(a), newTapCommand(a), newTopCommand(a), newEdgesCommand(a), newStatCommand(a), newStatInboundCommand(a), newStatOutboundCommand(a), newRoutesCommand(a), newVizCommand(a), newExperimentalCommand(a), newInjectCommand(a), newUninjectCommand(a), newValidateCommand(a, validate.Objects))
	root.AddCommand(newCheckCommand(a), newVersionCommand(a), newDiagnosticsCommand(a), newRemoteClustersCommand(a), newCreateRemoteSecretCommand(a), newMulticlusterCommand(a), newDashboardCommand(a, newOtherDashboards(a)...))
	root.AddCommand(newInstallCommand(a), newUpgradeCommand(a), newUninstallCommand(a))
	_ = root.RegisterFlagCompletionFunc("name", a.labs) // it fails only for a flag that is not there
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelpCommand())
	root.InitDefaultCompletionCmd()
	oneLineUsage(root)
	return root
}
