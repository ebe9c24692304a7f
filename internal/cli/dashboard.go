package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/dashboard"
	"fairlead.dev/fairlead/web"
)

// dashboardFlags are what the user said.
type dashboardFlags struct {
	port       uint16
	show       string
	allowHosts []string
	trace      string
}

// newDashboardCommand is "fairlead dashboard": the mesh in a browser. more are dashboards of other programs, as its
// subcommands.
func newDashboardCommand(a *app, more ...*cobra.Command) *cobra.Command {
	var f dashboardFlags
	cmd := &cobra.Command{
		Use: "dashboard", Aliases: []string{"dash"},
		Short: "Show the mesh in a browser: who calls whom, how that goes, and what is wrong",
		Long: "Show the mesh in a browser: who calls whom, how that goes, and what is wrong. The page is served on this machine, with the\n" +
			"rights of the kubeconfig at hand, until interrupted. With -n it shows that namespace alone.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.mesh(cmd)
			if err != nil {
				return err
			}
			return f.serve(cmd.Context(), a, m)
		},
	}
	flags := cmd.Flags()
	flags.Uint16Var(&f.port, "port", dashboardPort, "port on 127.0.0.1; 0 means any that is free")
	flags.StringVar(&f.show, "show", "browser", "browser opens the page, url prints where it is")
	flags.StringSliceVar(&f.allowHosts, "allow-host", nil, "name that the page may be reached by beside localhost, as where a proxy of yours is in front of it")
	flags.StringVar(&f.trace, "trace-url", "", "where a trace is to be seen, with {id} for its ID, such as http://jaeger:16686/trace/{id}")
	_ = cmd.RegisterFlagCompletionFunc("show", cobra.FixedCompletions([]string{"browser", "url"}, cobra.ShellCompDirectiveNoFileComp)) // it fails only for a flag that is not there
	a.addLabFlag(cmd)
	cmd.AddCommand(more...)
	return cmd
}

// dashboardPort is Linkerd's.
const dashboardPort = 50750

// serve serves the page until ctx ends.
func (f *dashboardFlags) serve(ctx context.Context, a *app, m *mesh) error {
	if f.show != "browser" && f.show != "url" {
		return fmt.Errorf("--show %q: write browser or url", f.show)
	}
	server, err := dashboard.New(dashboard.Options{
		Mesh: dashboardMesh{a, m}, Page: web.Files(), Hosts: f.allowHosts, Namespace: a.namespace, Command: m.command, Version: a.Version, Trace: f.trace,
	})
	if err != nil {
		return err
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(f.port))))
	if err != nil {
		return fmt.Errorf("%w; --port chooses another one, and 0 any that is free", err)
	}
	where := "http://" + l.Addr().String() + "/"
	fmt.Fprintf(a.Out, "%s shows %s; Ctrl-C ends it\n", where, m.name)
	if f.show == "browser" {
		if err := openBrowser(ctx, where); err != nil {
			fmt.Fprintf(a.Err, "fairlead: no browser could be opened (%v): open %s yourself\n", err, where)
		}
	}
	streams, end := context.WithCancel(ctx)
	defer end()
	h := &http.Server{
		Handler: server.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return streams },
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	end()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	err = h.Shutdown(last)
	if served := <-ended; err == nil && !errors.Is(served, http.ErrServerClosed) {
		err = served
	}
	if err != nil {
		return err
	}
	return context.Cause(ctx)
}
