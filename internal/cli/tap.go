package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.dev/fairlead/internal/admin"
	"fairlead.dev/fairlead/internal/observe"
)

const (
	// tapSilence is after how long without a word a replica is taken for lost: it says something every five seconds.
	tapSilence = 15 * time.Second
	// tapAgain is how often it is looked for replicas that are not asked.
	tapAgain = 2 * time.Second
)

// tapFlags are what the user said.
type tapFlags struct {
	output, to, toNamespace, toResource, selector string
	all                                           bool
	limit                                         int
	trace                                         bool
	query                                         observe.Query
}

// newTapCommand is "fairlead tap": requests as they happen, at the sidecars of a resource.
func newTapCommand(a *app) *cobra.Command {
	var f tapFlags
	cmd := &cobra.Command{
		Use:   "tap RESOURCE [flags]",
		Short: "Print the requests from and to pods as they happen",
		Long: "Print the requests from and to pods as they happen, as their sidecars see them: three lines for each when it has ended,\n" +
			"req, rsp and end; of one that takes longer than a second the first comes then. RESOURCE is KIND/NAME, or KIND for all of the namespace; kinds are pod, deploy, sts, ds, rs, job and ns.",
		Example: "  fairlead tap deploy/users-v1 -n myapp\n" +
			"  fairlead tap ns/myapp --to svc/users-service --method GET --path /api\n" +
			"  fairlead tap deploy -n myapp --status 5xx -o json\n" +
			"  fairlead tap deploy/users-v1 -n myapp --trace",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.mesh(cmd)
			if err != nil {
				return err
			}
			if err := f.read(m, args); err != nil {
				return err
			}
			f.query.Begins = true
			t := &tapper{mesh: m, query: &f.query, notes: a.Err, print: newTapPrinter(a.Out, f.output), limit: f.limit}
			if f.trace {
				t.print = newTapPrinter(a.Out, f.output).withTraces()
			}
			return t.run(cmd.Context())
		},
	}
	f.addTo(cmd.Flags())
	addOutputFlag(cmd.Flags(), &f.output, "", "wide", "json")
	cmd.Flags().BoolVar(&f.query.Secrets, "show-secrets", false, "with -o json: the values of authorization, cookie and the like too, for users who may")
	cmd.Flags().BoolVar(&f.trace, "trace", false, "each line with the id of the trace that the request belongs to")
	a.addLabFlag(cmd)
	return cmd
}

// addTo adds what tap and top have in common.
func (f *tapFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.to, "to", "", "only requests to this resource, such as deploy/users-v1 or svc/users-service")
	flags.StringVar(&f.toResource, "to-resource", "", "the same as --to")
	flags.StringVar(&f.toNamespace, "to-namespace", "", "the namespace of --to; that of RESOURCE if not given")
	flags.StringVar(&f.query.Filter.Method, "method", "", "only requests with this method")
	flags.StringVar(&f.query.Filter.Path, "path", "", "only requests whose path begins so")
	flags.StringVar(&f.query.Filter.Scheme, "scheme", "", "only requests with this scheme")
	flags.StringVar(&f.query.Filter.Authority, "authority", "", "only requests to this authority (Host), with its port where it has one")
	flags.StringVar(&f.query.Filter.Status, "status", "", "only requests that were answered so: 503 or 5xx, 0 for those without an answer; several are separated by commas")
	flags.BoolVar(&f.query.Filter.Not, "not", false, "only requests that the filters by method, path, scheme, authority and status leave out")
	flags.Uint32Var(&f.query.MaxRPS, "max-rps", observe.DefaultMaxRPS, "the most requests per second to show; those beyond are counted")
	flags.StringVarP(&f.selector, "selector", "l", "", "only pods with these labels, such as app=users,version=v1")
	flags.BoolVarP(&f.all, "all-namespaces", "A", false, "pods of all namespaces")
	flags.IntVar(&f.limit, "last", 0, "end after so many requests")
}

// read makes the query of what the user said.
func (f *tapFlags) read(m *mesh, args []string) error {
	namespace := m.namespace
	if f.all {
		namespace = ""
	}
	var err error
	if f.query.Resource, err = observe.ParseTarget(args, namespace); err != nil {
		return err
	}
	if f.selector != "" {
		if f.query.Resource.Selector, err = labels.ConvertSelectorToLabelsMap(f.selector); err != nil {
			return fmt.Errorf("--selector %q: write NAME=VALUE, several separated by commas: %w", f.selector, err)
		}
	}
	if f.to != "" && f.toResource != "" && f.to != f.toResource {
		return errors.New("--to and --to-resource mean the same: give one")
	}
	if f.limit < 0 {
		return errors.New("--last cannot be negative")
	}
	to := cmp.Or(f.to, f.toResource)
	if to == "" && f.toNamespace != "" {
		to = "ns/" + f.toNamespace
	}
	if to != "" {
		target, err := observe.ParseTarget([]string{to}, cmp.Or(f.toNamespace, f.query.Resource.Namespace))
		if err != nil {
			return fmt.Errorf("--to: %w", err)
		}
		f.query.To = &target
	}
	f.query.Headers = isData(f.output)
	return f.query.Check()
}

// tapper follows a tap over all replicas of the control plane. Its fields belong to run's goroutine.
type tapper struct {
	mesh  *mesh
	query *observe.Query
	notes io.Writer
	print interface{ event(e *observe.Event) error }
	limit int // 0 for none
	// hear, where not nil, is told whom all replicas together ask, once there is something to tap.
	hear func(*observe.Began) error

	news   chan tapNews
	asked  map[string]bool           // the replicas that are being asked
	lost   map[string]bool           // those that were, and are not
	began  map[string]*observe.Began // what those that are said last
	failed []error                   // what the others said before any began
	begun  bool                      // it was judged whether there is something to tap
	shown  int
	missed observe.Missed
}

// tapNews is what happened: replicas were found, or one of them said something, or is lost.
type tapNews struct {
	places  []place
	replica string
	frame   *observe.Frame
	err     error
}

// errEnough ends a tap that has shown as much as was asked for.
var errEnough = errors.New("enough")

// run follows the tap until ctx ends, or until there is nothing to follow.
func (t *tapper) run(ctx context.Context) error {
	t.news = make(chan tapNews)
	t.asked, t.lost, t.began = make(map[string]bool), make(map[string]bool), make(map[string]*observe.Began)
	body, err := json.Marshal(t.query)
	if err != nil {
		return err
	}
	follow, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	working.Go(func() { t.lookOut(follow) })
	counting := time.NewTicker(tapSilence / 3)
	defer counting.Stop()
	for {
		select {
		case <-ctx.Done():
			t.count()
			return context.Cause(ctx)
		case <-counting.C:
			t.count()
		case n := <-t.news:
			for i := range n.places {
				if p := &n.places[i]; !t.asked[p.name] {
					t.asked[p.name] = true
					working.Go(func() { t.follow(follow, p, body) })
				}
			}
			if err := t.heed(n); errors.Is(err, errEnough) {
				t.count()
				return nil
			} else if err != nil {
				return err
			}
		}
	}
}

// tell hands news to run.
func (t *tapper) tell(ctx context.Context, n tapNews) error {
	select {
	case t.news <- n:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// lookOut finds the replicas, again and again: they come and go.
func (t *tapper) lookOut(ctx context.Context) {
	again := time.NewTicker(tapAgain)
	defer again.Stop()
	for {
		places, err := t.mesh.controllers(ctx)
		if t.tell(ctx, tapNews{places: places, err: err}) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

// errSilent is the cause of the end of a stream on which nothing came.
var errSilent = fmt.Errorf("not a word for %s", tapSilence)

// follow asks one replica, and tells what it says, until it is lost.
func (t *tapper) follow(ctx context.Context, p *place, body []byte) {
	stream, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(tapSilence, func() { cancel(errSilent) })
	defer silent.Stop()
	token, err := t.mesh.proof(stream)
	if err == nil {
		question := admin.Question{Method: http.MethodPost, Path: observe.PathTap, Token: token, Body: body}
		err = admin.Client{Dial: p.dial}.Observe(stream, question, func(r io.Reader) error {
			frames := json.NewDecoder(r)
			for {
				var f observe.Frame
				if err := frames.Decode(&f); err != nil {
					return err
				}
				silent.Reset(tapSilence)
				if err := t.tell(stream, tapNews{replica: p.name, frame: &f}); err != nil {
					return err
				}
			}
		})
	}
	if errors.Is(context.Cause(stream), errSilent) {
		err = errSilent
	}
	_ = t.tell(ctx, tapNews{replica: p.name, err: fmt.Errorf("%s: %w", p.name, explainObserved(err))}) // nobody listens at the end
}

// heed does what news ask for. An error ends the tap.
func (t *tapper) heed(n tapNews) error {
	switch {
	case n.frame != nil:
		if n.frame.Began != nil {
			t.began[n.replica] = n.frame.Began
		}
		if t.lost[n.replica] {
			delete(t.lost, n.replica)
			t.note("%s answers again", n.replica)
		}
		if err := t.show(n.frame); err != nil {
			return err
		}
	case n.replica != "":
		delete(t.asked, n.replica)
		delete(t.began, n.replica)
		if !t.begun {
			t.failed = append(t.failed, n.err)
		} else if !t.lost[n.replica] {
			t.lost[n.replica] = true
			t.note("lost: %s; requests may be missing until its sidecars are with another one, or it is back", oneLine(n.err))
		}
	case n.err != nil && !t.begun:
		return n.err
	}
	if !t.begun && len(t.asked) > 0 && len(t.began) == len(t.asked) || len(t.asked) == 0 && len(t.failed) > 0 {
		return t.begin()
	}
	return nil
}

func (t *tapper) note(format string, args ...any) {
	fmt.Fprintf(t.notes, "fairlead: "+format+"\n", args...)
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// begin judges, once every replica has spoken, whether there is something to tap.
func (t *tapper) begin() error {
	t.begun = true
	if len(t.began) == 0 {
		return errors.Join(t.failed...)
	}
	for _, err := range t.failed {
		t.note("requests may be missing: %s", oneLine(err))
	}
	var all observe.Began
	for _, b := range t.began {
		all.Asked += b.Asked
		if b.Pods > all.Pods {
			all.Pods, all.Unmeshed = b.Pods, b.Unmeshed
		}
		if all.Destinations == nil || b.Destinations != nil && *b.Destinations > *all.Destinations {
			all.Destinations = b.Destinations
		}
	}
	if err := t.judge(&all); err != nil || t.hear == nil {
		return err
	}
	return t.hear(&all)
}

// judge says what is wrong with what is asked.
func (t *tapper) judge(all *observe.Began) error {
	resource := t.query.Resource
	switch {
	case all.Pods == 0:
		return fmt.Errorf("no pod of %s; -n names another namespace, -A means all", resource)
	case len(all.Unmeshed) == all.Pods:
		return fmt.Errorf("%s has no sidecar to tap: opt its namespace in (kubectl label namespace %s fairlead.dev/inject=enabled) and restart it",
			strings.Join(all.Unmeshed[:1], ""), namespaceOf(all.Unmeshed[0]))
	case all.Destinations != nil && *all.Destinations == 0:
		return fmt.Errorf("--to: there is no %s; --to-namespace names another namespace", *t.query.To)
	case all.Asked == 0:
		t.note("no sidecar of %s can be asked yet: it is not connected to the control plane, or older than this command, and then its pod has to be restarted", resource)
	case len(all.Unmeshed) > 0:
		t.note("without a sidecar, and not tapped: %s", strings.Join(all.Unmeshed, ", "))
	}
	return nil
}

func namespaceOf(id string) string { return id[strings.LastIndexByte(id, '.')+1:] }

// show prints a request, and counts those that cannot be.
func (t *tapper) show(f *observe.Frame) error {
	if f.Missed != nil {
		t.missed.Overrun += f.Missed.Overrun
		t.missed.Beyond += f.Missed.Beyond
	}
	if f.Event == nil {
		return nil
	}
	if err := t.print.event(f.Event); err != nil {
		return err
	}
	if f.Event.Begun {
		return nil
	}
	t.shown++
	if t.shown == t.limit {
		return errEnough
	}
	return nil
}

// count says what was not shown.
func (t *tapper) count() {
	if n := t.missed.Beyond; n > 0 {
		t.note("%d more requests came faster than --max-rps %d and are not shown", n, t.query.MaxRPS)
	}
	if n := t.missed.Overrun; n > 0 {
		t.note("%d more requests found no room on the way and are not shown: a narrower filter, or -o without headers, takes less", n)
	}
	t.missed = observe.Missed{}
}
