package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/admin"
)

// failureFilter narrows what "fairlead errors" prints; zero parts let everything pass.
type failureFilter struct {
	last              int
	since             time.Duration
	status, direction string
	not               bool
}

// newErrorsCommand is "fairlead errors": the calls of a pod that failed lately, and why.
func newErrorsCommand(a *app) *cobra.Command {
	var output string
	var f failureFilter
	var follow bool
	cmd := &cobra.Command{
		Use:   "errors POD",
		Short: "Print the calls from and to a pod that failed lately, and why",
		Long: "Print the calls from and to a pod that failed lately, and why: the last 200 that its sidecar remembers, the latest first.\n" +
			"POD is NAME, NAME.NAMESPACE, or deploy/NAME and the like, which means one of its pods.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if follow && output == "yaml" {
				return errors.New("--follow prints lines, or with -o json an object in each: leave -o yaml")
			}
			page, err := readSidecar(cmd, a, args[0], admin.Client.Failures)
			if old, ok := errors.AsType[*admin.PageError](err); ok && old.Code == 404 {
				return fmt.Errorf("the sidecar is older than this command: %w", err)
			}
			if err != nil {
				return err
			}
			if follow { // the same pod of a Deployment, say, from now on
				if err := cmd.Flags().Set("namespace", page.Namespace); err != nil {
					return err
				}
				return followFailures(cmd.Context(), &failureStream{out: a.Out, notes: a.Err, filter: &f, json: output == "json"}, page, func() (*admin.Failures, error) {
					return readSidecar(cmd, a, page.Pod, admin.Client.Failures)
				})
			}
			now := time.Now()
			rows := f.keep(page.Failures, now)
			if output != table {
				return printValue(a.Out, output, rows)
			}
			return printFailures(a.Out, page, rows, now)
		},
	}
	flags := cmd.Flags()
	addOutputFlag(flags, &output, table, "json", "yaml")
	flags.IntVar(&f.last, "last", 0, "only so many, the latest")
	flags.DurationVar(&f.since, "since", 0, "only those that began so long ago at most, such as 10m")
	flags.StringVar(&f.status, "status", "", "only those that were answered with this status, such as 503 or 5xx")
	flags.StringVar(&f.direction, "direction", "", "inbound or outbound")
	flags.BoolVar(&f.not, "not", false, "only those that --status and --direction leave out")
	flags.BoolVarP(&follow, "follow", "f", false, "go on with those that come, the latest last, until interrupted")
	a.addLabFlag(cmd)
	completeArgument(a, cmd, a.sidecars)
	return cmd
}

func (f *failureFilter) check() error {
	class, isClass := strings.CutSuffix(strings.ToLower(f.status), "xx")
	n, err := strconv.Atoi(class)
	if f.status != "" && (err != nil || isClass && (n < 1 || n > 5) || !isClass && (n < 100 || n > 599)) {
		return fmt.Errorf("--status %q is no status: write one like 503, or 5xx", f.status)
	}
	if f.direction != "" && f.direction != "inbound" && f.direction != "outbound" {
		return fmt.Errorf("--direction %q: write inbound or outbound", f.direction)
	}
	if f.last < 0 || f.since < 0 {
		return errors.New("--last and --since cannot be negative")
	}
	if f.not && f.status+f.direction == "" {
		return errors.New("--not needs something to turn around: --status or --direction")
	}
	return nil
}

func (f *failureFilter) keep(all []admin.Failure, now time.Time) []admin.Failure {
	rows := keep(all, func(r *admin.Failure) bool {
		return (f.hasStatus(r.Status) && passes(f.direction, r.Direction)) != f.not && (f.since == 0 || now.Sub(r.Start) <= f.since)
	})
	if f.last > 0 && len(rows) > f.last {
		rows = rows[:f.last]
	}
	return rows
}

func (f *failureFilter) hasStatus(status int) bool {
	if class, ok := strings.CutSuffix(strings.ToLower(f.status), "xx"); ok {
		return class == strconv.Itoa(status/100)
	}
	return passes(f.status, strconv.Itoa(status))
}

func printFailures(out io.Writer, page *admin.Failures, rows []admin.Failure, now time.Time) error {
	if len(rows) == 0 && page.Total == 0 {
		_, err := fmt.Fprintf(out, "no call from or to %s.%s has failed since its sidecar began\n", page.Pod, page.Namespace)
		return err
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintf(out, "none of the last %d failed calls from and to %s.%s is of that kind\n", len(page.Failures), page.Pod, page.Namespace)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "AGE\tDIRECTION\tSTATUS\tREQUEST\tPEER\tTOOK\tCAUSE")
	for i := range rows {
		f := &rows[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", age(now.Sub(f.Start)), f.Direction, failureStatus(f), failedRequest(f), failurePeer(f), took(f.DurationMS), failureCause(f))
	}
	return w.Flush()
}

// failureStatus is the status that the client saw, with Envoy's flags; "cut" where it saw the call break off.
func failureStatus(f *admin.Failure) string {
	status := "cut"
	switch {
	case f.GRPCStatus != "":
		status = "grpc " + f.GRPCStatus
	case f.Status != 0:
		status = strconv.Itoa(f.Status)
	case f.Protocol == "":
		status = "-"
	}
	if f.Flags != "" {
		status += " " + f.Flags
	}
	return status
}

func failedRequest(f *admin.Failure) string {
	if f.Protocol == "" {
		return cmp.Or(f.Dialled, "-")
	}
	if f.Method == "" {
		return "(no request)"
	}
	return printable(f.Method + " " + f.Authority + f.Path)
}

// failurePeer is the other side: its workload where that is known, and its address.
func failurePeer(f *admin.Failure) string {
	name, address := f.Destination, f.Endpoint
	if f.Direction == "inbound" {
		name, address = f.Source, f.Client
	}
	return cmp.Or(strings.TrimSpace(name+" "+address), "-")
}

// failureCause is what the sidecar says. Where it says nothing the status is the app's.
func failureCause(f *admin.Failure) string {
	switch {
	case f.Cause != "":
		return printable(f.Cause)
	case f.Status == 0:
		return dash(f.Details)
	case f.Direction == "inbound":
		return "the app answered so"
	default:
		return "the endpoint answered so"
	}
}

func took(ms float64) string {
	return time.Duration(ms * float64(time.Millisecond)).Round(100 * time.Microsecond).String()
}

func age(d time.Duration) string { return max(d, 0).Round(time.Second).String() }

// printable is text of a client's for a terminal, which control characters would steer.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
