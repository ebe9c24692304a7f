package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/traffic"
	"fairlead.dev/fairlead/internal/traffic/view"
)

// aboutResources makes a command that tells of the traffic of resources.
func (a teller) aboutResources(cmd *cobra.Command, f *trafficFlags, show func(*traffic.Answer, *view.Select) error) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("a resource is missing, such as deploy or deploy/web; usage: %s", cmd.UseLine())
		}
		window, err := f.check(cmd.Flags())
		if err != nil {
			return err
		}
		if _, err := f.selection(args, ""); err != nil { // before anything is connected to
			return err
		}
		m, err := a.mesh(cmd)
		if err != nil {
			return err
		}
		q, err := f.selection(args, m.namespace)
		if err != nil {
			return err
		}
		return a.runTraffic(cmd, f, m, &asked{
			window: window, namespace: f.askedNamespace(q), services: q.OfServices(), show: func(answer *traffic.Answer) error { return show(answer, q) },
		})
	}
	f.add(cmd.Flags(), time.Minute)
	cmd.Flags().StringVarP(&f.selector, "selector", "l", "", "only of pods with these labels, such as app=web,tier!=test")
	a.addLabFlag(cmd)
	return cmd
}

// newStatCommand is "fairlead stat": how the calls to resources go.
func newStatCommand(a *app) *cobra.Command {
	var f trafficFlags
	cmd := teller{a}.aboutResources(&cobra.Command{
		Use:   "stat RESOURCES",
		Short: "Print how the calls to resources go: success, rate, latencies, connections",
		Long: "Print how the calls to resources go: success, rate, latencies, connections.\n" +
			"RESOURCES are kinds or names: deploy, deploy/web, deploy web api, po/a svc/b, all. With --to, the calls from them.",
	}, &f, func(answer *traffic.Answer, q *view.Select) error {
		rows, err := view.Stat(answer, q)
		if err != nil {
			return err
		}
		return teller{a}.printStat(rows, &f, q)
	})
	f.addEnds(cmd.Flags())
	cmd.Flags().StringVar(&f.from, "from", "", "only calls from this resource")
	cmd.Flags().StringVar(&f.fromNS, "from-namespace", "", "namespace of --from (default that of -n)")
	cmd.Flags().BoolVar(&f.unmeshed, "unmeshed", false, "also resources without any sidecar")
	return cmd
}

func (a teller) printStat(rows []view.StatRow, f *trafficFlags, q *view.Select) error {
	if isData(f.output) {
		if rows == nil {
			rows = []view.StatRow{}
		}
		return printValue(a.Out, f.output, rows)
	}
	if len(rows) == 0 {
		fmt.Fprintln(a.Err, "No traffic found.")
		return nil
	}
	kinds := map[string]bool{}
	for i := range q.Resources {
		kinds[q.Resources[i].Kind.Name] = true
	}
	return a.printTables(view.StatTables(rows, view.TableOptions{AllNamespaces: f.allNamespaces, Wide: f.output == wide, Prefix: len(kinds) > 1}))
}

// newStatInboundCommand is "fairlead stat-inbound": the calls to workloads, by port.
func newStatInboundCommand(a *app) *cobra.Command {
	var f trafficFlags
	return teller{a}.aboutResources(&cobra.Command{
		Use: "stat-inbound RESOURCES", Short: "Print the calls to workloads, by port, as their own sidecars count them",
	}, &f, func(answer *traffic.Answer, q *view.Select) error {
		rows, err := view.Routes(answer, q, view.ByServer)
		return teller{a}.printRoutes(rows, err, f.output, view.InboundTable)
	})
}

// newStatOutboundCommand is "fairlead stat-outbound": the calls of workloads, by route and backend.
func newStatOutboundCommand(a *app) *cobra.Command {
	var f trafficFlags
	cmd := teller{a}.aboutResources(&cobra.Command{
		Use: "stat-outbound RESOURCES", Short: "Print the calls of workloads, by service, route and backend, with retries and timeouts",
	}, &f, func(answer *traffic.Answer, q *view.Select) error {
		rows, err := view.Routes(answer, q, view.ByBackend)
		return teller{a}.printRoutes(rows, err, f.output, view.OutboundTable)
	})
	f.addEnds(cmd.Flags())
	return cmd
}

func (a teller) printRoutes(rows []view.RouteRow, err error, output string, tableOf func([]view.RouteRow) *view.Table) error {
	switch {
	case err != nil:
		return err
	case isData(output):
		return printValue(a.Out, output, rows)
	case len(rows) == 0:
		fmt.Fprintln(a.Err, "No traffic found.")
		return nil
	}
	return tableOf(rows).Write(a.Out)
}

// newRoutesCommand is "fairlead routes": the calls to resources, by the rules that callers followed.
func newRoutesCommand(a *app) *cobra.Command {
	var f trafficFlags
	cmd := teller{a}.aboutResources(&cobra.Command{
		Use:   "routes RESOURCES",
		Short: "Print the calls to resources by route, as the callers' sidecars count them",
		Long: "Print the calls to resources by route, as the callers' sidecars count them; with --to, the calls from them.\n" +
			"-o wide with --to prints what callers saw (effective) beside what backends got, retries included (actual).",
	}, &f, func(answer *traffic.Answer, q *view.Select) error {
		if q.To == nil && f.output == wide {
			return errors.New("-o wide tells the tries of callers apart, so it needs --to")
		}
		rows, err := view.Routes(answer, q, view.ByRoute)
		if err != nil {
			return err
		}
		return teller{a}.printByResource(rows, f.output)
	})
	f.addEnds(cmd.Flags())
	return cmd
}

// printByResource prints a table for each resource, under its name where there are several.
func (a teller) printByResource(rows []view.RouteRow, output string) error {
	names, of := []string{}, map[string][]view.RouteRow{}
	for i := range rows {
		name := rows[i].Resource
		if of[name] == nil {
			names = append(names, name)
		}
		row := rows[i]
		row.Name = ""
		if output != wide {
			row.EffectiveSuccess, row.EffectiveRPS, row.ActualSuccess, row.ActualRPS = nil, nil, nil, nil
		}
		of[name] = append(of[name], row)
	}
	switch {
	case isData(output):
		return printValue(a.Out, output, of)
	case len(rows) == 0:
		fmt.Fprintln(a.Err, "No traffic found.")
		return nil
	}
	for i, name := range names {
		if i > 0 {
			fmt.Fprintln(a.Out)
		}
		if len(names) > 1 {
			fmt.Fprintf(a.Out, "==> %s <==\n", name)
		}
		if err := view.RouteTable(of[name], output == wide).Write(a.Out); err != nil {
			return err
		}
	}
	return nil
}
