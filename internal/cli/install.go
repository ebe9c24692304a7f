package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cluster"
	"fairlead.dev/fairlead/internal/install"
)

// installation is what `fairlead install`, `upgrade` and `uninstall` have in common: what to render, and where to put it.
type installation struct {
	app *app
	// files, sets and setStrings are values, lowest first; ha puts the preset below them.
	files, sets, setStrings []string
	ha                      bool
	kubeVersion             string

	apply, dryRun, wait bool
	timeout             time.Duration
}

func (v *installation) addValueFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVarP(&v.files, "values", "f", nil, "file of values, in the form of the chart's values.yaml, - for standard input; may be given several times, later ones override earlier ones")
	flags.StringArrayVar(&v.sets, "set", nil, "single value over them, `KEY=VALUE`, such as controller.replicas=3; may be given several times")
	flags.StringArrayVar(&v.setStrings, "set-string", nil, "as --set, `KEY=VALUE`, with every value a string")
	flags.BoolVar(&v.ha, "ha", false, "values for a control plane of several replicas, below those of -f and --set")
}

func (v *installation) addDryRunFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&v.dryRun, "dry-run", false, "have the API server check everything, and change nothing")
}

func (v *installation) addWaitFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&v.wait, "wait", true, "wait until the control plane works")
	flags.DurationVar(&v.timeout, "timeout", 5*time.Minute, "how long to wait")
}

// newInstallCommand is `fairlead install`.
func newInstallCommand(a *app) *cobra.Command {
	v := installation{app: a}
	cmd := &cobra.Command{
		Use:   "install [--apply]",
		Short: "Print the manifests of the mesh, or put them into a cluster",
		Long: "Without --apply, prints what the Helm chart would install, for kubectl apply -f -, and asks no cluster.\n" +
			"With --apply, applies it (server-side) and waits until the control plane works. What is already there is brought to\n" +
			"exactly these values; fairlead upgrade starts from the values that are in force.",
		Example: "  fairlead install --set image.hub=registry.example.com/mesh | kubectl apply -f -\n" +
			"  fairlead install --ha --set image.hub=registry.example.com/mesh,mesh.accessLog=json --apply",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !v.apply {
				return v.print()
			}
			return v.applyInstall(cmd.Context())
		},
	}
	v.addValueFlags(cmd)
	v.addDryRunFlag(cmd)
	v.addWaitFlags(cmd)
	cmd.Flags().BoolVar(&v.apply, "apply", false, "put the mesh into the cluster instead of printing it")
	cmd.Flags().StringVar(&v.kubeVersion, "kube-version", install.DefaultKubeVersion, "version of Kubernetes to print for; with --apply the cluster is asked")
	return cmd
}

// newUpgradeCommand is `fairlead upgrade`.
func newUpgradeCommand(a *app) *cobra.Command {
	v := installation{app: a}
	reset := false
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Bring the mesh in a cluster to the version of this program",
		Long: "Renders the mesh with the values that it was installed with and the given ones over them, applies it, waits until the\n" +
			"control plane works, and deletes what earlier versions had made and this one does without. An older program goes\n" +
			"back to its version. Sidecars keep theirs until their pods are restarted.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.upgrade(cmd.Context(), reset) },
	}
	v.addValueFlags(cmd)
	v.addDryRunFlag(cmd)
	v.addWaitFlags(cmd)
	cmd.Flags().BoolVar(&reset, "reset-values", false, "forget the values that the mesh was installed with")
	return cmd
}

// newUninstallCommand is `fairlead uninstall`.
func newUninstallCommand(a *app) *cobra.Command {
	v := installation{app: a}
	purgeCRDs, purgeCA := false, false
	cmd := &cobra.Command{
		Use:   "uninstall [--apply]",
		Short: "Print what to delete to be rid of the mesh, or delete it",
		Long: "Without --apply, prints what an installation with the given values consists of, for kubectl delete -f -.\n" +
			"With --apply, deletes what was installed, whatever the values were. The definitions of kinds and the certificate\n" +
			"authority stay unless they are purged.",
		Example: "  fairlead uninstall --apply",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keep := install.Keep{CRDs: !purgeCRDs, CA: !purgeCA}
			if !v.apply {
				return v.printRemoval(keep)
			}
			return v.remove(cmd.Context(), keep)
		},
	}
	v.addValueFlags(cmd)
	v.addDryRunFlag(cmd)
	cmd.Flags().BoolVar(&v.apply, "apply", false, "delete from the cluster instead of printing")
	cmd.Flags().BoolVar(&purgeCRDs, "purge-crds", false, "delete the definitions of kinds too, and with them every VirtualService, DestinationRule and so on")
	cmd.Flags().BoolVar(&purgeCA, "purge-ca", false, "delete the certificate authority too, and the namespace with everything in it")
	return cmd
}

// values reads what the user gave, lowest first.
func (v *installation) values() ([]install.Values, error) {
	var all []install.Values
	if v.ha {
		preset, err := install.HighlyAvailable()
		if err != nil {
			return nil, err
		}
		all = append(all, preset)
	}
	for _, from := range []struct {
		args []string
		read func(string) (install.Values, error)
	}{{v.files, v.readValues}, {v.sets, install.ParseSet}, {v.setStrings, install.ParseSetString}} {
		for _, arg := range from.args {
			one, err := from.read(arg)
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
	}
	return all, nil
}

// readValues reads the argument of -f.
func (v *installation) readValues(path string) (install.Values, error) {
	if path != stdin {
		return install.ReadValues(path)
	}
	text, err := io.ReadAll(v.app.In)
	if err != nil {
		return install.Values{}, fmt.Errorf("standard input: %w", err)
	}
	return install.ParseValues("stdin", text)
}

// render renders the mesh for a version of Kubernetes, with the user's values over base.
func (v *installation) render(kubeVersion string, base ...install.Values) (*install.Release, error) {
	given, err := v.values()
	if err != nil {
		return nil, err
	}
	version := v.app.Version
	if version == "dev" { // built without a version: that of the chart
		version = ""
	}
	return install.Render(install.Options{
		Namespace: v.namespace(), Version: version, KubeVersion: kubeVersion, Values: append(base, given...),
	})
}

// namespace is that of the control plane: for these commands -n means the same as --system-namespace.
func (v *installation) namespace() string {
	return cmp.Or(v.app.namespace, v.app.system, install.DefaultNamespace)
}

func (v *installation) print() error {
	if v.dryRun {
		return errors.New("--dry-run asks a cluster: give --apply too, or neither to print the manifests")
	}
	r, err := v.render(v.kubeVersion)
	if err != nil {
		return err
	}
	return r.WriteYAML(v.app.Out)
}

func (v *installation) printRemoval(keep install.Keep) error {
	if v.dryRun {
		return errors.New("--dry-run asks a cluster: give --apply too, or neither to print what to delete")
	}
	// Names only: where the images were is of no interest.
	r, err := v.render(v.kubeVersion, install.Values{Origin: "uninstall", Settings: map[string]any{"image": map[string]any{"hub": "any"}}})
	if err != nil {
		return err
	}
	return r.WriteRemoval(v.app.Out, keep)
}

// installer reaches the cluster.
func (v *installation) installer(progress io.Writer) (*install.Installer, error) {
	client, err := cluster.Load(cluster.Options{
		Kubeconfig: v.app.kubeconfig, Context: v.app.context, Environ: v.app.Environ, UserAgent: "fairlead/" + v.app.Version,
	})
	if err != nil {
		return nil, err
	}
	o := install.InstallerOptions{Cluster: client, Namespace: v.namespace(), Mode: install.Live, Progress: progress}
	if v.dryRun {
		o.Mode = install.DryRun
	}
	if v.wait {
		o.Timeout = v.timeout
	}
	return install.NewInstaller(o)
}

func (v *installation) applyInstall(ctx context.Context) error {
	in, err := v.installer(v.app.Out)
	if err != nil {
		return err
	}
	earlier, err := in.Installed(ctx)
	if err != nil && !errors.Is(err, install.ErrNotInstalled) {
		return err
	}
	return v.put(ctx, in, earlier)
}

func (v *installation) upgrade(ctx context.Context, reset bool) error { //nolint:revive // the flag of the command line
	in, err := v.installer(v.app.Out)
	if err != nil {
		return err
	}
	earlier, err := in.Installed(ctx)
	if errors.Is(err, install.ErrNotInstalled) {
		return fmt.Errorf("nothing to upgrade: %w; fairlead install --set image.hub=REGISTRY/PATH --apply installs", err)
	}
	if err != nil {
		return err
	}
	if reset {
		return v.put(ctx, in, earlier)
	}
	return v.put(ctx, in, earlier, earlier.Values)
}

// put renders for the cluster and applies.
func (v *installation) put(ctx context.Context, in *install.Installer, earlier *install.Record, base ...install.Values) error {
	kubeVersion, err := in.KubeVersion(ctx)
	if err != nil {
		return err
	}
	r, err := v.render(kubeVersion, base...)
	if err != nil {
		return err
	}
	return in.Apply(ctx, r, earlier)
}

func (v *installation) remove(ctx context.Context, keep install.Keep) error {
	in, err := v.installer(v.app.Out)
	if err != nil {
		return err
	}
	installed, err := in.Installed(ctx)
	if err != nil {
		return err
	}
	return in.Remove(ctx, installed, keep)
}
