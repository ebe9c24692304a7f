package cli

import (
	"bytes"
	"errors"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/check"
)

// newCheckCommand is "fairlead check": is the cluster fit for the mesh, is the mesh well.
func newCheckCommand(a *app) *cobra.Command {
	var scope check.Scope
	var output string
	cmd := &cobra.Command{
		Use:   "check [--pre | --proxy]",
		Short: "Check the cluster, the control plane and the sidecars, and say what to do about what is wrong",
		Long: "Asks the cluster in the kubeconfig everything at once and prints a line for each check: √ passed, ‼ warning, × failed.\n" +
			"Exits with 1 where a check failed; warnings do not count. Changes nothing.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if scope.Pre && scope.Proxy {
				return errors.New("choose one: --pre, before an installation, or --proxy, after it")
			}
			c, err := a.cluster()
			if err != nil {
				return err
			}
			scope.Namespace = a.namespace
			report := check.Evaluate(check.Gather(cmd.Context(), check.Options{Cluster: c, CLI: a.Version, System: a.system, Scope: scope}))
			if output == table {
				err = report.Print(a.Out)
			} else {
				var data bytes.Buffer
				err = errors.Join(report.PrintJSON(&data), printEncoded(a.Out, output, data.Bytes()))
			}
			if err == nil && !report.OK() {
				err = exitCode(1)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&scope.Pre, "pre", false, "before an installation: may it be made, is anything in the way")
	cmd.Flags().BoolVar(&scope.Proxy, "proxy", false, "also the sidecars, of one namespace with -n")
	addOutputFlag(cmd.Flags(), &output, table, "json", "yaml")
	return cmd
}
