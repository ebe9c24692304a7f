package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/admin"
)

// newHealthChecksCommand is "fairlead health-checks": which endpoints fail their checks, and who checks those without a sidecar.
func newHealthChecksCommand(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "health-checks",
		Short: "Print which endpoints fail the checks of HealthCheckPolicies, and who checks those that have no sidecar",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.mesh(cmd)
			if err != nil {
				return err
			}
			rows, err := a.healthChecks(cmd.Context(), m)
			if err != nil {
				return err
			}
			if output != table {
				return printValue(a.Out, output, rows)
			}
			return printHealthChecks(a.Out, rows, time.Now())
		},
	}
	addOutputFlag(cmd.Flags(), &output, table, "json", "yaml")
	a.addLabFlag(cmd)
	return cmd
}

// healthChecks puts together what every replica of the control plane says, of the policies of one namespace where the user
// named one.
func (a *app) healthChecks(ctx context.Context, m *mesh) ([]admin.Probed, error) {
	places, err := m.controllers(ctx)
	if err != nil {
		return nil, err
	}
	lists, err := readAll(ctx, places, admin.Client.Probes)
	if page, ok := errors.AsType[*admin.PageError](err); ok && page.Code == 404 {
		return nil, fmt.Errorf("the control plane is older than this command: %w", err)
	}
	if err != nil && len(lists) == 0 {
		return nil, err
	}
	if err != nil {
		fmt.Fprintf(a.Err, "fairlead: endpoints may be missing: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return keep(admin.MergeProbes(lists...), func(p *admin.Probed) bool {
		return a.namespace == "" || strings.HasPrefix(p.Policy, a.namespace+"/")
	}), nil
}

func printHealthChecks(out io.Writer, rows []admin.Probed, now time.Time) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(out, "no pod fails its health check, and no endpoint without a sidecar is checked")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 5, ' ', 0)
	fmt.Fprintln(w, "ENDPOINT\tSTATUS\tPOLICY\tCHECKED BY\tREASON")
	for i := range rows {
		r := &rows[i]
		status, reason := "OK", "-"
		if r.Failing {
			status, reason = "FAILED", r.Reason
		}
		if r.Failing && r.Since != nil {
			reason += fmt.Sprintf(", for %s", max(now.Sub(*r.Since), 0).Round(time.Second))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Address, status, r.Policy, describeProbers(r.Probers), reason)
	}
	return w.Flush()
}

func describeProbers(list []admin.Prober) string {
	if len(list) == 0 {
		return "nobody"
	}
	out := make([]string, 0, len(list))
	for _, p := range list {
		out = append(out, fmt.Sprintf("%s (%s)", p.ID, p.Says))
	}
	return strings.Join(out, ", ")
}
