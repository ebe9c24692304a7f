package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/admin"
)

// newWhyCommand is "fairlead why": what a sidecar does with a request of its app.
func newWhyCommand(a *app) *cobra.Command {
	var output, method string
	var headers []string
	cmd := &cobra.Command{
		Use:   "why POD URL",
		Short: "Print where a pod's request would go, and why: name, address, route, shares, endpoints",
		Long: "Print where a pod's request would go, and why, step by step: its sidecar decides as for a request of its app, and sends nothing.\n" +
			"POD is NAME, NAME.NAMESPACE, or deploy/NAME and the like, which means one of its pods. URL is http://HOST:PORT/PATH, or tcp://HOST:PORT\n" +
			"for a connection; HOST as the app says it.",
		Example: "  fairlead why deploy/orders-service -n myapp http://users-service:8080/api/user/123 -H 'x-user: test'",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := admin.ParseAsked(method, args[1], headers); err != nil {
				return err
			}
			w, err := readSidecar(cmd, a, args[0], func(c admin.Client, ctx context.Context) (*admin.Why, error) {
				return c.Why(ctx, method, args[1], headers)
			})
			if old, ok := errors.AsType[*admin.PageError](err); ok && old.Code == 404 {
				return fmt.Errorf("the sidecar is older than this command: %w", err)
			}
			if err != nil {
				return err
			}
			if output != table {
				return printValue(a.Out, output, w)
			}
			return printWhy(a.Out, w)
		},
	}
	flags := cmd.Flags()
	addOutputFlag(flags, &output, table, "json", "yaml")
	flags.StringVarP(&method, "request", "X", "GET", "method of the request")
	flags.StringArrayVarP(&headers, "header", "H", nil, "header of the request, NAME: VALUE; may be repeated")
	a.addLabFlag(cmd)
	completeArgument(a, cmd, a.sidecars)
	return cmd
}

func printWhy(out io.Writer, w *admin.Why) error {
	fmt.Fprintf(out, "%s.%s: %s\n", w.Pod, w.Namespace, w.Request)
	steps := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	step := func(name, text string) {
		if text != "" {
			fmt.Fprintf(steps, "  %s\t%s\n", name, text)
		}
	}
	if len(w.Addresses) > 0 {
		step("name", w.Name+" is "+strings.Join(w.Addresses, ", ")+", says "+map[string]string{"mesh": "the mesh", "DNS": "DNS"}[w.AnsweredBy])
	}
	step("dialled", w.Dialled)
	if w.Host != "" {
		text := w.Host
		if w.Service != "" {
			text += ", Service " + w.Service
		}
		step("host", text+", "+w.Protocol)
	}
	if r := w.Route; r != nil {
		origin := "no object says otherwise"
		if r.Origin != "" {
			origin = r.Origin
		}
		step("route", r.Match+" ("+origin+")")
		if w.End == "" {
			_, more, _ := strings.Cut(r.Action, "; ")
			step("", more)
		}
		if r.Retries != "" {
			step("retries", r.Retries)
		}
	}
	step("end", w.End)
	if err := steps.Flush(); err != nil {
		return err
	}
	for i := range w.Backends {
		if err := printWhyBackend(out, &w.Backends[i]); err != nil {
			return err
		}
	}
	return nil
}

func printWhyBackend(out io.Writer, b *admin.WhyBackend) error {
	fmt.Fprintf(out, "\n%.4g %% to %s", b.Percent, b.Cluster.Name)
	if b.Cluster.DestinationRule != "" {
		fmt.Fprintf(out, " (%s)", b.Cluster.DestinationRule)
	}
	if b.Cluster.LoadBalancer != "" {
		fmt.Fprintf(out, ", %s", b.Cluster.LoadBalancer)
	}
	fmt.Fprintln(out)
	if b.Cluster.Missing != "" {
		_, err := fmt.Fprintf(out, "  %s\n", b.Cluster.Missing)
		return err
	}
	if len(b.Endpoints) == 0 {
		_, err := fmt.Fprintln(out, "  it has no endpoints: 503")
		return err
	}
	rows := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(rows, "  ENDPOINT\tPOD\tCLUSTER\tMTLS\tBY\tSTATE")
	for i := range b.Endpoints {
		e := &b.Endpoints[i]
		mtls := "no"
		if e.MTLS {
			mtls = "yes"
		}
		fmt.Fprintf(rows, "  %s\t%s\t%s\t%s\t%s\t%s\n", e.Address, dash(e.Workload), dash(e.ClusterID), mtls, dash(by(e)), whyState(e))
	}
	return rows.Flush()
}

// whyState says whether an endpoint is called, and what keeps calls away.
func whyState(e *admin.EndpointDump) string {
	switch {
	case e.HealthReason != "":
		return e.Status + ": " + e.HealthReason
	case e.Outlier != "OK" && e.OutlierReason != "":
		return e.Outlier + ": " + e.OutlierReason
	case e.Unused != "":
		return e.Status + ", unused: " + e.Unused
	}
	return e.Status
}
