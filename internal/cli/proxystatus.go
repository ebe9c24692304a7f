package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/admin"
)

// newProxyStatusCommand is "fairlead proxy-status": how every sidecar stands with the control plane.
func newProxyStatusCommand(a *app) *cobra.Command {
	var output string
	var detail int
	cmd := &cobra.Command{
		Use: "proxy-status [POD[.NAMESPACE]]", Aliases: []string{"ps"},
		Short: "Print which sidecars are connected, what they subscribe to, and whether they have it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.mesh(cmd)
			if err != nil {
				return err
			}
			rows, err := a.syncStatus(cmd.Context(), m)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				if rows, err = a.only(cmd.Context(), m, rows, args[0]); err != nil {
					return err
				}
			}
			if output != table {
				return printValue(a.Out, output, rows)
			}
			return printSyncStatus(a.Out, rows, detail)
		},
	}
	addOutputFlag(cmd.Flags(), &output, table, "json", "yaml")
	cmd.Flags().IntVar(&detail, "verbosity", 0, "1 prints a column per kind of resource")
	a.addLabFlag(cmd)
	completeArgument(a, cmd, a.sidecars)
	return cmd
}

// only gives the row of the pod that a user named. A name that is the ID of a row needs no pod: the control plane may have
// sidecars of pods that the cluster at hand does not know. A bare name means the pod of the namespace at hand, and where
// that has none and the user gave no namespace, the one pod of that name.
func (a *app) only(ctx context.Context, m *mesh, rows []admin.Proxy, name string) ([]admin.Proxy, error) {
	id := name
	if strings.Contains(name, "/") {
		sidecar, err := m.sidecar(ctx, name)
		if err != nil {
			return nil, err
		}
		id = sidecar.id
	}
	if exact := keep(rows, func(r *admin.Proxy) bool { return r.ID == id || r.ID == id+"."+m.namespace }); len(exact) > 0 {
		return exact, nil
	}
	var elsewhere []admin.Proxy
	if a.namespace == "" {
		elsewhere = keep(rows, func(r *admin.Proxy) bool { return r.ID == id+"."+r.Namespace })
	}
	switch len(elsewhere) {
	case 0:
		return nil, fmt.Errorf("no sidecar %s is connected to the control plane", name)
	case 1:
		return elsewhere, nil
	}
	var namespaces []string
	for i := range elsewhere {
		namespaces = append(namespaces, elsewhere[i].Namespace)
	}
	return nil, fmt.Errorf("%s is a pod of the namespaces %s: choose one with -n", name, strings.Join(namespaces, ", "))
}

// readAll reads a page of every place at once. What some of them say is given also where others do not answer.
func readAll[T any](ctx context.Context, places []place, page func(admin.Client, context.Context) (T, error)) ([]T, error) {
	answers := make([]T, len(places))
	errs := make([]error, len(places))
	var reading sync.WaitGroup
	for i := range places {
		reading.Go(func() { answers[i], errs[i] = readPage(ctx, &places[i], page) })
	}
	reading.Wait()
	var given []T
	for i := range answers {
		if errs[i] == nil {
			given = append(given, answers[i])
		}
	}
	return given, errors.Join(errs...)
}

// readSync asks every replica of the control plane for its sidecars and puts the answers together.
func readSync(ctx context.Context, places []place) ([]admin.Proxy, error) {
	lists, err := readAll(ctx, places, admin.Client.Proxies)
	if len(lists) > 0 || err == nil {
		return admin.Merge(lists...), err
	}
	return nil, err
}

// syncStatus gives the sidecars that are connected to the control plane. Replicas that do not answer are told about on
// Err; it is an error only when none does.
func (a *app) syncStatus(ctx context.Context, m *mesh) ([]admin.Proxy, error) {
	places, err := m.controllers(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := readSync(ctx, places)
	if rows == nil {
		return nil, err
	}
	if err != nil {
		fmt.Fprintf(a.Err, "fairlead: sidecars may be missing: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return rows, nil
}

func printSyncStatus(w io.Writer, rows []admin.Proxy, detail int) error {
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 8, 5, ' ', 0)
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
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", r.ID, r.State, r.Version, subscribed(r, kinds, detail))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	// What a sidecar refused, or is too old to know, stands below its row, and does not widen the columns.
	line := -1 // the header
	for text := range strings.Lines(table.String()) {
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		if line >= 0 {
			for _, t := range rows[line].Types {
				fmt.Fprintf(w, "  %s %s %s, %s\n", t.Type, t.State, cmp.Or(t.Sent, "nothing sent"), countOf(t.Resources, "resource"))
			}
			for _, refused := range rows[line].Refused {
				fmt.Fprintf(w, "  refused %s: %s\n", refused.Resource, refused.Reason)
			}
			for _, left := range rows[line].LeftOut {
				fmt.Fprintf(w, "  too old for a part of %s: %s\n", left.Resource, left.Reason)
			}
		}
		line++
	}
	return nil
}

// countOf is "1 resource", "2 resources".
func countOf(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// subscribed is what a sidecar asked for: a cell for each kind, or their sum and those that there are.
func subscribed(r *admin.Proxy, kinds []string, detail int) string {
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
	if detail > 0 {
		return strings.Join(cells, "\t")
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(cells, ", "))
}
