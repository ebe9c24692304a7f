package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/admin"
)

// newDiagnosticsCommand is "fairlead diagnostics": what the control plane holds, as "linkerd diagnostics" shows it.
func newDiagnosticsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "diagnostics", Aliases: []string{"dg", "diag"}, Short: "Show what the control plane itself knows"}
	cmd.AddCommand(newEndpointsCommand(a), newControllerMetricsCommand(a))
	a.addLabFlag(cmd)
	return cmd
}

// newEndpointsCommand is "fairlead diagnostics endpoints".
func newEndpointsCommand(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "endpoints HOST:PORT…",
		Short: "Print the endpoints that the control plane would tell sidecars of",
		Long: "Print the endpoints that the control plane would tell sidecars of, whether one has asked for them or not. HOST is what is called:\n" +
			"a Service's name, users.myapp.svc.cluster.local or users.myapp, a host of a ServiceEntry, or an address that they have.",
		Example: "  fairlead diagnostics endpoints users-service.myapp.svc.cluster.local:8080",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.mesh(cmd)
			if err != nil {
				return err
			}
			rows, err := knownEndpoints(cmd.Context(), m, args, a.Err)
			if err != nil {
				return err
			}
			switch {
			case isData(output):
				return printValue(a.Out, output, rows)
			case len(rows) == 0:
				fmt.Fprintln(a.Err, "No endpoints found.")
				return nil
			}
			return printEndpoints(a.Out, rows, output)
		},
	}
	addOutputFlag(cmd.Flags(), &output, table, "wide", "json", "yaml")
	return cmd
}

// knownEndpoint is a row. The first five keys are Linkerd's.
type knownEndpoint struct {
	Namespace string     `json:"namespace"`
	IP        netip.Addr `json:"ip"`
	Port      uint16     `json:"port"`
	Pod       string     `json:"pod"`
	Service   string     `json:"service"` // NAME.NAMESPACE
	Weight    uint32     `json:"weight"`
	Status    string     `json:"status"`
	Meshed    bool       `json:"meshed"`
	Identity  string     `json:"identity,omitempty"`
	Locality  string     `json:"locality,omitempty"`
	Subsets   []string   `json:"subsets,omitempty"`
}

// compare orders rows by service, then by address.
func (e *knownEndpoint) compare(o *knownEndpoint) int {
	return cmp.Or(cmp.Compare(e.Service, o.Service), cmp.Compare(e.Port, o.Port), e.IP.Compare(o.IP))
}

// knownEndpoints asks every replica. Where they do not say the same, all that is said is shown, and that they differ is told.
func knownEndpoints(ctx context.Context, m *mesh, authorities []string, notes io.Writer) ([]knownEndpoint, error) {
	places, err := m.controllers(ctx)
	if err != nil {
		return nil, err
	}
	all := []knownEndpoint{}
	for _, authority := range authorities {
		lists, err := readAll(ctx, places, func(c admin.Client, ctx context.Context) ([]admin.Shard, error) { return c.Endpoints(ctx, authority) })
		if err != nil && len(lists) == 0 {
			return nil, wrongQuestion(err)
		}
		if err != nil {
			fmt.Fprintf(notes, "fairlead: not every replica has answered: %s\n", oneLine(err))
		}
		var first []knownEndpoint
		for i, shards := range lists {
			rows := endpointRows(shards)
			if i == 0 {
				first = rows
			} else if !slices.EqualFunc(first, rows, func(a, b knownEndpoint) bool { return a.compare(&b) == 0 && a.Status == b.Status }) {
				fmt.Fprintf(notes, "fairlead: the replicas of the control plane do not say the same of %s: one is behind\n", authority)
			}
			all = append(all, rows...)
		}
	}
	slices.SortStableFunc(all, func(a, b knownEndpoint) int { return a.compare(&b) })
	return slices.CompactFunc(all, func(a, b knownEndpoint) bool { return a.compare(&b) == 0 }), nil
}

// wrongQuestion is what the control plane has said of a question that it does not answer, without where it was said.
func wrongQuestion(err error) error {
	if page, ok := errors.AsType[*admin.PageError](err); ok && page.Code == 400 && page.Message != "" {
		return errors.New(page.Message)
	}
	return err
}

// endpointRows are the endpoints of shards, in order. Shards of an older control plane, which answers with all that it has sent,
// name no service.
func endpointRows(shards []admin.Shard) []knownEndpoint {
	var rows []knownEndpoint
	for i := range shards {
		namespace, name, ok := strings.Cut(shards[i].Service, "/")
		if !ok {
			continue
		}
		for j := range shards[i].Endpoints {
			e := &shards[i].Endpoints[j]
			at, err := netip.ParseAddrPort(e.Address)
			if err != nil {
				continue // it was written by a netip.AddrPort
			}
			rows = append(rows, knownEndpoint{
				Namespace: e.Namespace, IP: at.Addr(), Port: at.Port(), Pod: e.Pod, Service: name + "." + namespace,
				Weight: e.Weight, Status: e.Health, Meshed: e.Meshed, Identity: e.Identity, Locality: e.Locality, Subsets: e.Subsets,
			})
		}
	}
	slices.SortStableFunc(rows, func(a, b knownEndpoint) int { return a.compare(&b) })
	return rows
}

// printEndpoints prints Linkerd's columns, and behind them, wide, what decides which endpoint is chosen.
func printEndpoints(out io.Writer, rows []knownEndpoint, output string) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	columns := []string{"NAMESPACE", "IP", "PORT", "POD", "SERVICE"}
	if output == "wide" {
		columns = append(columns, "STATUS", "WEIGHT", "MESHED", "SUBSETS", "LOCALITY", "IDENTITY")
	}
	fmt.Fprintln(w, strings.Join(columns, "\t"))
	for i := range rows {
		e := &rows[i]
		cells := []string{cmp.Or(e.Namespace, "-"), e.IP.String(), strconv.Itoa(int(e.Port)), cmp.Or(e.Pod, "-"), e.Service}
		if output == "wide" {
			cells = append(cells, e.Status, strconv.Itoa(int(e.Weight)), strconv.FormatBool(e.Meshed),
				cmp.Or(strings.Join(e.Subsets, ","), "-"), cmp.Or(e.Locality, "-"), cmp.Or(e.Identity, "-"))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// newControllerMetricsCommand is "fairlead diagnostics controller-metrics".
func newControllerMetricsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "controller-metrics",
		Short: "Print the metrics of every replica of the control plane, as Prometheus would get them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.mesh(cmd)
			if err != nil {
				return err
			}
			places, err := m.controllers(cmd.Context())
			if err != nil {
				return err
			}
			var errs []error
			for i := range places {
				page, err := readPage(cmd.Context(), &places[i], admin.Client.Metrics)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(a.Out, "#\n# %s\n#\n%s", places[i].name, page)
			}
			return errors.Join(errs...)
		},
	}
}
