package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/admin"
)

// proxyFilter narrows what proxy-config prints; empty parts let everything pass.
type proxyFilter struct {
	cluster, fqdn, subset, direction, status, address, name string
	port                                                    uint16
	output                                                  string
}

// newProxyConfigCommand is "fairlead proxy-config", which prints what a live sidecar holds, in istioctl's columns.
func newProxyConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "proxy-config", Aliases: []string{"pc"},
		Short: "Print what a sidecar has: clusters, endpoints, routes, listeners, telemetry, secrets, metrics; of an Envoy its bootstrap",
		Long: "Print what a sidecar has: clusters, endpoints, routes, listeners, telemetry, secrets, metrics; of an Envoy its bootstrap.\n" +
			"POD is NAME, NAME.NAMESPACE, or deploy/NAME and the like, which means one of its pods.",
	}
	a.addLabFlag(cmd)
	var f proxyFilter
	flags := cmd.PersistentFlags()
	addOutputFlag(flags, &f.output, table, "json", "yaml", short)
	flags.StringVar(&f.cluster, "cluster", "", "only this cluster, such as \"outbound|8080||users-service.myapp.svc.cluster.local\"")
	flags.StringVar(&f.fqdn, "fqdn", "", "only this host")
	flags.StringVar(&f.subset, "subset", "", "only this subset")
	flags.StringVar(&f.direction, "direction", "", "inbound or outbound")
	flags.StringVar(&f.status, "status", "", "only endpoints in this state")
	flags.StringVar(&f.address, "address", "", "only this address")
	flags.StringVar(&f.name, "route-name", "", "only routes of this name (the port)")
	flags.Uint16Var(&f.port, "port", 0, "only this port")
	for _, v := range []struct {
		use, short string
		aliases    []string
		view       func(io.Writer, *admin.Dump, proxyFilter) error
	}{
		{"clusters POD", "Backends and the rule in force for each", []string{"cluster", "c"}, viewClusters},
		{"endpoints POD", "Endpoints and their health", []string{"endpoint", "ep"}, viewEndpoints},
		{"routes POD", "Routes in the order in which they are tried", []string{"route", "r"}, viewRoutes},
		{"listeners POD", "What the sidecar listens on and for", []string{"listener", "l"}, viewListeners},
		{"telemetry POD", "What is recorded of calls, and which objects say so", nil, viewTelemetry},
		{"secret POD", "Certificates in use", []string{"secrets", "s"}, viewSecrets},
		{"all POD", "Everything", nil, viewAll},
	} {
		view := &cobra.Command{
			Use: v.use, Short: v.short, Aliases: v.aliases, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				dump, err := readSidecar(cmd, a, args[0], admin.Client.Dump)
				if err != nil {
					return err
				}
				return v.view(a.Out, dump, f)
			},
		}
		completeArgument(a, view, a.sidecars)
		cmd.AddCommand(view)
	}
	cmd.AddCommand(newSidecarMetricsCommand(a), newSidecarLogCommand(a), newBootstrapCommand(a))
	return cmd
}

// newBootstrapCommand is "fairlead proxy-config bootstrap": what an Envoy was started with. It has no table.
func newBootstrapCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "bootstrap POD", Short: "What an Envoy was started with, as JSON", Aliases: []string{"b"}, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bootstrap, err := readSidecar(cmd, a, args[0], admin.Client.Bootstrap)
			if err != nil {
				return err
			}
			output := cmd.Flags().Lookup("output").Value.String()
			if isTable(output) {
				output = "json"
			}
			return printValue(a.Out, output, bootstrap)
		},
	}
	completeArgument(a, cmd, a.sidecars)
	return cmd
}

// newSidecarMetricsCommand is "fairlead proxy-config metrics": the page as Prometheus would get it, without the app's part.
func newSidecarMetricsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "metrics POD", Short: "What a sidecar has counted, in the Prometheus text format", Aliases: []string{"metric", "m"}, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o := cmd.Flags().Lookup("output"); o != nil && o.Changed {
				return errors.New("metrics have one form: leave -o out")
			}
			page, err := readSidecar(cmd, a, args[0], admin.Client.Metrics)
			if err != nil {
				return err
			}
			_, err = a.Out.Write(page)
			return err
		},
	}
	completeArgument(a, cmd, a.sidecars)
	return cmd
}

// readSidecar reads a page of the sidecar of a pod; page is a method of [admin.Client].
func readSidecar[T any](cmd *cobra.Command, a *app, name string, page func(admin.Client, context.Context) (T, error)) (none T, err error) {
	m, err := a.mesh(cmd)
	if err != nil {
		return none, err
	}
	sidecar, err := m.sidecar(cmd.Context(), name)
	if err != nil {
		return none, err
	}
	return readPage(cmd.Context(), &sidecar, page)
}

// keep gives the items that the filter lets pass.
func keep[T any](all []T, pass func(*T) bool) []T {
	out := []T{}
	for i := range all {
		if pass(&all[i]) {
			out = append(out, all[i])
		}
	}
	return out
}

func passes(want, have string) bool { return want == "" || strings.EqualFold(want, have) }

func viewClusters(w io.Writer, d *admin.Dump, f proxyFilter) error {
	rows := keep(d.Clusters, func(c *admin.ClusterDump) bool {
		return passes(f.fqdn, c.FQDN) && passes(f.subset, c.Subset) && passes(f.direction, c.Direction) &&
			passes(f.cluster, c.Name) && (f.port == 0 || f.port == c.Port)
	})
	header := "SERVICE FQDN\tPORT\tSUBSET\tDIRECTION\tTYPE\tDESTINATION RULE"
	limited := slices.ContainsFunc(rows, func(c admin.ClusterDump) bool { return len(c.Limits) > 0 })
	if limited {
		header += "\tLIMITS"
	}
	return printRows(w, f.output, rows, header, func(c *admin.ClusterDump) string {
		row := fmt.Sprintf("%s\t%d\t%s\t%s\t%s\t%s", c.FQDN, c.Port, dash(c.Subset), c.Direction, c.Type, c.DestinationRule)
		if limited {
			row += "\t" + dash(describeLimits(c.Limits))
		}
		return row
	})
}

// describeLimits says how much of each limit is in use, and how often it turned a call away.
func describeLimits(limits []admin.LimitDump) string {
	out := make([]string, len(limits))
	for i, l := range limits {
		_, name, _ := strings.Cut(l.Setting, ".")
		out[i] = fmt.Sprintf("%s %d/%d", name, l.InUse, l.Limit)
		if l.Overflows > 0 {
			out[i] += fmt.Sprintf(" (%d refused)", l.Overflows)
		}
	}
	return strings.Join(out, ", ")
}

func viewEndpoints(w io.Writer, d *admin.Dump, f proxyFilter) error {
	rows := keep(d.Endpoints, func(e *admin.EndpointDump) bool {
		host, port, _ := net.SplitHostPort(e.Address)
		return passes(f.cluster, e.Cluster) && passes(f.status, e.Status) && passes(f.address, host) &&
			(f.port == 0 || strconv.Itoa(int(f.port)) == port)
	})
	header := "ENDPOINT\tSTATUS\tOUTLIER CHECK\tCLUSTER\tWEIGHT\tLOCALITY\tLEVEL"
	checked := slices.ContainsFunc(rows, func(e admin.EndpointDump) bool { return e.HealthCheck != "" })
	if checked {
		header += "\tHEALTH CHECK"
	}
	placed := slices.ContainsFunc(rows, func(e admin.EndpointDump) bool { return e.Network != "" })
	if placed {
		header += "\tNETWORK\tBY"
	}
	several := inSeveralClusters(d.Endpoints)
	if several {
		header += "\tCLUSTER ID"
	}
	return printRows(w, f.output, rows, header, func(e *admin.EndpointDump) string {
		weight := strconv.FormatUint(uint64(e.Weight), 10)
		if e.WarmUp != nil {
			weight += fmt.Sprintf(" (%.0f%% warm)", *e.WarmUp)
		}
		row := fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s", e.Address, e.Status, e.Outlier, e.Cluster, weight, dash(e.Locality), level(e))
		if checked {
			row += "\t" + describeHealth(e, time.Now())
		}
		if placed {
			row += "\t" + dash(e.Network) + "\t" + dash(by(e))
		}
		if several {
			row += "\t" + dash(e.ClusterID)
		}
		return row
	})
}

// by lists the gateways by which an endpoint is reached, nothing for one that is dialled itself.
func by(e *admin.EndpointDump) string {
	if e.Through == "" {
		return ""
	}
	return strings.Join(e.Gateways, ",")
}

// inSeveralClusters reports whether the mesh has endpoints in more than one cluster.
func inSeveralClusters(list []admin.EndpointDump) bool {
	first := ""
	return slices.ContainsFunc(list, func(e admin.EndpointDump) bool {
		first = cmp.Or(first, e.ClusterID)
		return e.ClusterID != "" && e.ClusterID != first
	})
}

// level is the level of an endpoint, the part of the calls that goes there, and why none goes to the endpoint.
func level(e *admin.EndpointDump) string {
	out := "-"
	if e.Level != nil && e.LevelPercent != nil {
		out = fmt.Sprintf("%d (%.0f%%)", *e.Level, *e.LevelPercent)
	}
	if e.Panic {
		out += " panic"
	}
	if e.Unused != "" {
		out += " " + e.Unused
	}
	return out
}

// describeHealth is what took an endpoint away, and for how long that has been so.
func describeHealth(e *admin.EndpointDump, now time.Time) string {
	if e.HealthCheck == "" || e.HealthSince == nil {
		return dash(e.HealthCheck)
	}
	return fmt.Sprintf("%s %s: %s (%s)", e.HealthCheck, max(now.Sub(*e.HealthSince), 0).Round(time.Second), e.HealthReason, e.HealthPolicy)
}

func viewRoutes(w io.Writer, d *admin.Dump, f proxyFilter) error {
	rows := keep(d.Routes, func(r *admin.RouteDump) bool { return passes(f.name, r.Name) })
	return printRows(w, f.output, rows, "NAME\tVHOST NAME\tDOMAINS\tMATCH\tVIRTUAL SERVICE\tACTION\tRETRIES", func(r *admin.RouteDump) string {
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s", r.Name, r.VHost, strings.Join(r.Domains, ", "), r.Match, r.Origin, r.Action, r.Retries)
	})
}

func viewListeners(w io.Writer, d *admin.Dump, f proxyFilter) error {
	rows := keep(d.Listeners, func(l *admin.ListenerDump) bool {
		return (f.address == "" || slices.Contains(strings.Split(l.Address, ","), f.address)) && (f.port == 0 || f.port == l.Port)
	})
	return printRows(w, f.output, rows, "ADDRESSES\tPORT\tMATCH\tDESTINATION", func(l *admin.ListenerDump) string {
		return fmt.Sprintf("%s\t%d\t%s\t%s", l.Address, l.Port, l.Match, l.Destination)
	})
}

func viewTelemetry(w io.Writer, d *admin.Dump, f proxyFilter) error {
	return printRows(w, f.output, d.Telemetry, "CALLS\tACCESS LOG\tFILTER\tMETRICS\tTRACES\tBY", func(t *admin.TelemetryDump) string {
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", t.Side, t.AccessLog, dash(t.Filter), cmp.Or(t.Metrics, "all"), dash(t.Traces),
			cmp.Or(strings.Join(t.Origins, ", "), "the mesh's default"))
	})
}

func viewSecrets(w io.Writer, d *admin.Dump, f proxyFilter) error {
	const header = "RESOURCE NAME\tTYPE\tSTATUS\tVALID CERT\tSERIAL NUMBER\tNOT AFTER\tNOT BEFORE\tTRUST DOMAIN"
	return printRows(w, f.output, d.Secrets, header, func(s *admin.SecretDump) string {
		return fmt.Sprintf("%s\t%s\t%s\t%t\t%s\t%s\t%s\t%s", s.Name, s.Type, s.Status, s.Valid, s.Serial,
			moment(s.NotAfter), moment(s.NotBefore), s.TrustDomain)
	})
}

// moment is empty where there is no certificate.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// viewAll prints every table, or the whole dump.
func viewAll(w io.Writer, d *admin.Dump, f proxyFilter) error {
	if !isTable(f.output) {
		return printValue(w, f.output, d)
	}
	for _, view := range []func(io.Writer, *admin.Dump, proxyFilter) error{viewClusters, viewListeners, viewRoutes, viewEndpoints, viewTelemetry, viewSecrets} {
		if err := view(w, d, f); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return nil
}

// printRows prints a table, or the rows themselves as -o says.
func printRows[T any](w io.Writer, output string, rows []T, header string, row func(*T) string) error {
	if !isTable(output) {
		return printValue(w, output, rows)
	}
	tw := tabwriter.NewWriter(w, 0, 8, 5, ' ', 0)
	fmt.Fprintln(tw, header)
	for i := range rows {
		fmt.Fprintln(tw, row(&rows[i]))
	}
	return tw.Flush()
}

// printValue prints v as JSON, or as YAML of the same fields.
func printValue(w io.Writer, output string, v any) error {
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	return printEncoded(w, output, data.Bytes())
}

// printEncoded prints a JSON document as it is, as YAML, or what a JSONPath chooses of it.
func printEncoded(w io.Writer, output string, data []byte) error {
	if strings.HasPrefix(output, jsonPath) {
		return printPath(w, output, data)
	}
	if output == "yaml" {
		var err error
		if data, err = yaml.JSONToYAML(data); err != nil {
			return err
		}
	}
	_, err := w.Write(data)
	return err
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
