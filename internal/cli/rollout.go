package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/cluster"
	"fairlead.dev/fairlead/internal/lab"
)

// maxNamedHolders bounds the callers that a row of the table names.
const maxNamedHolders = 3

// endingPod is a pod that was told to end and is still there.
type endingPod struct{ namespace, name string }

func (p endingPod) id() string { return p.name + "." + p.namespace }

// States of a pod that ends.
const (
	// heldState is a pod that callers may still choose.
	heldState = "HELD"
	// releasedState is a pod that nobody chooses any more: it ends with what is open.
	releasedState = "RELEASED"
	// unheardState is a pod of which a replica of the control plane has not heard yet that it ends.
	unheardState = "UNHEARD"
	// silentState is a pod whose sidecar does not ask: it has none, or it has ended, or the control plane is away.
	silentState = "SILENT"
)

// rolloutRow is a pod that ends, as it is printed.
type rolloutRow struct {
	Pod       string `json:"pod"`
	Namespace string `json:"namespace"`
	State     string `json:"state"`
	// Held is how many sidecars may still choose the pod, Holders the IDs of the first hundred.
	Held    int      `json:"held"`
	Holders []string `json:"holders,omitempty"`
	// Open are the connections that the pod's sidecar has.
	Open uint64 `json:"openConnections"`
	// Draining is for how long, in seconds, Left how long the sidecar will wait at most.
	Draining float64 `json:"drainingSeconds"`
	Left     float64 `json:"secondsLeft"`
}

// newRolloutCommand is "fairlead rollout".
func newRolloutCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "rollout", Short: "Look at pods that come and go"}
	cmd.AddCommand(newRolloutStatusCommand(a))
	return cmd
}

// newRolloutStatusCommand is "fairlead rollout status": which pods end, and what they wait for.
func newRolloutStatusCommand(a *app) *cobra.Command {
	var output string
	var watch bool
	cmd := &cobra.Command{
		Use:   "status [deploy/NAME]",
		Short: "Print which pods drain, who may still call them, what is open, and how long they will wait",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.mesh(cmd)
			if err != nil {
				return err
			}
			r := rollout{app: a, mesh: m, name: strings.Join(args, ""), output: output}
			if watch {
				return r.watch(cmd.Context())
			}
			rows, err := r.rows(cmd.Context())
			if err != nil {
				return err
			}
			return r.print(rows)
		},
	}
	addOutputFlag(cmd.Flags(), &output, table, "json", "yaml")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "print again whenever something has changed, until interrupted")
	a.addLabFlag(cmd)
	return cmd
}

// endingInLab gives the pods of a lab that were told to end.
func (a *app) endingInLab(ctx context.Context, c *lab.Client, name string) ([]endingPod, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	st, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	ref := cluster.PodRef{Namespace: a.inNamespace()}
	if name != "" {
		if ref, err = cluster.ParsePodRef(name, a.namespace, a.inNamespace()); err != nil {
			return nil, err
		}
	}
	owner := map[string]string{"deployments": "Deployment", "statefulsets": "StatefulSet"}[ref.Kind]
	var pods []endingPod
	for i := range st.Pods {
		p := &st.Pods[i]
		if p.Status != "Terminating" || p.Namespace != ref.Namespace {
			continue
		}
		if name == "" || ref.Kind == "pods" && p.Name == ref.Name || owner != "" && p.OwnerKind == owner && p.Owner == ref.Name {
			pods = append(pods, endingPod{p.Namespace, p.Name})
		}
	}
	return pods, nil
}

// endingInCluster gives the pods of a cluster that were told to end.
func (a *app) endingInCluster(ctx context.Context, c *cluster.Client, name string) ([]endingPod, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	all, err := a.podsToLookAt(ctx, c, name)
	if err != nil {
		return nil, err
	}
	var pods []endingPod
	for i := range all {
		if all[i].DeletionTimestamp != nil {
			pods = append(pods, endingPod{all[i].Namespace, all[i].Name})
		}
	}
	return pods, nil
}

func (a *app) podsToLookAt(ctx context.Context, c *cluster.Client, name string) ([]corev1.Pod, error) {
	if name == "" {
		var list corev1.PodList
		err := c.Get(ctx, cluster.Path("/api/v1", cmp.Or(a.namespace, c.Namespace()), "pods", ""), &list)
		return list.Items, err
	}
	ref, err := cluster.ParsePodRef(name, a.namespace, c.Namespace())
	if err != nil {
		return nil, err
	}
	if ref.Kind != "pods" {
		return c.PodsOf(ctx, ref)
	}
	pod, err := c.FindPod(ctx, ref)
	if err != nil {
		return nil, err
	}
	return []corev1.Pod{*pod}, nil
}

// rollout is one question about pods that end.
type rollout struct {
	*app
	mesh   *mesh
	name   string // of a Deployment or pod, empty for all of the namespace
	output string
}

func (r *rollout) print(rows []rolloutRow) error {
	if r.output != table {
		return printValue(r.Out, r.output, rows)
	}
	return printRolloutTable(r.Out, rows)
}

// watchEvery is how often a rollout is looked at.
const watchEvery = 500 * time.Millisecond

// watch prints the pods that end whenever other ones do, or others hold them, until ctx ends.
func (r *rollout) watch(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for last := "none"; ; {
		rows, err := r.rows(ctx)
		if err != nil {
			return err
		}
		if now := outline(rows); now != last {
			last = now
			if err := r.print(rows); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// outline is what of rows is news when it changes: times are not.
func outline(rows []rolloutRow) string {
	var b strings.Builder
	for i := range rows {
		r := &rows[i]
		fmt.Fprintln(&b, r.Namespace, r.Pod, r.State, r.Open, r.Holders)
	}
	return b.String()
}

// rows puts together what the cluster and every replica of the control plane say.
func (r *rollout) rows(ctx context.Context) ([]rolloutRow, error) {
	pods, err := r.mesh.ending(ctx, r.name)
	if err != nil {
		return nil, err
	}
	places, err := r.mesh.controllers(ctx)
	if err != nil {
		return nil, err
	}
	lists, err := readAll(ctx, places, admin.Client.Departures)
	if page, ok := errors.AsType[*admin.PageError](err); ok && page.Code == 404 {
		return nil, fmt.Errorf("the control plane is older than this command: %w", err)
	}
	if err != nil && len(lists) == 0 {
		return nil, err
	}
	if err != nil {
		fmt.Fprintf(r.Err, "fairlead: callers may be missing: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return rolloutRows(pods, admin.MergeDepartures(lists...), time.Now()), nil
}

// rolloutRows joins the pods that end with what their sidecars and callers are known to do.
func rolloutRows(pods []endingPod, departures []admin.Departure, now time.Time) []rolloutRow {
	rows := make([]rolloutRow, 0, len(pods))
	for _, p := range pods {
		row := rolloutRow{Pod: p.name, Namespace: p.namespace, State: silentState}
		i := slices.IndexFunc(departures, func(d admin.Departure) bool { return d.ID == p.id() })
		if i >= 0 {
			d := &departures[i]
			row.Held, row.Holders, row.Open = d.Held, d.Holders, d.Open
			row.Draining, row.Left = seconds(now.Sub(d.Since)), seconds(max(0, d.Deadline.Sub(now)))
			switch {
			case !d.Marked:
				row.State = unheardState
			case d.Held > 0:
				row.State = heldState
			default:
				row.State = releasedState
			}
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b rolloutRow) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod))
	})
	return rows
}

// seconds rounds to tenths.
func seconds(d time.Duration) float64 { return d.Round(100 * time.Millisecond).Seconds() }

func printRolloutTable(w io.Writer, rows []rolloutRow) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, "no pod is ending")
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 8, 5, ' ', 0)
	fmt.Fprintln(tw, "POD\tSTATE\tHELD BY\tOPEN\tDRAINING\tLEFT")
	for i := range rows {
		r := &rows[i]
		if r.State == silentState {
			fmt.Fprintf(tw, "%s.%s\t%s\t-\t-\t-\t-\n", r.Pod, r.Namespace, r.State)
			continue
		}
		fmt.Fprintf(tw, "%s.%s\t%s\t%s\t%d\t%.1fs\t%.1fs\n", r.Pod, r.Namespace, r.State, holderCell(r), r.Open, r.Draining, r.Left)
	}
	return tw.Flush()
}

// holderCell names some holders and counts the others.
func holderCell(r *rolloutRow) string {
	if r.Held == 0 {
		return "nobody"
	}
	named := strings.Join(r.Holders[:min(len(r.Holders), maxNamedHolders)], ", ")
	if more := r.Held - min(len(r.Holders), maxNamedHolders); more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	return named
}
