package cli

import (
	"fmt"

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
			if output != "table" && output != "json" {
				return fmt.Errorf("-o %s: use table or json", output)
			}
			c, err := a.cluster()
			if err != nil {
				return err
			}
			scope.Namespace = a.namespace
			report := check.Evaluate(check.Gather(cmd.Context(), check.Options{Cluster: c, CLI: a.Version, System: a.system, Scope: scope}))
			if output == "json" {
				err = report.PrintJSON(a.Out)
			} else {
				err = report.Print(a.Out)
			}
			if err == nil && !report.OK() {
				err = exitCode(1)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&scope.Pre, "pre", false, "before an installation: may it be made, is anything in the way")
	cmd.Flags().BoolVar(&scope.Proxy, "proxy", false, "also the sidecars, of one namespace with -n")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.MarkFlagsMutuallyExclusive("pre", "proxy")
	return cmd
}
