package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/admin"
)

// newRemoteClustersCommand is "fairlead remote-clusters", istioctl's.
func newRemoteClustersCommand(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "remote-clusters", Short: "Print how each replica of the control plane stands with the other clusters of the mesh",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.mesh(cmd)
			if err != nil {
				return err
			}
			places, err := m.controllers(cmd.Context())
			if err != nil {
				return err
			}
			rows, err := readClusters(cmd.Context(), places)
			if rows == nil && err != nil {
				return err
			}
			if err != nil {
				fmt.Fprintf(a.Err, "fairlead: replicas are missing: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
			}
			if output != table {
				return printValue(a.Out, output, rows)
			}
			return printClusters(a.Out, rows)
		},
	}
	addOutputFlag(cmd.Flags(), &output, table, "json", "yaml")
	a.addLabFlag(cmd)
	return cmd
}

// readClusters asks every replica.
func readClusters(ctx context.Context, places []place) ([]admin.RemoteCluster, error) {
	lists, err := readAll(ctx, places, func(c admin.Client, ctx context.Context) ([]admin.RemoteCluster, error) { return c.Clusters(ctx) })
	if len(lists) == 0 && err != nil {
		return nil, err
	}
	rows := []admin.RemoteCluster{}
	for i, list := range lists {
		for _, c := range list {
			if err == nil { // else it is not known which replicas have answered
				_, c.Istiod, _ = strings.Cut(places[i].name, "pod ") // without the words of an error
			}
			rows = append(rows, c)
		}
	}
	slices.SortStableFunc(rows, func(a, b admin.RemoteCluster) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.SecretName, b.SecretName), cmp.Compare(a.Istiod, b.Istiod))
	})
	return rows, err
}

// printClusters prints istioctl's columns, and how old what is known may be.
func printClusters(out io.Writer, rows []admin.RemoteCluster) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(out, "no other clusters")
		return err
	}
	tw := tabwriter.NewWriter(out, 0, 8, 5, ' ', 0)
	fmt.Fprintln(tw, "NAME\tSECRET\tSTATUS\tAGE\tISTIOD\tCAUSE")
	for i := range rows {
		r := &rows[i]
		age := "-"
		if r.AgeSeconds > 0 {
			age = time.Duration(r.AgeSeconds * float64(time.Second)).Round(time.Second).String()
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.SecretName, r.SyncStatus, age, cmp.Or(r.Istiod, "-"), cmp.Or(r.Cause, "-"))
	}
	return tw.Flush()
}
