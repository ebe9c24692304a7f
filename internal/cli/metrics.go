package cli

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/traffic"
	"fairlead.dev/fairlead/internal/traffic/view"
)

// newExperimentalCommand is "fairlead x": what istioctl has under that word.
func newExperimentalCommand(a *app) *cobra.Command {
	x := &cobra.Command{Use: "x", Aliases: []string{"experimental", "exp"}, Short: "Commands by the names that istioctl has for them", Hidden: true}
	x.AddCommand(newMetricsCommand(a))
	return x
}

// newMetricsCommand is "fairlead x metrics": rates and latencies of workloads, by the columns of istioctl's.
func newMetricsCommand(a *app) *cobra.Command {
	f := trafficFlags{}
	cmd := &cobra.Command{
		Use:     "metrics WORKLOAD[.NAMESPACE]…",
		Aliases: []string{"m"},
		Short:   "Print rates and latencies of the calls to workloads, as istioctl does",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("a workload is missing: fairlead x metrics users-v1.myapp")
			}
			window, err := f.check(cmd.Flags())
			if err != nil {
				return err
			}
			m, err := a.mesh(cmd)
			if err != nil {
				return err
			}
			return teller{a}.runTraffic(cmd, &f, m, &asked{
				window: window, namespace: namespaceOfAll(args, m.namespace),
				show: func(answer *traffic.Answer) error { return teller{a}.printMetrics(answer, args, m.namespace) },
			})
		},
	}
	cmd.Flags().DurationVarP(&f.window, "duration", "d", time.Minute, "of the time until now, from 15s to 1h")
	a.addLabFlag(cmd)
	return cmd
}

// workloadIn reads "users-v1" and "users-v1.myapp".
func workloadIn(arg, namespace string) (workload, in string) {
	if workload, of, ok := strings.Cut(arg, "."); ok {
		return workload, of
	}
	return arg, namespace
}

// namespaceOfAll is the one that permission is needed for; empty for all where they are of several.
func namespaceOfAll(args []string, namespace string) string {
	_, first := workloadIn(args[0], namespace)
	for _, arg := range args[1:] {
		if _, in := workloadIn(arg, namespace); in != first {
			return ""
		}
	}
	return first
}

func (a teller) printMetrics(answer *traffic.Answer, args []string, namespace string) error {
	rows := make([]view.MetricsRow, 0, len(args))
	for _, arg := range args {
		workload, in := workloadIn(arg, namespace)
		row, err := view.Metrics(answer, workload, in)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	return view.WriteMetrics(a.Out, rows)
}
