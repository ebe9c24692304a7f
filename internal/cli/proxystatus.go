package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/controlplane"
)

// monitorPort is where the control plane tells about itself.
const monitorPort = 15014

// newProxyStatusCommand is "fairlead proxy-status": how every sidecar stands with the control plane.
func newProxyStatusCommand(a *app) *cobra.Command {
	var output string
	var detail int
	cmd := &cobra.Command{
		Use: "proxy-status [POD[.NAMESPACE]]", Aliases: []string{"ps"},
		Short: "Print which sidecars are connected, what they subscribe to, and whether they have it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, err := a.syncStatus(cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				rows = keep(rows, func(r *controlplane.ProxyView) bool {
					return r.ID == args[0] || r.ID == args[0]+"."+a.inNamespace()
				})
				if len(rows) == 0 {
					return fmt.Errorf("no sidecar %s is connected to the control plane", args[0])
				}
			}
			if output == "json" || output == "yaml" {
				return printValue(a.Out, output, rows)
			}
			return printSyncStatus(a.Out, rows, detail)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	cmd.Flags().IntVar(&detail, "verbosity", 0, "1 prints a column per kind of resource")
	return cmd
}

func (a *app) syncStatus(ctx context.Context) ([]controlplane.ProxyView, error) {
	c, err := a.lab()
	if err != nil {
		return nil, err
	}
	var rows []controlplane.ProxyView
	dial := func(ctx context.Context) (net.Conn, error) { return c.DialController(ctx, monitorPort) }
	if err := readPage(ctx, dial, "/debug/syncz", &rows); err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	return rows, nil
}

func printSyncStatus(w io.Writer, rows []controlplane.ProxyView, detail int) error {
	tw := tabwriter.NewWriter(w, 0, 8, 5, ' ', 0)
	kinds := []string{}
	for i := range rows {
		kinds = append(kinds, slices.Collect(maps.Keys(rows[i].Names))...)
	}
	slices.Sort(kinds)
	kinds = slices.Compact(kinds)
	if detail > 0 {
		fmt.Fprintln(tw, "NAME\tSTATE\tVERSION\t"+strings.ToUpper(strings.Join(kinds, "\t")))
	} else {
		fmt.Fprintln(tw, "NAME\tSTATE\tVERSION\tSUBSCRIBED")
	}
	for i := range rows {
		r := &rows[i]
		var cells []string
		total := 0
		for _, k := range kinds {
			total += r.Names[k]
			if detail > 0 {
				cells = append(cells, strconv.Itoa(r.Names[k]))
			} else if r.Names[k] > 0 {
				cells = append(cells, fmt.Sprintf("%s %d", k, r.Names[k]))
			}
		}
		last := strings.Join(cells, "\t")
		if detail == 0 {
			last = fmt.Sprintf("%d (%s)", total, strings.Join(cells, ", "))
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", r.ID, r.State, r.Version, last)
		for _, refused := range r.Refused {
			fmt.Fprintf(tw, "  refused %s: %s\n", refused.Resource, refused.Reason)
		}
	}
	return tw.Flush()
}
