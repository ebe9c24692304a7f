package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/observe"
	"fairlead.dev/fairlead/internal/traffic"
	"fairlead.dev/fairlead/internal/traffic/view"
)

const (
	// wide is the form of output with more columns.
	wide = "wide"
	// The windows that the control plane can tell of: sidecars report every ten seconds, and an hour is kept.
	leastWindow, mostWindow = 15 * time.Second, time.Hour
	// followEvery is how often --follow prints again.
	followEvery = 5 * time.Second
)

// trafficFlags are those that the commands about traffic share.
type trafficFlags struct {
	output        string
	allNamespaces bool
	window, since time.Duration
	follow        bool

	selector     string
	to, from     string
	toNS, fromNS string
	unmeshed     bool
}

// add defines the flags that every one of the commands has.
func (f *trafficFlags) add(flags *pflag.FlagSet, window time.Duration) {
	addOutputFlag(flags, &f.output, table, wide, "json")
	flags.BoolVarP(&f.allNamespaces, "all-namespaces", "A", false, "of all namespaces")
	flags.DurationVarP(&f.window, "time-window", "t", window, "of the time until now, from 15s to 1h")
	flags.DurationVar(&f.since, "since", 0, "the same as --time-window")
	flags.BoolVarP(&f.follow, "follow", "f", false, "print again every 5 seconds, until interrupted")
}

// addEnds defines the flags that choose by the other end of the calls.
func (f *trafficFlags) addEnds(flags *pflag.FlagSet) {
	flags.StringVar(&f.to, "to", "", "only calls to this resource, such as deploy/users or svc/users")
	flags.StringVar(&f.toNS, "to-namespace", "", "namespace of --to (default that of -n)")
}

// check gives the window.
func (f *trafficFlags) check(flags *pflag.FlagSet) (time.Duration, error) {
	window := f.window
	if f.since != 0 {
		if flags.Changed("time-window") {
			return 0, errors.New("--since and --time-window mean the same: give one of them")
		}
		window = f.since
	}
	if window < leastWindow {
		return 0, fmt.Errorf("the time window needs to be at least %s, not %s: sidecars report every 10 seconds", leastWindow, window)
	}
	if window > mostWindow {
		return 0, fmt.Errorf("the time window is %s, but the control plane keeps 1h", window)
	}
	return window, nil
}

// selection reads what the arguments and flags ask for, of the namespace at hand.
func (f *trafficFlags) selection(args []string, namespace string) (*view.Select, error) {
	q := &view.Select{Namespace: namespace, Unmeshed: f.unmeshed, ToNamespace: f.toNS, FromNamespace: f.fromNS}
	if f.allNamespaces {
		q.Namespace = ""
	}
	var err error
	if q.Resources, err = view.ParseResources(args); err != nil {
		return nil, err
	}
	if f.to != "" && f.from != "" {
		return nil, errors.New("--to and --from exclude each other: calls are told of either end")
	}
	if q.To, err = endOf("--to", f.to); err != nil {
		return nil, err
	}
	if q.From, err = endOf("--from", f.from); err != nil {
		return nil, err
	}
	if f.selector != "" {
		s, err := labels.Parse(f.selector)
		if err != nil {
			return nil, fmt.Errorf("-l %q is no selector: %w", f.selector, err)
		}
		q.Labels = func(of map[string]string) bool { return s.Matches(labels.Set(of)) }
	}
	return q, nil
}

func endOf(flag, word string) (*view.Resource, error) {
	if word == "" {
		return nil, nil //nolint:nilnil // nothing was asked for
	}
	r, err := view.ParseResources([]string{word})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", flag, err)
	case len(r) != 1:
		return nil, fmt.Errorf("%s %s: name one resource, such as deploy/users", flag, word)
	}
	return &r[0], nil
}

// teller is the app for commands about traffic.
type teller struct{ *app }

// asked is a command about traffic that has been understood.
type asked struct {
	window time.Duration
	// namespace is what must be told of; empty for all.
	namespace string
	// services has the Services told of that nobody has called.
	services bool
	show     func(*traffic.Answer) error
}

// runTraffic answers once, or with --follow again and again.
func (a teller) runTraffic(cmd *cobra.Command, f *trafficFlags, m *mesh, q *asked) error {
	for {
		answer, err := a.trafficOf(cmd.Context(), m, q)
		if err != nil {
			return err
		}
		if err := q.show(answer); err != nil || !f.follow {
			return err
		}
		timer := time.NewTimer(followEvery)
		select {
		case <-cmd.Context().Done():
			timer.Stop()
			return cmd.Context().Err()
		case <-timer.C:
		}
		fmt.Fprintln(a.Out)
	}
}

// trafficOf asks every replica of the control plane, and says on Err what is not the whole truth.
func (a teller) trafficOf(ctx context.Context, m *mesh, q *asked) (*traffic.Answer, error) {
	places, err := m.controllers(ctx)
	if err != nil {
		return nil, err
	}
	token, err := m.proof(ctx)
	if err != nil {
		return nil, err
	}
	query := url.Values{"window": {q.window.String()}, "namespace": {q.namespace}}
	if q.services {
		query.Set("services", "true")
	}
	question := admin.Question{Path: observe.PathViews + observe.ViewEdges + "?" + query.Encode(), Token: token}
	answers, err := readAll(ctx, places, func(c admin.Client, ctx context.Context) (answer traffic.Answer, err error) {
		err = c.Observe(ctx, question, func(body io.Reader) error { return json.NewDecoder(body).Decode(&answer) })
		return answer, explainObserved(err)
	})
	if len(answers) == 0 {
		return nil, err
	}
	if err != nil {
		fmt.Fprintf(a.Err, "fairlead: a part may be missing: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	answer := traffic.Merge(answers)
	if known := answer.At.Sub(answer.Since); known < q.window {
		fmt.Fprintf(a.Err, "fairlead: the control plane has data of the last %s only: it has not run for longer\n", known.Round(time.Second))
	}
	if cut := view.Cut(&answer); cut != "" {
		fmt.Fprintln(a.Err, "fairlead: "+cut)
	}
	return &answer, nil
}

// askedNamespace is the one that permission is needed for: none in particular where two are told of.
func (f *trafficFlags) askedNamespace(q *view.Select) string {
	for _, other := range []string{q.ToNamespace, q.FromNamespace} {
		if other != "" && other != q.Namespace {
			return ""
		}
	}
	for i := range q.Resources {
		if q.Resources[i].Kind.Name == "namespace" {
			return q.Resources[i].Name // of all where it is empty
		}
	}
	return q.Namespace
}

// printTables prints tables with blank lines between them.
func (a teller) printTables(tables []*view.Table) error {
	for i, t := range tables {
		if i > 0 {
			fmt.Fprintln(a.Out)
		}
		if err := t.Write(a.Out); err != nil {
			return err
		}
	}
	return nil
}

// newVizCommand is "fairlead viz": the same commands by the name of Linkerd's group.
func newVizCommand(a *app, more ...*cobra.Command) *cobra.Command {
	viz := &cobra.Command{Use: "viz", Short: "The commands about traffic, by the name of Linkerd's extension", Hidden: true}
	viz.AddCommand(newEdgesCommand(a), newStatCommand(a), newStatInboundCommand(a), newStatOutboundCommand(a), newRoutesCommand(a), newTapCommand(a), newTopCommand(a))
	viz.AddCommand(more...)
	return viz
}

// newEdgesCommand is "fairlead edges": who calls whom, and whether that is secured.
func newEdgesCommand(a *app) *cobra.Command {
	var f trafficFlags
	cmd := &cobra.Command{
		Use:   "edges RESOURCETYPE",
		Short: "Print who calls whom, and whether that is secured",
		Long: "Print who calls whom, and whether that is secured: each pair of workloads of which one calls the other.\n" +
			"RESOURCETYPE is a kind, such as deploy, sts, po or ns. Callers and endpoints outside the mesh are told of as well.",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, err := edgesKind(args)
			if err != nil {
				return err
			}
			window, err := f.check(cmd.Flags())
			if err != nil {
				return err
			}
			m, err := a.mesh(cmd)
			if err != nil {
				return err
			}
			q := &asked{window: window, namespace: m.namespace}
			if f.allNamespaces {
				q.namespace = ""
			}
			q.show = func(answer *traffic.Answer) error {
				return teller{a}.printEdges(view.Edges(answer, &kind, q.namespace), f.output)
			}
			return teller{a}.runTraffic(cmd, &f, m, q)
		},
	}
	f.add(cmd.Flags(), 10*time.Minute)
	a.addLabFlag(cmd)
	return cmd
}

func edgesKind(args []string) (view.Kind, error) {
	switch {
	case len(args) == 0:
		return view.Kind{}, errors.New("a kind is missing: fairlead edges deploy")
	case len(args) > 1:
		return view.Kind{}, fmt.Errorf("Edges cannot be returned for a specific resource name; remove %s from query", strings.Join(args[1:], " ")) //nolint:staticcheck // as Linkerd says it
	}
	word, name, named := strings.Cut(args[0], "/")
	if named {
		return view.Kind{}, fmt.Errorf("Edges cannot be returned for a specific resource name; remove %s from query", name) //nolint:staticcheck // as Linkerd says it
	}
	kind, err := view.ParseKind(word)
	if err == nil && kind.Name == "service" || word == view.All {
		return kind, fmt.Errorf("edges are between workloads, not of %q: use deploy, sts, ds, po or ns; stat svc tells of Services", word)
	}
	return kind, err
}

func (a teller) printEdges(rows []view.EdgeRow, output string) error {
	switch {
	case isData(output):
		return printValue(a.Out, output, rows)
	case len(rows) == 0:
		fmt.Fprintln(a.Err, "No edges found.")
		return nil
	}
	return view.EdgeTable(rows, output == wide).Write(a.Out)
}
